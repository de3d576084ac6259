"""Data sets: pairs of an image and its captions, and what is known of the objects in them."""
