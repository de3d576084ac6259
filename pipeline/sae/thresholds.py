"""Thresholds in place of a Top-K: tokens differ in how many latents are active, and k is the mean of many tokens."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group


class BatchCodes(NamedTuple):
    """The codes of a batch, and what they tell of their budgets."""

    codes: SparseCodes
    budget_error: Float[Tensor, ""] | None = None
    """How far the mean number of active latents is from k, differentiable; None if a batch always meets its budget."""


class Thresholds(nn.Module, ABC):
    """The thresholds of one side, which a code must reach to be active.

    The operators of `pipeline.sparse` want rows of one length. So a token's code is first the Top-K of `candidates`,
    at most `cap` times its group's k, and what is too small among those becomes 0, which is inactive. A token whose
    last candidate is still large enough may have lost latents to the cap.
    """

    def __init__(self, cap: int) -> None:
        """Let a token have at most `cap` times as many active latents as a token has in the mean."""
        super().__init__()
        self._cap = cap

    def candidates(self, groups: Sequence[Group]) -> list[Group]:
        """Raise the k of groups of latents to the most that a token may have of them."""
        return [group._replace(k=min(group.k * self._cap, group.stop - group.start)) for group in groups]

    @abstractmethod
    def above_threshold(self, codes: SparseCodes) -> SparseCodes:
        """Keep the codes that reach the stored threshold of their latent."""

    @abstractmethod
    def of_batch(
        self, codes: SparseCodes, groups: Sequence[Group], mask: Bool[Tensor, " token"] | None = None
    ) -> BatchCodes:
        """Keep what is active in a batch that a loss is computed of.

        Args:
            codes: by the `candidates` of these groups, group after group; none is negative.
            groups: one after another, together all latents; k is the active latents per token in the mean.
            mask: which rows are tokens, by default all.
        """


def smallest_kept(values: Float[Tensor, "token kept"], k: int, tokens: Tensor) -> Float[Tensor, ""]:
    """Find the (k tokens)-th largest of a group's values; tokens stays on the device, so that no GPU is waited for."""
    if not values.numel():
        return values.new_zeros(())
    place = (k * tokens - 1).clamp(0, values.numel() - 1)
    return values.flatten().sort(descending=True).values.index_select(0, place[None])[0]
