"""Stage one: from a data set's images and captions to an activation cache."""
