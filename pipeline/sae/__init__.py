"""Sparse autoencoders over both sides of a pair."""
