"""From a batch to the unit vectors that the loss compares."""

import torch
from jaxtyping import Float, Int64
from open_clip.model import CustomTextCLIP
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.world.pretraining.batches import Batch
from pipeline.world.pretraining.facts import truth_of_images, truth_of_patches
from pipeline.world.pretraining.objective import Features, Truth
from pipeline.world.pretraining.tokenizer import END_ID


def features_of(model: CustomTextCLIP, batch: Batch) -> Features:
    """Embed a batch in bfloat16 autocast; the features come back as float32.

    A patch alone goes through the head that pools an image: final norm, then projection. That is what makes a
    single patch comparable to a text.
    """
    with torch.autocast("cpu", torch.bfloat16):
        vision = model.visual.forward_intermediates(
            batch.pixels,
            indices=1,
            normalize_intermediates=True,
            output_fmt="NLC",
        )
        tokens = vision["image_intermediates"][-1][batch.patch_images, batch.patch_indices]
        patches = tokens @ model.visual.proj
        captions, changed, phrases = (
            encode_texts(model, ids) for ids in (batch.captions, batch.changed, batch.phrases)
        )
    images = vision["image_features"]
    return Features(
        images=normalize(images.float(), dim=-1),
        captions=normalize(captions.float(), dim=-1),
        changed=normalize(changed.float(), dim=-1).view(*batch.changed_exists.shape, -1),
        phrases=normalize(phrases.float(), dim=-1),
        patches=normalize(patches.float(), dim=-1),
    )


def truth_of(batch: Batch) -> Truth:
    """Say what is true of the batch's images and patches."""
    facts, phrases = batch.scene_facts, batch.phrase_facts
    return Truth(
        changed=batch.changed_exists,
        images=truth_of_images(facts, phrases),
        patches=truth_of_patches(facts, batch.patch_images, batch.patch_indices, batch.patch_labels, phrases),
    )


def encode_texts(model: CustomTextCLIP, ids: Int64[Tensor, "text token"]) -> Float[Tensor, "text embedding"]:
    """Encode texts as `model.encode_text` does, without the padding: the same numbers at a third of the cost.

    The tower is causal and pools at the end token, so what follows that token cannot matter. Texts longer
    than the model's context must have been cut.
    """
    text = model.text
    length = ids.shape[1]
    x = text.token_embedding(ids) + text.positional_embedding[:length]
    x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
    end = (ids == END_ID).int().argmax(dim=-1)
    pooled: Tensor = text.text_projection(x[torch.arange(len(ids)), end])
    return pooled
