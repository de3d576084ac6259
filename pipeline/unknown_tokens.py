"""How much of a split's captions the backbone's tokenizer does not know."""

from typing import Any, NamedTuple

import numpy as np

from cache import ActivationCache

NOTABLE = 0.05
"""Share of unknown tokens from which on one should know of them."""

_CAPTIONS_AT_ONCE = 65536


class UnknownTokens(NamedTuple):
    """Tokens that stand for words the tokenizer does not know, among the tokens of the captions that pairs have."""

    unknown: int
    tokens: int

    @property
    def share(self) -> float:
        """Unknown tokens of all; 0 where there is none."""
        return self.unknown / max(self.tokens, 1)

    @property
    def notable(self) -> bool:
        """Whether so many are unknown that text codes, names and words say little of what captions say."""
        return self.share > NOTABLE


def count_unknown_tokens(cache: ActivationCache) -> UnknownTokens | None:
    """Count them in a cache; each caption counts once, special tokens count as known.

    Returns:
        None where the cache does not say which token stands for unknown words: of an earlier version, or of a
        tokenizer that spells every word.

    Raises:
        CacheCorruptError, CacheAccessError: as `ActivationCache.read_rows`.
    """
    tokenizer: Any = cache.manifest.backbone.get("tokenizer")
    unknown_id = tokenizer.get("unknown_id") if isinstance(tokenizer, dict) else None
    if not isinstance(unknown_id, int):
        return None
    captions = np.unique(cache.pair_captions)
    unknown = tokens = 0
    for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
        some = captions[start : start + _CAPTIONS_AT_ONCE]
        starts, lengths = cache.caption_starts[some], cache.caption_lengths[some]
        within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        ids = cache.read_rows("text/token_ids", np.repeat(starts, lengths) + within)
        unknown, tokens = unknown + int((ids == unknown_id).sum()), tokens + len(ids)
    return UnknownTokens(unknown, tokens)
