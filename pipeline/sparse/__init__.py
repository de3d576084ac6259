"""Sparse codes and what is computed with them: Top-K, products, and the GPU kernels of both."""
