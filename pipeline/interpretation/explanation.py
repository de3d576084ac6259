"""What a trained dictionary sees in one picture, and which words of a text mean the same to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.backbone.spelling import Spelling, Word, over_words
from pipeline.errors import ConfigError
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.crossing import transport_plan
from pipeline.sparse.codes import SparseCodes

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


@dataclass(frozen=True, eq=False)
class FiringLatent:
    """A shared latent that fires in a picture.

    Attributes:
        latent: its column in the shared dictionary.
        heat: float32 [row, column], its activation in every patch.
        words: float32 [word], its largest activation in a token of each word of the text.
    """

    latent: int
    heat: Float[np.ndarray, "row column"]
    words: Float[np.ndarray, "word"]

    @property
    def activation(self) -> float:
        """Its largest activation in a patch."""
        return float(self.heat.max())

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the patch where it is largest; of several the first."""
        row, column = divmod(int(self.heat.argmax()), self.heat.shape[1])
        return row, column

    @property
    def fires_in_text(self) -> bool:
        """Whether a word of the text fires it, too."""
        return bool((self.words > 0).any())


@dataclass(frozen=True, eq=False)
class Explanation:
    """A picture, and a text if one was given, by the shared latents they fire.

    Attributes:
        latents: those that the text fires as well come first; then by activation, largest first.
        words: the text word by word, as the tokenizer decodes it; none without a text.
        plan: float32 [row, column, word], how much of each patch the transport moves to each word; None without one.
        unknown_words: how many of the words the tokenizer does not know, so that they all look alike to the backbone.
    """

    latents: list[FiringLatent]
    words: list[Word]
    plan: Float[np.ndarray, "row column word"] | None
    unknown_words: int


@torch.inference_mode()
def explain(
    sae: SparseAutoencoder, backbone: "Backbone", picture: Image.Image, text: str = ""
) -> Explanation:
    """Encode a picture, and a text, and say which shared latents fire where.

    Raises:
        ConfigError: the dictionary reads whole pictures, or the text has no words or too many.
    """
    if not sae.reader.knows_places:
        raise ConfigError(
            "this dictionary reads pooled embeddings and knows no places; explain a variant that reads tokens, such as "
            "lucid"
        )
    pixels = backbone.preprocess(picture)
    patches = sae.reader.rows("vision", backbone.encode_images(pixels[None])).rows
    vision = sae.encode("vision", patches, "shared")
    spelling, tokens = (
        _text_tokens(sae, backbone, text) if text else (None, patches.new_zeros(0, sae.text_channels))
    )
    words = spelling.words() if spelling else []
    spoken = sae.encode("text", tokens, "shared")
    plan = None
    if words:
        offsets = torch.tensor([0, len(tokens)], device=tokens.device)
        moved = transport_plan(sae, vision, spoken, offsets, len(patches)).plan[0].cpu().numpy()
        plan = over_words(np.add, moved, words).reshape(*backbone.grid, -1)
    latents = _firing(vision, spoken, words, sae.shared_width, backbone.grid)
    unknown = set(spelling.unknown) if spelling else set()
    return Explanation(latents, words, plan, sum(not unknown.isdisjoint(word.tokens) for word in words))


def _text_tokens(
    sae: SparseAutoencoder, backbone: "Backbone", text: str
) -> tuple[Spelling, Float[Tensor, "token channel"]]:
    count, context = backbone.count_tokens([text])[0], backbone.context_length
    if count > context:
        raise ConfigError(f"text: has {count} tokens and the backbone reads {context}; shorten it")
    token_ids, valid = backbone.tokenize([text])
    if not valid.any():
        raise ConfigError("text: has no words that the backbone knows; leave it out or write some")
    rows = sae.reader.rows("text", backbone.encode_texts(token_ids), valid).rows
    return backbone.spelling(token_ids[valid]), rows


def _firing(
    vision: SparseCodes, spoken: SparseCodes, words: Sequence[Word], width: int, grid: tuple[int, int]
) -> list[FiringLatent]:
    heat, tokens = (codes.dense(width).T.cpu().numpy() for codes in (vision, spoken))
    of_words = over_words(np.maximum, tokens, words)
    latents = [
        FiringLatent(int(latent), heat[latent].reshape(grid), of_words[latent])
        for latent in np.flatnonzero((heat > 0).any(axis=1))
    ]
    return sorted(latents, key=lambda one: (not one.fires_in_text, -one.activation, one.latent))
