"""Texts that no cache holds: categories as prompts, through the frozen text tower and the dictionary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.metrics.naming import names
from pipeline.metrics.pooling import pool
from pipeline.sae.base import SparseAutoencoder
from pipeline.sparse.codes import SparseCodes

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


class EncodedTexts(NamedTuple):
    """Texts as the backbone and the dictionary see them.

    Attributes:
        codes: Shared codes of the valid tokens of all texts, packed.
        offsets: Where each text's tokens begin.
        token_ids: Per text those of its valid tokens.
        pooled: The backbone's own embeddings.
    """

    codes: SparseCodes
    offsets: Int64[Tensor, " text_plus_1"]
    token_ids: list[Int64[Tensor, "token"]]
    pooled: Float[Tensor, "text embedding"]


class CategoryConcept(NamedTuple):
    """A category as a query: the shared code of its naming tokens, and the backbone's embedding of its prompt."""

    code: Float[Tensor, "shared_latent"]
    embedding: Float[Tensor, "embedding"]


@dataclass(frozen=True)
class PromptEncoder:
    """Makes prompts of categories and encodes texts.

    Attributes:
        sae: The dictionary.
        backbone: The model that made the cache.
        template: A prompt with `{category}` in it.
        batch_texts: Texts per forward pass, which bounds memory.
    """

    sae: SparseAutoencoder
    backbone: "Backbone"
    template: str
    batch_texts: int

    def prompt(self, category: str) -> str:
        """The category in the template."""
        return self.template.format(category=category)

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Shared codes, tokens and embeddings of `texts` in one forward pass."""
        token_ids, valid = self.backbone.tokenize(list(texts))
        activations = self.backbone.encode_texts(token_ids)
        device = next(self.sae.parameters()).device
        rows, offsets = (part.to(device) for part in self.sae.reader.rows("text", activations, valid))
        kept = [ids[mask] for ids, mask in zip(token_ids, valid, strict=True)]
        return EncodedTexts(
            self.sae.encode("text", rows, "shared"), offsets, kept, activations.pooled.to(device)
        )

    def naming_tokens(self, token_ids: Int64[Tensor, "token"], category: str) -> list[int]:
        """Positions of the tokens of one text that write the category's word or plural, as whole words; sorted."""
        return self.backbone.occurrences(token_ids, names(category))

    def concepts(self, categories: Sequence[str]) -> dict[str, CategoryConcept]:
        """The categories that the backbone's tokenizer can spell, as queries.

        A category's code is the maximum, per latent, over the tokens of the prompt that name it: a word cut into
        pieces keeps each latent as strong as the piece that fires it, where a mean would weaken it by the number
        of pieces. A category whose word the tokenizer does not know has no such token, and is left out.
        """
        concepts = {}
        for start in range(0, len(categories), self.batch_texts):
            chunk = categories[start : start + self.batch_texts]
            encoded = self.encode([self.prompt(category) for category in chunk])
            for row, category in enumerate(chunk):
                tokens = self.naming_tokens(encoded.token_ids[row], category)
                if tokens:
                    concepts[category] = self._concept(encoded, row, tokens)
        return concepts

    def _concept(self, encoded: EncodedTexts, row: int, tokens: list[int]) -> CategoryConcept:
        places = encoded.offsets[row] + torch.tensor(tokens, device=encoded.offsets.device)
        named = SparseCodes(encoded.codes.values[places], encoded.codes.indices[places])
        whole = torch.tensor([0, len(tokens)], device=places.device)
        return CategoryConcept(pool(named, whole, self.sae.shared_width, "max")[0], encoded.pooled[row])
