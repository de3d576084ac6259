"""VL-SAE: one set of latents that both sides activate by their distance to it; its ablations and baselines."""
