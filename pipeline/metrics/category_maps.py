"""Every kind of heat map of a category in an image, for a batch of such queries."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.heat_maps import (
    by_pair,
    code_maps,
    cosine_maps,
    inverse_document_frequency,
    transport_maps,
)
from pipeline.metrics.prompts import PromptEncoder
from pipeline.sae.crossing import transport_plan
from pipeline.sparse.codes import SparseCodes


class CategoryQuery(NamedTuple):
    """Where is `category` in the image of the pair at `position` of a batch, whose caption is `caption`?"""

    position: int
    caption: str
    category: str


class CategoryMaps:
    """Heat maps of the categories that the tokenizer can spell.

    Args:
        prompts: Encodes what the cache does not hold.
        categories: The categories that may be asked for; they also are the concepts that idf counts.

    Attributes:
        concepts: The categories that can be asked for, as queries.
    """

    def __init__(self, prompts: PromptEncoder, categories: Sequence[str]) -> None:
        self._prompts = prompts
        self.concepts = prompts.concepts(categories)
        if self.concepts:
            codes = torch.stack([concept.code for concept in self.concepts.values()])
            self._idf = inverse_document_frequency(codes)

    def transport(
        self, encoded: EncodedBatch, queries: Sequence[CategoryQuery]
    ) -> tuple[Float[Tensor, "query patch"], int]:
        """The plan's mass on the tokens that name each category, and for how many the caption itself names it.

        Where the caption does not, the prompt is joined to it, as for `prompted_transport`.
        """
        named = [
            self._prompts.naming_tokens(_caption_tokens(encoded, position), category)
            for position, _, category in queries
        ]
        maps = transport_maps(encoded.plan.plan, [query.position for query in queries], named)
        unnamed = [row for row, tokens in enumerate(named) if not tokens]
        if unnamed:
            maps[unnamed] = self.prompted_transport(encoded, [queries[row] for row in unnamed])
        return maps, len(queries) - len(unnamed)

    def prompted_transport(
        self, encoded: EncodedBatch, queries: Sequence[CategoryQuery]
    ) -> Float[Tensor, "query patch"]:
        """Transport heat maps of categories that captions do not name: prompt and caption are encoded together.

        The prompt comes first, so that it is the caption that a short context cuts off and never the category.
        """
        size = self._prompts.batch_texts
        chunks = [queries[start : start + size] for start in range(0, len(queries), size)]
        return torch.cat([self._prompted_chunk(encoded, chunk) for chunk in chunks])

    def code(self, encoded: EncodedBatch, queries: Sequence[CategoryQuery]) -> Float[Tensor, "query patch"]:
        """Overlap of each patch's shared code with the category's; zero everywhere where there is one category."""
        codes = torch.stack([self.concepts[query.category].code for query in queries])
        pairs = torch.tensor([query.position for query in queries], device=codes.device)
        return code_maps(encoded.codes["vision"]["shared"], encoded.patches, pairs, codes, self._idf)

    def backbone(
        self, encoded: EncodedBatch, queries: Sequence[CategoryQuery]
    ) -> Float[Tensor, "query patch"]:
        """The frozen model's own cosine of each patch and the category's prompt."""
        asked = sorted({query.position for query in queries})
        tokens = encoded.batch.vision_tokens[asked]  # as the backbone has them, whatever the dictionary reads
        embeddings = self._prompts.backbone.patch_embeddings(tokens).to(encoded.pairs.vision.device)
        patches = dict(zip(asked, embeddings, strict=True))
        maps = [
            cosine_maps(patches[query.position], self.concepts[query.category].embedding) for query in queries
        ]
        return torch.stack(maps)

    def _prompted_chunk(self, encoded: EncodedBatch, queries: Sequence[CategoryQuery]) -> Tensor:
        texts = [f"{self._prompts.prompt(category)}. {caption}" for _, caption, category in queries]
        spoken = self._prompts.encode(texts)
        patches, shared = encoded.patches, encoded.codes["vision"]["shared"]
        pairs = torch.tensor([query.position for query in queries], device=shared.values.device)
        vision = SparseCodes(*(by_pair(part, patches)[pairs].flatten(0, 1) for part in shared))
        plan = transport_plan(self._prompts.sae, vision, spoken.codes, spoken.offsets, patches).plan
        named = [
            self._prompts.naming_tokens(token_ids, category)
            for token_ids, (_, _, category) in zip(spoken.token_ids, queries, strict=True)
        ]
        return transport_maps(plan, range(len(queries)), named)


def _caption_tokens(encoded: EncodedBatch, position: int) -> Int64[Tensor, "token"]:
    start, stop = encoded.batch.text_offsets[position : position + 2].tolist()
    return encoded.batch.token_ids[start:stop]
