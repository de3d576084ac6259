"""GPU kernels of the training step, each the same function as an eager twin, and what decides between the two."""
