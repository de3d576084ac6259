"""A random mask for every pair of a batch, over its latents or its sides, drawn anew at every step of training."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn


class PairMask(nn.Module):
    """Leaves entries out of what a pair has, each with the same probability.

    The mask is a pure function of seed, step, pair and entry, computed in integers: the same on every device. The
    step is a buffer, which is saved with the weights: so a training that resumes draws what an uninterrupted one
    draws.
    """

    step: Int64[Tensor, ""]

    def __init__(self, probability: float, entries: int, seed: int) -> None:
        super().__init__()
        self._least, self._entries, self._seed = round(probability * _RANGE), entries, seed
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def draw(self, pairs: int) -> Bool[Tensor, "pair entry"]:
        """Draw which entries each pair of a batch leaves out, and count the step."""
        number = torch.arange(pairs * self._entries, device=self.step.device).view(pairs, self._entries)
        key = _mixed(self.step ^ _mixed(torch.full_like(self.step, self._seed)))
        mixed = _mixed(_mixed(number) ^ key)
        self.step += 1
        return mixed % _RANGE < self._least


_RANGE = 1 << 24
"""Number of equally likely outcomes."""


def _mixed(number: Tensor) -> Int64[Tensor, "*entry"]:
    """Scramble the low 32 bits: the finaliser of MurmurHash3, in int64 arithmetic that cannot overflow unseen."""
    number = number & 0xFFFFFFFF
    number = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    number = ((number ^ (number >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return number ^ (number >> 16)
