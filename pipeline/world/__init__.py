"""The embedded world: its scenes, and how the tiny SigLIP and the tiny LLaVA that see them were trained."""
