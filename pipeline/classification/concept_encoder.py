"""Class names and pictures as what is compared: the backbone's embeddings and dictionaries' codes."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.backbone.model import Activations, Backbone
from pipeline.errors import ConfigError
from pipeline.metrics.options import Pooling
from pipeline.metrics.pooling import pool
from pipeline.not_finite import refuse_not_finite
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import Side

_REMEDY = "give `backbone` the options that the dictionary's cache was encoded with"


class ConceptFeatures(NamedTuple):
    """Rows of unit length, so that products are cosines; a code that fires nothing stays 0, at 0 to everything.

    Attributes:
        embedding: x, the backbone's pooled embeddings.
        concepts: h, a dictionary's shared codes, dense.
    """

    embedding: Float[Tensor, "item embedding"]
    concepts: Float[Tensor, "item latent"]


class ConceptEncoder:
    """The frozen backbone, which runs once, and the dictionaries that were trained on its activations.

    A dictionary of pooled embeddings encodes the embedding itself, as long as the backbone makes it. A dictionary of
    patches and tokens encodes each valid one; `pooling` makes them one code per picture or text.

    Args:
        saes: The dictionaries, on one device.
        backbone: The backbone of their cache.
        pooling: How the codes of patches and tokens become a picture's or a text's.
        batch_size: Prompts per forward pass, which bounds memory.

    Raises:
        RunError: a dictionary reads activations of another width than this backbone makes.
    """

    def __init__(
        self,
        saes: Sequence[SparseAutoencoder],
        backbone: Backbone,
        pooling: Pooling = "max",
        batch_size: int = 64,
    ) -> None:
        for sae in saes:
            widths = sae.vision_channels, sae.text_channels
            sae.reader.refuse_other_widths(
                widths, backbone, f"backbone {backbone.identity['model']}", _REMEDY
            )
        self.backbone = backbone
        self._saes, self._pooling, self._batch_size = saes, pooling, batch_size
        self._device = next(saes[0].parameters()).device

    @torch.inference_mode()
    def images(self, pixels: Float[Tensor, "image 3 height width"]) -> list[ConceptFeatures]:
        """What pictures, preprocessed, are compared by, per dictionary."""
        activations = self.backbone.encode_images(pixels)
        return self._features("vision", activations)

    @torch.inference_mode()
    def classes(self, prompts: Sequence[Sequence[str]]) -> list[ConceptFeatures]:
        """What classes are compared by, per dictionary: the mean over a class's prompts, of embeddings and of codes.

        Each prompt is embedded and brought to unit length; their mean is, too (CLIP, arXiv 2103.00020, 3.1.4). The
        code of a class is formed in the same way from the codes of its prompts, not from its mean embedding: the
        dictionary was trained on embeddings of texts, and a mean of such is none.

        Args:
            prompts: per class its prompts, equally many.

        Raises:
            ConfigError: the tokenizer makes the same tokens of two classes' prompts.
        """
        templates = len(prompts[0])
        at_once = max(1, self._batch_size // templates)
        first_prompts: dict[bytes, str] = {}
        parts: list[list[ConceptFeatures]] = [[] for _ in self._saes]
        for start in range(0, len(prompts), at_once):
            chunk = prompts[start : start + at_once]
            token_ids, valid = self.backbone.tokenize([text for texts in chunk for text in texts])
            for texts, ids in zip(chunk, token_ids.view(len(chunk), -1), strict=True):
                _refuse_same_tokens(texts[0], first_prompts.setdefault(ids.numpy().tobytes(), texts[0]))
            seen = self._features("text", self.backbone.encode_texts(token_ids), valid)
            for of_dictionary, features in zip(parts, seen, strict=True):
                of_dictionary.append(
                    ConceptFeatures(*(_mean_direction(rows, templates) for rows in features))
                )
        return [ConceptFeatures(*map(torch.cat, zip(*of_dictionary, strict=True))) for of_dictionary in parts]

    def _features(
        self, side: Side, activations: Activations, valid: Bool[Tensor, "item token"] | None = None
    ) -> list[ConceptFeatures]:
        refuse_not_finite(f"the backbone's {side} embeddings", activations.pooled)
        embedding = normalize(activations.pooled.to(self._device), dim=-1)
        return [
            ConceptFeatures(embedding, normalize(self._concepts(sae, side, activations, valid), dim=-1))
            for sae in self._saes
        ]

    def _concepts(
        self,
        sae: SparseAutoencoder,
        side: Side,
        activations: Activations,
        valid: Bool[Tensor, "item token"] | None,
    ) -> Float[Tensor, "item latent"]:
        rows, offsets = (part.to(self._device) for part in sae.reader.rows(side, activations, valid))
        codes = sae.encode(side, rows, "shared")
        refuse_not_finite(f"the dictionary's {side} codes", codes.values)
        return pool(codes, offsets, sae.shared_width, self._pooling)


def _mean_direction(rows: Float[Tensor, "prompt channel"], templates: int) -> Float[Tensor, "class channel"]:
    return normalize(rows.view(-1, templates, rows.shape[1]).mean(dim=1), dim=-1)


def _refuse_same_tokens(prompt: str, other: str) -> None:
    if prompt != other:
        raise ConfigError(
            f"the backbone's tokenizer cannot tell {prompt!r} from {other!r}: it knows neither's words, or cuts them "
            "off; rename or leave out one of the classes, or choose another backbone"
        )
