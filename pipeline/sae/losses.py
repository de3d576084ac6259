"""What the losses of every SAE are made of.

Every term is a mean per element in scaled units, not the sum that papers print **[open]**: so its weight does not
depend on batch size, caption length or width, and 1 is the error of always predicting the mean.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


class Losses(NamedTuple):
    """What a training step needs: the number to descend, and the parts of it to look at."""

    total: Float[Tensor, ""]
    """Differentiable."""
    terms: dict[str, Float[Tensor, ""]]
    """Each term before its weight, detached. A term whose weight is 0 is not computed and not here."""


def weighted_sum(terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]) -> Losses:
    """Compute `sum weights[name] * terms[name]`."""
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return Losses(total, {name: term.detach() for name, term in terms.items()})


def mean_squared_error(
    prediction: Float[Tensor, "item channel"],
    target: Float[Tensor, "item channel"],
    mask: Bool[Tensor, " item"] | None = None,
) -> Float[Tensor, ""]:
    """Average over channels and over the items of the mask, by default all; 0 of nothing."""
    if mask is None:
        return F.mse_loss(prediction, target, reduction="sum") / max(target.numel(), 1)
    per_item = (prediction - target).square().mean(dim=1)
    return (per_item * mask).sum() / mask.sum().clamp_min(1)
