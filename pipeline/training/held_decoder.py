"""A decoder that is held where it began: a control that shows how much of a figure is not learned at all.

"Sanity Checks for Sparse Autoencoders" (arXiv 2602.14111) trains SAEs whose decoder is frozen at its random start, and
soft-frozen ones whose directions keep a cosine of at least .8 with it. What these score as well as a dictionary that
was free to learn says nothing of the directions that it learned.
"""

import torch
from torch import nn

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES


class HeldDecoder(nn.Module):
    """Keeps the decoder directions of both sides near where they are when it is made; biases and encoders are free.

    Its buffers, `vision_start` and `text_start` [latent, channel], belong to what a checkpoint holds.
    """

    def __init__(self, sae: SparseAutoencoder, least_cosine: float) -> None:
        """Hold the directions of `sae` at a cosine of at least `least_cosine`; 1 freezes them, length included."""
        super().__init__()
        self._sae = [sae]  # in a list: the dictionary is no part of this module
        self._least_cosine = least_cosine
        for side in SIDES:
            self.register_buffer(f"{side}_start", sae.directions(side).detach().clone())

    @torch.no_grad()
    def after_backward(self) -> None:
        """Take the gradient off frozen directions, so that it takes no part in gradient clipping either."""
        if self._least_cosine < 1:
            return
        for side in SIDES:
            gradient = self._sae[0].directions(side).grad
            if gradient is not None:
                gradient.zero_()

    @torch.no_grad()
    def after_step(self) -> None:
        """Turn every direction that went too far back to the cone around its start; its length stays."""
        for side in SIDES:
            directions, start = self._sae[0].directions(side), self.get_buffer(f"{side}_start")
            directions.copy_(
                start if self._least_cosine == 1 else _turned(directions, start, self._least_cosine)
            )


def _turned(directions: torch.Tensor, start: torch.Tensor, least_cosine: float) -> torch.Tensor:
    """Each direction, or the nearest one of the same length whose cosine with its start is `least_cosine`."""
    smallest = torch.finfo(start.dtype).tiny
    length = directions.norm(dim=1, keepdim=True)
    axis = start / start.norm(dim=1, keepdim=True).clamp_min(smallest)
    along = (directions * axis).sum(dim=1, keepdim=True)
    across = directions - along * axis
    aside = across / across.norm(dim=1, keepdim=True).clamp_min(smallest)
    edge = length * (least_cosine * axis + (1 - least_cosine**2) ** 0.5 * aside)
    return torch.where(along < least_cosine * length, edge, directions)
