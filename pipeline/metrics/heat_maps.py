"""Heat maps of a category over an image's patches: from the plan, from the codes, and from the backbone alone."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.backbone import Backbone
from pipeline.metrics.naming import naming_tokens
from pipeline.metrics.pooling import pool
from pipeline.sae.codes import SparseCodes
from pipeline.sae.lucid import LucidSAE


class SpokenTexts(NamedTuple):
    """Texts as the backbone and the dictionary see them, ragged.

    Attributes:
        codes: Shared codes of all valid tokens.
        offsets: Where each text's tokens begin.
        pieces: Per text the spelling of its valid tokens.
        pooled: [text, embedding], the backbone's own embeddings.
    """

    codes: SparseCodes
    offsets: Int64[Tensor, "text+1"]
    pieces: list[list[str]]
    pooled: Float[Tensor, "text embedding"]


class CategoryConcept(NamedTuple):
    """A category as a query: the shared code of its naming tokens, and the backbone's embedding of its prompt."""

    code: Float[Tensor, "shared_latent"]
    embedding: Float[Tensor, "embedding"]


class Speaker:
    """Sends texts through the frozen text tower and the dictionary's text encoder.

    Args:
        sae: The dictionary.
        backbone: The model that made the cache.
        prompt: Template with `{category}` in it.
        batch_texts: Texts per forward pass, which bounds memory.
    """

    def __init__(self, sae: LucidSAE, backbone: Backbone, prompt: str, batch_texts: int) -> None:
        self._sae = sae
        self._backbone = backbone
        self._prompt = prompt
        self._batch_texts = batch_texts

    def pieces(self, token_ids: Int64[Tensor, "token"]) -> list[str]:
        """The tokenizer's spelling of valid tokens."""
        return self._backbone.token_texts(token_ids)

    def patch_embeddings(
        self, tokens: Float[Tensor, "image patch channel"]
    ) -> Float[Tensor, "image patch embedding"]:
        """Each patch alone through the backbone's pooling head, comparable to a text's embedding."""
        return self._backbone.patch_embeddings(tokens).to(tokens.device)

    def speak(self, texts: Sequence[str]) -> SpokenTexts:
        """Shared codes, token spellings and embeddings of `texts` in one forward pass."""
        token_ids, valid = self._backbone.tokenize(list(texts))
        activations = self._backbone.encode_texts(token_ids)
        device = next(self._sae.parameters()).device
        codes = self._sae.encode(
            "text", activations.tokens[valid.to(activations.tokens.device)].to(device), "shared"
        )
        offsets = torch.nn.functional.pad(valid.sum(dim=1).cumsum(dim=0), (1, 0)).to(device)
        pieces = [self.pieces(ids[mask]) for ids, mask in zip(token_ids, valid, strict=True)]
        return SpokenTexts(codes, offsets, pieces, activations.pooled.to(device))

    def concepts(self, categories: Sequence[str]) -> dict[str, CategoryConcept]:
        """The categories that the backbone's tokenizer can spell, as queries.

        A category's code is the maximum, per latent, over the tokens of the prompt that name it: a word cut into
        pieces keeps each latent as strong as the piece that fires it, where a mean would weaken it by the number
        of pieces. A category whose word the tokenizer does not know has no such token, and is left out.
        """
        concepts = {}
        for start in range(0, len(categories), self._batch_texts):
            chunk = categories[start : start + self._batch_texts]
            spoken = self.speak([self._prompt.format(category=category) for category in chunk])
            for row, category in enumerate(chunk):
                tokens = naming_tokens(spoken.pieces[row], category)
                if tokens:
                    places = spoken.offsets[row] + torch.tensor(tokens, device=spoken.offsets.device)
                    named = SparseCodes(spoken.codes.values[places], spoken.codes.indices[places])
                    whole = torch.tensor([0, len(tokens)], device=places.device)
                    code = pool(named, whole, self._sae.shared_width, "max")[0]
                    concepts[category] = CategoryConcept(code, spoken.pooled[row])
        return concepts

    def prompted_maps(
        self, vision_codes: SparseCodes, patches: int, requests: Sequence[tuple[int, str, str]]
    ) -> Float[Tensor, "request patch"]:
        """Transport heat maps of categories that captions do not name.

        The prompt is joined to the caption and the two are sent through the text tower again. The prompt comes
        first, so that it is the caption that a short context cuts off and never the category.

        Args:
            vision_codes: Shared codes of a batch's patches, pair by pair.
            patches: Patches per pair.
            requests: (position of the pair in the batch, caption, category) of each heat map.
        """
        maps = [torch.empty(0, patches, device=vision_codes.values.device)]
        for start in range(0, len(requests), self._batch_texts):
            chunk = requests[start : start + self._batch_texts]
            texts = [f"{self._prompt.format(category=category)}. {caption}" for _, caption, category in chunk]
            spoken = self.speak(texts)
            positions = torch.tensor(
                [position for position, _, _ in chunk], device=vision_codes.values.device
            )
            vision = SparseCodes(*(_by_pair(part, patches)[positions].flatten(0, 1) for part in vision_codes))
            plan = self._sae.transport(vision, spoken.codes, spoken.offsets, patches).plan
            named = [
                naming_tokens(spoken.pieces[row], category) for row, (_, _, category) in enumerate(chunk)
            ]
            maps.append(transport_maps(plan, list(range(len(chunk))), named))
        return torch.cat(maps)


def transport_maps(
    plan: Float[Tensor, "pair patch token"], pairs: Sequence[int], tokens: Sequence[Sequence[int]]
) -> Float[Tensor, "request patch"]:
    """Mass of the plan on the tokens that name a category (LUCID, arXiv 2602.07311, 4.4).

    The paper sums the plan "over tokens". Over *all* tokens the sum is the row marginal, uniform by construction,
    so the sum runs over the naming tokens.

    Args:
        plan: A batch's transport plans.
        pairs: Pair of each heat map, by position in the batch.
        tokens: Positions of its naming tokens within the pair's tokens.
    """
    maps = [plan[pair][:, list(places)].sum(dim=1) for pair, places in zip(pairs, tokens, strict=True)]
    return torch.stack(maps) if maps else plan.new_empty(0, plan.shape[1])


def code_maps(
    vision_codes: SparseCodes,
    patches: int,
    pairs: Int64[Tensor, "request"],
    concept_codes: Float[Tensor, "request shared_latent"],
    weights: Float[Tensor, "shared_latent"],
) -> Float[Tensor, "request patch"]:
    """Overlap of patch codes with a concept's code, `sum_m min(z_i,m, z_c,m) idf_m` (LUCID, 3.5).

    Only latents that the patch fires can overlap, so the sum runs over the sparse code.

    Args:
        vision_codes: Shared codes of a batch's patches, pair by pair.
        patches: Patches per pair.
        pairs: Pair of each heat map, by position in the batch.
        concept_codes: The code of each heat map's concept.
        weights: idf_m of each shared latent.
    """
    values, indices = (_by_pair(part, patches)[pairs].flatten(1) for part in vision_codes)
    overlap = torch.minimum(values, concept_codes.gather(1, indices)) * weights[indices]
    return overlap.view(len(pairs), patches, -1).sum(dim=2)


def inverse_document_frequency(
    codes: Float[Tensor, "concept shared_latent"],
) -> Float[Tensor, "shared_latent"]:
    """`idf_m = log(N / df_m)`, with df_m of the N concepts firing latent m (LUCID, algorithm 1); 0 where none does."""
    frequency = (codes > 0).sum(dim=0)
    return torch.where(frequency > 0, (len(codes) / frequency.clamp(min=1)).log(), 0.0)


def cosine_maps(
    patch_embeddings: Float[Tensor, "*pair patch embedding"], embedding: Float[Tensor, "embedding"]
) -> Float[Tensor, "*pair patch"]:
    """The frozen model's own heat map: cosine of each patch and the prompt, shifted to a minimum of zero.

    Cosines may be negative, and a share of mass needs a map that is not; the shift leaves the order of the patches.
    """
    cosine = normalize(patch_embeddings, dim=-1) @ normalize(embedding, dim=-1)
    return cosine - cosine.amin(dim=-1, keepdim=True)


def _by_pair(part: Tensor, patches: int) -> Tensor:
    return part.view(-1, patches, part.shape[1])
