"""Contrast: a picture's shared code is to be nearest to that of its own caption among a batch's, and the reverse."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from pipeline.transport.cost import inverse


def pooled_contrast(
    vision: Float[Tensor, "pair latent"],
    text: Float[Tensor, "pair latent"],
    captioned: Bool[Tensor, " pair"],
    scale: float,
) -> Float[Tensor, ""]:
    """Compute the symmetric InfoNCE of the sides' codes, pooled over each pair; the mean of both directions.

    Each latent is centred over the batch and divided by its deviation there together with that of an average latent,
    which are constants to the gradient; each code then has unit length. So a latent that is active for every pair tells
    nothing, and a rare one counts nearly as much as a frequent one. By its own deviation alone, latents that hardly
    ever fire would be pushed so hard that many of them die (docs/matching.md).

    Args:
        vision: largest shared code of each picture's patches, per latent.
        text: likewise of each caption's tokens.
        captioned: which pairs have a caption; the others are neither asked nor answers.
        scale: what cosines are multiplied by, the inverse of the temperature.
    """
    with torch.autocast(vision.device.type, enabled=False):
        pictures, captions = _standardised(vision.float(), captioned), _standardised(text.float(), captioned)
        logits = scale * pictures @ captions.T
        none = torch.finfo(logits.dtype).min / 2
        answer = torch.arange(len(logits), device=logits.device)
        losses = [
            F.cross_entropy(some.masked_fill(~captioned, none), answer, reduction="none")
            for some in (logits, logits.T)
        ]
        both = torch.stack(losses).mean(dim=0).masked_fill(~captioned, 0)
        return both.sum() / captioned.sum().clamp_min(1)


def _standardised(codes: Tensor, captioned: Tensor) -> Float[Tensor, "pair latent"]:
    count = captioned.sum().clamp_min(1)
    chosen = captioned[:, None]
    centred = (codes - (codes * chosen).sum(dim=0) / count) * chosen
    variance = centred.detach().square().sum(dim=0) / count
    standardised = centred * inverse((variance + variance.mean()).sqrt())
    squared = standardised.square().sum(dim=1, keepdim=True)
    return standardised * inverse(squared.masked_fill(squared == 0, 1).sqrt())
