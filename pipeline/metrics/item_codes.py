"""The shared code of a whole item, without anything else that evaluation makes of a batch."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cache import PairBatch
from pipeline.metrics.options import Pooling
from pipeline.metrics.pooling import pool
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.image_level import ImageLevelReadout
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes


def pooled_codes(sae: SparseAutoencoder, batch: PairBatch, pooling: Pooling) -> dict[Side, Tensor]:
    """Encode the images and the captions of a batch's pairs, [pair, item_latent] by side, on the device of `sae`."""
    device = next(sae.parameters()).device
    pairs = sae.reader.pairs(batch).to(device)
    embeddings = batch.vision_pooled.to(device)
    return {
        "vision": image_codes(sae, pairs.rows("vision"), pairs.offsets("vision"), embeddings, pooling),
        "text": caption_codes(sae, pairs.rows("text"), pairs.offsets("text"), pooling),
    }


def image_codes(
    sae: SparseAutoencoder,
    rows: Float[Tensor, "token channel"],
    offsets: Int64[Tensor, " image_plus_1"],
    embeddings: Float[Tensor, "image embedding"],
    pooling: Pooling,
) -> Float[Tensor, "image item_latent"]:
    """Encode images: as `EncodedBatch.pooled` of vision, float32.

    Args:
        sae: the dictionary.
        rows: what it reads of the images, one after another, on its device.
        offsets: image i has rows offsets[i] up to offsets[i + 1].
        embeddings: the images' pooled embeddings, which image-level latents read.
        pooling: how rows' codes become an image's.
    """
    codes = pool(sae.encode("vision", rows, "shared"), offsets, sae.shared_width, pooling)
    if (readout := sae.image_level) is None:
        return codes
    return torch.cat([codes, image_level_of_images(readout, embeddings)], dim=1)


def caption_codes(
    sae: SparseAutoencoder,
    rows: Float[Tensor, "token channel"],
    offsets: Int64[Tensor, " caption_plus_1"],
    pooling: Pooling,
) -> Float[Tensor, "caption item_latent"]:
    """Encode captions: as `EncodedBatch.pooled` of text, float32; arguments as those of `image_codes`."""
    codes = pool(sae.encode("text", rows, "shared"), offsets, sae.shared_width, pooling)
    if (readout := sae.image_level) is None:
        return codes
    private = sae.encode("text", rows, "private")
    return torch.cat([codes, image_level_of_captions(readout, private, offsets, sae.options.latents)], dim=1)


def image_level_of_images(
    readout: ImageLevelReadout, embeddings: Float[Tensor, "image embedding"]
) -> Float[Tensor, "image image_latent"]:
    """Write out the image-level codes of images, from their pooled embeddings."""
    return readout.encode(embeddings).dense(len(readout))


def image_level_of_captions(
    readout: ImageLevelReadout, private: SparseCodes, offsets: Int64[Tensor, " caption_plus_1"], latents: int
) -> Float[Tensor, "caption image_latent"]:
    """Write out the image-level codes of captions, from the private codes of their tokens, of `latents` in all."""
    return readout.of_captions(pool(private, offsets, latents, "max"))
