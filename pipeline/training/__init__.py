"""Training dictionaries from a cache: options, one step, its recording on a GPU, and the loop."""
