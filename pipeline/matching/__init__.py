"""Matching: which latent of one side means what a latent of the other side means, as one assignment."""
