"""Training of the embedded backbone: a tiny SigLIP on the embedded world, at two scales."""
