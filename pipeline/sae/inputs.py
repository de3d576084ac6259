"""What an SAE reads of a pair: every patch and token, or one pooled embedding per side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cache import SideStatistics
from pipeline.sae.options import ArchitectureOptions, Inputs

if TYPE_CHECKING:
    from cache import ActivationCache, Manifest, PairBatch

_ROWS_AT_ONCE = 4096


def select_inputs(batch: PairBatch, inputs: Inputs) -> PairBatch:
    """The batch as an SAE with these inputs sees it.

    An SAE of pooled embeddings sees images of one patch and captions of one token, the embeddings themselves. So
    whatever is defined for patches and tokens (a plan, a cross reconstruction, an image's code) is defined for it
    too, and is what one expects: the plan of a pair joins its two embeddings.

    Returns:
        `batch` itself for "tokens"; for "pooled" vision_tokens [pair, 1, embedding] and text_tokens
        [pair, embedding], with -1 for token ids.
    """
    if inputs == "tokens":
        return batch
    pairs = len(batch.pair)
    return batch._replace(
        vision_tokens=batch.vision_pooled[:, None],
        text_tokens=batch.text_pooled,
        text_offsets=torch.arange(pairs + 1, device=batch.text_offsets.device),
        token_ids=torch.full_like(batch.pair, -1),
    )


def input_channels(options: ArchitectureOptions, manifest: Manifest) -> tuple[int, int]:
    """Widths of what an SAE of these options reads of an image and of a caption of this cache."""
    if options.reads == "pooled":
        return manifest.embedding, manifest.embedding
    return manifest.vision_channels, manifest.text_channels


def is_token(batch: PairBatch) -> Bool[Tensor, " token"]:
    """Which rows of text belong to a caption; those after the last caption do not."""
    row = torch.arange(len(batch.text_tokens), device=batch.text_offsets.device)
    return row < batch.text_offsets[-1]


def input_statistics(cache: ActivationCache, inputs: Inputs) -> Mapping[str, SideStatistics]:
    """Exact moments of what an SAE with these inputs reads of a cache's pairs, by side.

    Those of tokens were written with the cache; pooled embeddings are read for them, each image and caption once.
    """
    if inputs == "tokens":
        return cache.statistics
    rows = {"vision": np.unique(cache.pair_images), "text": np.unique(cache.pair_captions)}
    return {side: _pooled_statistics(cache, f"{side}/pooled", of_side) for side, of_side in rows.items()}


def _pooled_statistics(cache: ActivationCache, name: str, rows: Int[np.ndarray, "row"]) -> SideStatistics:
    parts = (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
    return reduce(SideStatistics.merge, (SideStatistics.of(cache.read_stored(name, part)) for part in parts))
