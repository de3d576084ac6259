"""Batches for training: their order, and where the activations wait for it."""
