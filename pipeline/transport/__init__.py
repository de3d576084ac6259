"""Optimal transport between the patches and the tokens of a pair."""
