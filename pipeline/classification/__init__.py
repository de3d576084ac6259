"""Zero-shot classification by the backbone's similarity plus that of concepts (VL-SAE, arXiv 2510.21323)."""
