"""A null token: a place for the mass of patches that no word of the caption speaks of.

Every patch has the same mass, and all of it has to go to some token, though most of a picture is background. A column
more takes a fixed share of all mass from whichever patches match the tokens least: partial optimal transport, as
Caffarelli and McCann (2010) have it, with a fixed mass.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.transport.sinkhorn import sinkhorn


def sinkhorn_with_null_token(
    cost: Float[Tensor, "pair patch text"],
    valid: Bool[Tensor, "pair text"],
    row_mass: Float[Tensor, "pair patch"],
    column_mass: Float[Tensor, "pair text"],
    epsilon: float,
    iterations: int,
    null_mass: float,
) -> Float[Tensor, "pair patch text"]:
    """Compute `sinkhorn` with one more column of mass `null_mass` and cost 0; return the plan of the others.

    The tokens' mass is scaled to the rest, so a pair's plan sums to `1 - null_mass`. A cost that is constant down a
    column is absorbed by that column's scaling, so no other price of the null token would change the converged plan.
    Where a matrix is too large for the fused kernels with this column and not without it (more than 63 tokens at 196
    patches), the plan is computed by their eager twin.
    """
    pairs, patches, _ = cost.shape
    plan = sinkhorn(
        torch.cat([cost, cost.new_zeros(pairs, patches, 1)], dim=2),
        torch.cat([valid, valid.any(dim=1, keepdim=True)], dim=1),
        row_mass,
        torch.cat([column_mass * (1 - null_mass), column_mass.new_full((pairs, 1), null_mass)], dim=1),
        epsilon,
        iterations,
    )
    return plan[:, :, :-1]
