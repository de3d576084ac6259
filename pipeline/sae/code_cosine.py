"""Cosine alignment: the codes of a picture and of its caption are to point the same way."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def code_cosine_distance(
    vision: Float[Tensor, "pair latent"],
    text: Float[Tensor, "pair latent"],
    captioned: Bool[Tensor, " pair"],
    *,
    spare_strongest: bool,
) -> Float[Tensor, ""]:
    """Compute `1 - cos` of the codes of every pair, the mean over the captioned ones.

    This is the alignment term of JSAE (arXiv 2606.25657). With `spare_strongest` it is that of SAE-A (arXiv
    2602.06218), up to a constant: the strongest latent of either side is first set to zero in both codes of the pair,
    so that it may serve one side alone. A code of zeros has cosine 0, and no gradient.

    Args:
        vision: largest code of each picture per latent, not negative.
        text: likewise of each caption.
        captioned: which pairs have a caption.
        spare_strongest: whether the strongest latents of both sides are left out.
    """
    with torch.autocast(vision.device.type, enabled=False):
        pictures, captions = vision.float(), text.float()
        if spare_strongest:
            strongest = torch.stack([pictures.argmax(dim=1), captions.argmax(dim=1)], dim=1)
            kept = torch.ones_like(pictures).scatter(1, strongest, 0)
            pictures, captions = pictures * kept, captions * kept
        cosine = (F.normalize(pictures, dim=1) * F.normalize(captions, dim=1)).sum(dim=1)
        return ((1 - cosine) * captioned).sum() / captioned.sum().clamp_min(1)
