"""What values are divided by to vary by 1, from moments that were added up over many pairs."""

import torch
from jaxtyping import Float64
from torch import Tensor

_CONSTANT = 1e-12
"""Largest ratio of variance to mean square that is taken for rounding, of float32 values and of their sums."""


def inverse_deviation(
    mean_square: Float64[Tensor, " value"], mean: Float64[Tensor, " value"]
) -> Float64[Tensor, " value"]:
    """Compute `1 / sqrt(mean_square - mean^2)`, and 0 of a value that does not vary beyond rounding."""
    variance = mean_square - mean.square()
    return variance.masked_fill(variance <= _CONSTANT * mean_square, torch.inf).rsqrt()
