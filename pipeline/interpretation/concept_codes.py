"""Concepts as shared codes: LUCID (arXiv 2602.07311) 3.5.1 stage 1 and algorithm 1, stages 1 and 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.metrics.heat_maps import inverse_document_frequency
from pipeline.metrics.pooling import Pooling, pool
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


@dataclass(frozen=True)
class ConceptCodes:
    """The concept list as the dictionary sees it.

    Attributes:
        codes: float32 `[concept, latent]`, `z_c` over the shared latents, never negative.
        idf: float32 `[latent]`, the weight of each latent; zero for one that every concept uses.
        embeddings: float32 `[concept, embedding]`, the backbone's own pooled text embedding of each concept.
    """

    codes: Float[Tensor, "concept latent"]
    idf: Float[Tensor, "latent"]
    embeddings: Float[Tensor, "concept embedding"]

    @property
    def weight(self) -> Float[Tensor, "concept"]:
        """`sum_m z_c,m idf_m`: the largest value that a concept's activation map can take."""
        return self.codes @ self.idf


@torch.inference_mode()
def encode_concepts(
    sae: SparseAutoencoder,
    backbone: "Backbone",
    terms: Sequence[str],
    prompt: str,
    pooling: Pooling,
    weighted: bool,
    batch_terms: int = 256,
) -> ConceptCodes:
    """Send every term through the backbone's text side and the dictionary's shared text encoder.

    Args:
        sae: A trained dictionary.
        backbone: The backbone whose activations it was trained on.
        terms: The concept list.
        prompt: Text with `{term}` in it.
        pooling: How the codes of a term's tokens become one code **[open in the paper]**. "max" keeps a latent that
            one token fires at full strength however many other tokens the prompt has; "mean" dilutes it.
        weighted: Whether latents are weighted by `idf_m = log(N / df_m)`, with df_m of the list's N concepts firing
            latent m (algorithm 1, stage 2); all weights are 1 if not.
        batch_terms: Terms per forward pass.
    """
    device = next(sae.parameters()).device
    codes, embeddings = [], []
    for start in range(0, len(terms), batch_terms):
        texts = [prompt.replace("{term}", term) for term in terms[start : start + batch_terms]]
        token_ids, valid = backbone.tokenize(texts)
        activations = backbone.encode_texts(token_ids)
        offsets = torch.nn.functional.pad(valid.sum(dim=1).cumsum(dim=0), (1, 0)).to(device)
        tokens = activations.tokens[valid.to(activations.tokens.device)].to(device)
        token_codes = sae.encode("text", tokens, "shared")
        codes.append(pool(token_codes, offsets, sae.shared_width, pooling))
        embeddings.append(activations.pooled.float().to(device))
    pooled = torch.cat(codes)
    idf = inverse_document_frequency(pooled) if weighted else torch.ones_like(pooled[0])
    return ConceptCodes(pooled, idf, torch.cat(embeddings))
