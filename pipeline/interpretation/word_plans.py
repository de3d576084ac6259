"""Where a dictionary's transport plan sends each word of a caption, and which pairs show that best."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float

from cache import ActivationCache
from pipeline.backbone.spelling import Word, over_words
from pipeline.metrics.naming import is_named
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.crossing import transport_plan
from pipeline.sae.sides import SIDES

_BATCH_PAIRS = 32


def words_of_captions(latents: pa.Table) -> dict[int, tuple[Word, ...]]:
    """Read the words by pair of all captions that some latent lists, as `interpret` wrote them down."""
    captions = (caption for row in latents["top_captions"].to_pylist() for caption in row)
    return {caption["pair"]: tuple(_words(caption["words"])) for caption in captions}


def varied_pairs(rows: Mapping[int, Mapping[str, Any]], count: int) -> list[int]:
    """Choose at most `count` pairs of different images, together of as many categories as possible.

    Pictures of two things come first: one has nothing to be told from, and of many little can be seen.

    Args:
        rows: `file` and `categories` of each pair.
        count: Pairs at most.
    """
    categories = {pair: set(row["categories"] or ()) for pair, row in rows.items()}
    order = sorted(rows, key=lambda pair: (abs(len(categories[pair]) - 2), pair))
    chosen: list[int] = []
    files: set[str] = set()
    shown: set[str] = set()
    while len(chosen) < count:
        left = [pair for pair in order if rows[pair]["file"] not in files]
        if not left:
            break
        best = max(left, key=lambda pair: min(len(categories[pair] - shown), 2))
        shown = shown | categories[best] if categories[best] - shown else set(categories[best])
        files.add(rows[best]["file"])
        chosen.append(best)
    return chosen


@torch.inference_mode()
def word_plans(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    pairs: Sequence[int],
    words: Mapping[int, Sequence[Word]],
) -> dict[int, Float[np.ndarray, "word patch"]]:
    """Compute each word's share of the plan at every patch, relative to the word's strongest patch, by pair."""
    plans = {}
    device = next(sae.parameters()).device
    for batch in cache.iterate(_BATCH_PAIRS, np.array(sorted(pairs), dtype=np.int64)):
        read = sae.reader.pairs(batch).to(device)
        vision, text = (sae.encode(side, read.rows(side), "shared") for side in SIDES)
        plans_of_batch = transport_plan(sae, vision, text, read.text_offsets, read.patches)
        matrices = zip(batch.pair.tolist(), plans_of_batch.plan, plans_of_batch.valid, strict=True)
        for pair, matrix, is_token in matrices:
            columns = over_words(np.add, matrix[:, is_token].cpu().numpy(), words[pair]).T
            peak = columns.max(axis=1, keepdims=True).clip(min=np.finfo(columns.dtype).tiny)
            plans[pair] = columns / peak
    return plans


def telling_word(
    words: Sequence[Word], categories: Sequence[str], columns: Float[np.ndarray, "word patch"]
) -> int:
    """Find the first word that names a category of the picture, also in the plural; else the most concentrated one."""
    for position, word in enumerate(words):
        if any(is_named(word.text, category) for category in categories):
            return position
    spread = columns.mean(axis=1) + np.array([word.special for word in words])
    return int(spread.argmin())


def _words(records: Sequence[Mapping[str, Any]]) -> Iterator[Word]:
    start = 0
    for record in records:
        stop = start + record["tokens"]
        yield Word(**{**record, "tokens": range(start, stop)})
        start = stop
