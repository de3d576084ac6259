"""Concepts as shared codes: LUCID (arXiv 2602.07311) 3.5.1 stage 1 and algorithm 1, stages 1 and 2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.interpretation.levels import Level
from pipeline.metrics.heat_maps import inverse_document_frequency
from pipeline.metrics.options import Pooling
from pipeline.not_finite import refuse_not_finite
from pipeline.progress import Advance

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


@dataclass(frozen=True)
class ConceptCodes:
    """The concept list as the dictionary sees it.

    Attributes:
        codes: float32 `[concept, latent]`, `z_c` over the latents of a level, never negative.
        idf: float32 `[latent]`, the weight of each latent; zero for one that every concept uses.
    """

    codes: Float[Tensor, "concept latent"]
    idf: Float[Tensor, "latent"]

    @property
    def weight(self) -> Float[Tensor, "concept"]:
        """`sum_m z_c,m idf_m`: the largest value that a concept's activation map can take."""
        return self.codes @ self.idf


@torch.inference_mode()
def encode_concepts(
    levels: Sequence[Level],
    backbone: "Backbone",
    terms: Sequence[str],
    prompt: str,
    pooling: Pooling,
    weighted: bool,
    batch_terms: int = 256,
    progress: Advance | None = None,
) -> list[ConceptCodes]:
    """Send every term through the backbone's text side and the dictionary's text encoder, level by level.

    A dictionary of pooled embeddings reads the prompt as it reads a caption: as one token, the pooled embedding.

    Args:
        levels: Latents of one trained dictionary.
        backbone: The backbone whose activations it was trained on.
        terms: The concept list.
        prompt: Text with `{term}` in it.
        pooling: How the codes of a term's tokens become one code **[open in the paper]**. "mean" is how LUCID's own
            losses pool a caption (3.2.3); "max" keeps a latent that one token fires at full strength.
        weighted: Whether latents are weighted by `idf_m = log(N / df_m)`, with df_m of the list's N concepts firing
            latent m (algorithm 1, stage 2); all weights are 1 if not.
        batch_terms: Terms per forward pass.
        progress: Receives (terms done, terms in all) after every forward pass.

    Raises:
        RunError: a code is not finite.
    """
    sae, device = levels[0].sae, levels[0].device
    codes: list[list[Tensor]] = [[] for _ in levels]
    for start in range(0, len(terms), batch_terms):
        texts = [prompt.replace("{term}", term) for term in terms[start : start + batch_terms]]
        rows, offsets = (part.to(device) for part in sae.reader.texts(backbone, texts))
        for level, of_level in zip(levels, codes, strict=True):
            of_tokens = level.of_tokens(rows)
            refuse_not_finite(f"the codes of the concepts '{texts[0]}' to '{texts[-1]}'", of_tokens.values)
            of_level.append(level.of_terms(of_tokens, offsets, pooling).clamp(min=0))
        if progress is not None:
            progress(min(start + batch_terms, len(terms)), len(terms))
    return [_weighed(torch.cat(of_level), weighted) for of_level in codes]


def _weighed(codes: Float[Tensor, "concept latent"], weighted: bool) -> ConceptCodes:
    return ConceptCodes(codes, inverse_document_frequency(codes) if weighted else torch.ones_like(codes[0]))
