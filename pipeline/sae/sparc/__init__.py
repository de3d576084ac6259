"""SPARC: in training both members of a pair are encoded by the same latents, those that are strongest in their sum."""
