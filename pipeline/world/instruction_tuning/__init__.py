"""The tiny LLaVA: a vision-language decoder of the embedded world, taught to answer about what the tiny SigLIP sees."""
