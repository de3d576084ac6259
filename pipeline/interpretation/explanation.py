"""What a trained dictionary sees in one picture, and which words of a text mean the same to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.codes import SparseCodes

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


@dataclass(frozen=True, eq=False)
class FiringLatent:
    """A shared latent that fires in a picture.

    Attributes:
        latent: its column in the shared dictionary.
        heat: float32 [row, column], its activation in every patch.
        words: float32 [token], its activation in every token of the text.
    """

    latent: int
    heat: Float[np.ndarray, "row column"]
    words: Float[np.ndarray, "token"]

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
        """Whether a token of the text fires it, too."""
        return bool((self.words > 0).any())


@dataclass(frozen=True, eq=False)
class Explanation:
    """A picture, and a text if one was given, by the shared latents they fire.

    Attributes:
        latents: those that the text fires as well come first; then by activation, largest first.
        tokens: the text's tokens, as the tokenizer spells them; none without a text.
        plan: float32 [row, column, token], how much of each patch the transport moves to each token; None without one.
    """

    latents: list[FiringLatent]
    tokens: list[str]
    plan: Float[np.ndarray, "row column token"] | None


@torch.inference_mode()
def explain(
    sae: SparseAutoencoder, backbone: "Backbone", picture: Image.Image, text: str = ""
) -> Explanation:
    """Encode a picture, and a text, and say which shared latents fire where.

    Raises:
        ConfigError: the dictionary reads whole pictures, or the text has no words or too many.
    """
    if sae.inputs != "tokens":
        raise ConfigError(
            "this dictionary reads pooled embeddings and knows no places; explain a variant that reads tokens, such as "
            "lucid"
        )
    pixels = backbone.preprocess(picture)
    patches = backbone.encode_images(pixels[None]).tokens[0]
    vision = sae.encode("vision", patches, "shared")
    tokens, words = _text_tokens(backbone, text) if text else ([], patches.new_zeros(0, sae.text_channels))
    spoken = sae.encode("text", words, "shared")
    plan = None
    if tokens:
        offsets = torch.tensor([0, len(tokens)], device=words.device)
        plan = (
            sae.transport(vision, spoken, offsets, len(patches))
            .plan[0]
            .view(*backbone.grid, -1)
            .cpu()
            .numpy()
        )
    return Explanation(_firing(vision, spoken, sae.shared_width, backbone.grid), tokens, plan)


def _text_tokens(backbone: "Backbone", text: str) -> tuple[list[str], Float[Tensor, "token channel"]]:
    count, context = backbone.count_tokens([text])[0], backbone.context_length
    if count > context:
        raise ConfigError(f"--text: has {count} tokens and the backbone reads {context}; shorten it")
    token_ids, valid = backbone.tokenize([text])
    if not valid.any():
        raise ConfigError("--text: has no words that the backbone knows; leave it out or write some")
    return backbone.token_texts(token_ids[valid]), backbone.encode_texts(token_ids).tokens[valid]


def _firing(
    vision: SparseCodes, spoken: SparseCodes, width: int, grid: tuple[int, int]
) -> list[FiringLatent]:
    heat, words = (codes.dense(width).T.cpu().numpy() for codes in (vision, spoken))
    latents = [
        FiringLatent(int(latent), heat[latent].reshape(grid), words[latent])
        for latent in np.flatnonzero((heat > 0).any(axis=1))
    ]
    return sorted(latents, key=lambda one: (not one.fires_in_text, -one.activation, one.latent))
