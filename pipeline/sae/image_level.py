"""Image-level latents: what captions say of a picture that no patch shows, read from the picture's pooled embedding.

That a cat is *above* a tree, or that there are *three* of them, stands in a caption's tokens and in no single patch. A
latent of such tokens has no partner among the latents of patches; a linear map of the image's embedding is its partner
then.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.sae.options import ImageLevelOptions
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group, top_k


class ImageLevelReadout(nn.Module):
    """`z = TopK(relu(weight x + bias))` of a picture's pooled embedding x; fitted once, after training.

    Attributes:
        latents: which latents of text these are.
        confidence: float32, the correlation of each one's score with the largest code of the captions' tokens.
    """

    latents: Int64[Tensor, " image_latent"]
    weight: Float[Tensor, "image_latent embedding"]
    bias: Float[Tensor, " image_latent"]
    confidence: Float[Tensor, " image_latent"]

    def __init__(self, options: ImageLevelOptions, embedding: int) -> None:
        """Make room for the read-out of embeddings of this width; until it is fitted, nothing fires."""
        super().__init__()
        self.options, self.embedding = options, embedding
        count = options.latents
        self.register_buffer("latents", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("weight", torch.zeros(count, embedding))
        self.register_buffer("bias", torch.zeros(count))
        self.register_buffer("confidence", torch.zeros(count))

    def __len__(self) -> int:
        return len(self.latents)

    def encode(self, pooled: Float[Tensor, "image embedding"]) -> SparseCodes:
        """Encode pictures, of which each has at most k active latents, numbered from 0."""
        scores = torch.addmm(self.bias, pooled.float(), self.weight.T)
        values, indices = top_k(scores, [Group(0, len(self), self.options.k)])
        return SparseCodes(values.relu(), indices)

    def of_captions(self, codes: Float[Tensor, "caption latent"]) -> Float[Tensor, "caption image_latent"]:
        """Pick the same latents from the captions' pooled codes over all latents of text."""
        return codes[:, self.latents]

    def reindex(self, order: Int64[Tensor, " latent"]) -> None:
        """Follow a renumbering of text's latents: latent i becomes what latent order[i] was."""
        self.latents.copy_(torch.argsort(order)[self.latents])
