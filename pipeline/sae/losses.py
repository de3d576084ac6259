"""The losses of LUCID (arXiv 2602.07311, 3.2.3, 3.3.2, 3.4).

Every term is a mean per element in scaled units, not the sum that the paper prints **[open]**: so its weight
does not depend on batch size, caption length or width, and 1 is the error of always predicting the mean.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from pipeline.transport.coupling import Coupling


class Losses(NamedTuple):
    """What a training step needs: the number to descend, and the parts of it to look at."""

    total: Float[Tensor, ""]
    """Differentiable."""
    terms: dict[str, Float[Tensor, ""]]
    """Each term before its weight, detached. A term whose weight is 0 is not computed and not here."""


def weighted_sum(terms: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float]) -> Losses:
    """`sum weights[name] * terms[name]`."""
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    return Losses(total, {name: term.detach() for name, term in terms.items()})


def mean_squared_error(
    prediction: Float[Tensor, "item channel"],
    target: Float[Tensor, "item channel"],
    counted: Bool[Tensor, " item"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over channels and over the items that count, by default all; 0 of nothing."""
    if counted is None:
        return F.mse_loss(prediction, target, reduction="sum") / max(target.numel(), 1)
    per_item = (prediction - target).square().mean(dim=1)
    return (per_item * counted).sum() / counted.sum().clamp_min(1)


def transport_cost(coupling: Coupling) -> Float[Tensor, ""]:
    """`<C, P>` per pair, the alignment loss before the lock: plain `1 - cos`, whatever guided the plan."""
    counted = coupling.plan.valid.any(dim=1).sum().clamp_min(1)
    return (coupling.cost * coupling.plan.plan).sum() / counted
