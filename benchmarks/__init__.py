"""Runnable measurements behind the claims of this repository, one per file."""
