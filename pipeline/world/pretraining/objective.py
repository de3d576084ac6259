"""The loss: SigLIP's sigmoid loss (arXiv 2303.15343, equation 1) at two scales, image and patch.

A caption identifies its image without naming a single object right, by colours, counts and setting, so the
caption loss alone leaves the patches meaningless. Three more terms of the same form supply what it lacks:
captions with one fact changed, phrases against images, and phrases against single patches. The last two
have many true phrases per row, known exactly from the world.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from open_clip.loss import SigLipLoss
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pipeline.world.pretraining.facts import ScoredTruth


class Features(NamedTuple):
    """Unit vectors in the space that images, patches and texts share."""

    images: Float[Tensor, "image embedding"]
    captions: Float[Tensor, "image embedding"]
    changed: Float[Tensor, "image change embedding"]
    phrases: Float[Tensor, "phrase embedding"]
    patches: Float[Tensor, "patch embedding"]


class Truth(NamedTuple):
    """Which changed captions exist (those are all false), and which phrases are true of images and patches."""

    changed: Bool[Tensor, "image change"]
    images: ScoredTruth
    patches: ScoredTruth


class TwoScaleLoss(nn.Module):
    """Sum of the four sigmoid losses; phrases have a scale and a bias of their own at either scale."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.full((2,), math.log(10.0)))
        self.biases = nn.Parameter(torch.full((2,), -5.0))
        self.caption_loss = SigLipLoss()

    def forward(
        self, features: Features, truth: Truth, logit_scale: Tensor, logit_bias: Tensor
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms "caption", "changed", "image_phrase" and "patch_phrase", each a mean over its rows.

        `logit_scale` (not its logarithm) and `logit_bias` are the model's own, as for the caption loss.
        """
        scales = self.log_scales.exp()
        return {
            "caption": self.caption_loss(features.images, features.captions, logit_scale, logit_bias),
            "changed": changed_loss(features, truth.changed, logit_scale),
            "image_phrase": sigmoid_loss(
                scales[0] * features.images @ features.phrases.T + self.biases[0],
                truth.images,
            ),
            "patch_phrase": sigmoid_loss(
                scales[1] * features.patches @ features.phrases.T + self.biases[1],
                truth.patches,
            ),
        }


def sigmoid_loss(logits: Float[Tensor, "row text"], truth: ScoredTruth) -> Float[Tensor, ""]:
    """Compute SigLIP's loss with any number of true texts in a row: summed over texts, averaged over rows."""
    signs = truth.true.to(logits.dtype) * 2 - 1
    return -(logsigmoid(signs * logits) * truth.scored).sum() / logits.shape[0]


def changed_loss(
    features: Features, scored: Bool[Tensor, "image change"], logit_scale: Tensor
) -> Float[Tensor, ""]:
    """Compute the logistic loss of an image's own caption against the same caption with one fact changed."""
    own = (features.images * features.captions).sum(dim=-1, keepdim=True)
    changed = torch.einsum("ie,ice->ic", features.images, features.changed)
    return -(logsigmoid(logit_scale * (own - changed)) * scored).sum() / scored.sum().clamp(min=1)
