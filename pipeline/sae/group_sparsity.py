"""Group sparsity: a latent that fires for a picture costs less where it fires for the caption, too."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def group_sparsity(
    vision: Float[Tensor, "pair latent"],
    text: Float[Tensor, "pair latent"],
    captioned: Bool[Tensor, " pair"],
) -> Float[Tensor, ""]:
    """Compute `sum_i sqrt(z_vision,i^2 + z_text,i^2)` of every pair, the mean over the captioned ones.

    The L2,1 norm of the codes of a pair, as in GSAE (arXiv 2601.20028). Two codes cost least when they have the same
    latents. A latent that fires on neither side passes no gradient.

    Codes are to be in units of what they move. Where latents have directions of any length, codes could shrink and
    directions grow at the same rate: the norm would vanish, and the dictionary be the same.

    Args:
        vision: largest code of each picture per latent, times the length of the latent's direction.
        text: likewise of each caption.
        captioned: which pairs have a caption.
    """
    with torch.autocast(vision.device.type, enabled=False):
        squared = vision.float().square() + text.float().square()
        fires = squared > 0
        norms = (torch.where(fires, squared, 1).sqrt() * fires).sum(dim=1)
        return (norms * captioned).sum() / captioned.sum().clamp_min(1)
