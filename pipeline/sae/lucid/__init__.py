"""LUCID: one dictionary of shared latents and two of private ones, aligned by guided transport."""
