"""What a dictionary reads of a pair: every patch and token, or one pooled embedding per side.

A dictionary of pooled embeddings sees images of one patch and captions of one token, the embeddings themselves. So
whatever is defined for patches and tokens (a plan, a cross reconstruction, an image's code) is defined for it too, and
is what one expects: the plan of a pair joins its two embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from cache import SideStatistics
from pipeline.errors import RunError
from pipeline.sae.centring import PositionalCentring
from pipeline.sae.moments import SideMoments
from pipeline.sae.options import Inputs
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES, Side

if TYPE_CHECKING:
    from cache import ActivationCache, PairBatch
    from pipeline.backbone.model import Activations, Backbone

_ROWS_AT_ONCE = 4096


class Widths(Protocol):
    """What says how wide activations are: a backbone, or the manifest of a cache."""

    @property
    def vision_channels(self) -> int:
        """Width of a patch."""

    @property
    def text_channels(self) -> int:
        """Width of a token."""

    @property
    def embedding(self) -> int:
        """Width of a pooled embedding."""


class Rows(NamedTuple):
    """What is read of some images or texts, one after another."""

    rows: Float[Tensor, "token channel"]
    offsets: Int64[Tensor, " item_plus_1"]
    """Where each one's rows begin."""


class PairReader:
    """Reads every patch and every token.

    Attributes:
        inputs: the name of what is read.
        units: what a row of vision and of text is called.
        knows_places: whether a row has a place in its image or text.
    """

    inputs: Inputs = "tokens"
    units = ("patches", "tokens")
    knows_places = True

    def channels(self, source: Widths) -> tuple[int, int]:
        """Tell the widths of what is read of an image and of a caption."""
        return source.vision_channels, source.text_channels

    def statistics(self, cache: ActivationCache) -> Mapping[str, SideMoments]:
        """Hand out exact moments of what is read of a cache's pairs, by side."""
        return cache.statistics

    def centres(self, cache: ActivationCache) -> dict[Side, Float64[np.ndarray, "channel"]]:
        """Hand out a point near the mean of what is read of each side, at no cost."""
        return {side: cache.statistics[side].mean for side in SIDES}

    def pairs(self, batch: PairBatch) -> Pairs:
        """Read a cached batch; on its device."""
        return Pairs(batch.vision_tokens, batch.text_tokens, batch.text_offsets)

    def read(
        self, side: Side, rows: Float[Tensor, "token channel"], offsets: Int64[Tensor, " item_plus_1"]
    ) -> Float[Tensor, "token channel"]:
        """Turn the backbone's rows of some items into what is read of them; here it is the rows themselves.

        Args:
            side: "vision" or "text".
            rows: of the items, one after another.
            offsets: item i has the rows offsets[i] up to offsets[i + 1].
        """
        return rows

    def restored(
        self, side: Side, rows: Float[Tensor, "token channel"], offsets: Int64[Tensor, " item_plus_1"]
    ) -> Float[Tensor, "token channel"]:
        """Undo `read`, also of rows that a dictionary has rebuilt."""
        return rows

    def rows(
        self, side: Side, activations: Activations, valid: Bool[Tensor, "item token"] | None = None
    ) -> Rows:
        """Read images or texts fresh from a backbone, on its device.

        Args:
            side: "vision" for images, "text" for texts.
            activations: of the images or texts.
            valid: which tokens are; by default all, as patches are.
        """
        tokens = activations.tokens
        if valid is None:
            valid = torch.ones(tokens.shape[:2], dtype=torch.bool)
        valid = valid.to(tokens.device)
        offsets = pad(valid.sum(dim=1).cumsum(dim=0), (1, 0))
        return Rows(self.read(side, tokens[valid], offsets), offsets)

    def texts(self, backbone: Backbone, texts: Sequence[str]) -> Rows:
        """Read texts, in one forward pass of the backbone."""
        token_ids, valid = backbone.tokenize(list(texts))
        return self.rows("text", backbone.encode_texts(token_ids), valid)

    def refuse_other_widths(self, read: tuple[int, int], source: Widths, name: str, remedy: str) -> None:
        """Refuse to go on where the activations of `source`, called `name`, are not as wide as the dictionary reads.

        Raises:
            RunError: they are not; the message ends in `remedy`.
        """
        for side, made, expected in zip(SIDES, self.channels(source), read, strict=True):
            if made != expected:
                raise RunError(
                    f"{name}: {made} {side} channels, but the dictionary was trained on {expected}; {remedy}"
                )


class CentredReader(PairReader):
    """Reads every patch and every token, less what they are on average where they stand."""

    def __init__(self, centring: PositionalCentring) -> None:
        """Read with these shifts."""
        self._centring = centring

    def statistics(self, cache: ActivationCache) -> Mapping[str, SideMoments]:
        """Compute exact moments of what is read of a cache's pairs, by side, from the cache's own."""
        return {
            side: self._centring.moments(side, cache.statistics[side], cache.position_means[side])
            for side in SIDES
        }

    def pairs(self, batch: PairBatch) -> Pairs:
        """Read a cached batch, less the shifts; on its device."""
        vision = self._centring.shift("vision").to(batch.vision_tokens.device)
        text = self.read("text", batch.text_tokens, batch.text_offsets)
        return Pairs(batch.vision_tokens - vision, text, batch.text_offsets)

    def read(
        self, side: Side, rows: Float[Tensor, "token channel"], offsets: Int64[Tensor, " item_plus_1"]
    ) -> Float[Tensor, "token channel"]:
        """Take the shifts away."""
        return rows - self._centring.of_rows(side, offsets, len(rows))

    def restored(
        self, side: Side, rows: Float[Tensor, "token channel"], offsets: Int64[Tensor, " item_plus_1"]
    ) -> Float[Tensor, "token channel"]:
        """Put the shifts back."""
        return rows + self._centring.of_rows(side, offsets, len(rows))


class PooledReader(PairReader):
    """Reads the pooled embedding of either side."""

    inputs = "pooled"
    units = ("pictures", "captions")
    knows_places = False

    def channels(self, source: Widths) -> tuple[int, int]:
        """Tell the width of the embeddings, twice."""
        return source.embedding, source.embedding

    def statistics(self, cache: ActivationCache) -> Mapping[str, SideMoments]:
        """Compute moments of the embeddings, which are read for it, each image and caption once."""
        rows = {"vision": np.unique(cache.pair_images), "text": np.unique(cache.pair_captions)}
        return {side: _moments(cache, f"{side}/pooled", some) for side, some in rows.items()}

    def centres(self, cache: ActivationCache) -> dict[Side, Float64[np.ndarray, "channel"]]:
        """Hand out zeros: a cache has no statistics of embeddings, and those are not far from 0."""
        return {side: np.zeros(cache.manifest.embedding) for side in SIDES}

    def pairs(self, batch: PairBatch) -> Pairs:
        """Read the batch's embeddings."""
        offsets = torch.arange(len(batch.pair) + 1, device=batch.text_offsets.device)
        return Pairs(batch.vision_pooled[:, None], batch.text_pooled, offsets)

    def rows(
        self, side: Side, activations: Activations, valid: Bool[Tensor, "item token"] | None = None
    ) -> Rows:
        """Read the embeddings, whatever is valid."""
        pooled = activations.pooled
        return Rows(pooled, torch.arange(len(pooled) + 1, device=pooled.device))


READERS: Mapping[Inputs, PairReader] = {"tokens": PairReader(), "pooled": PooledReader()}


def _moments(cache: ActivationCache, name: str, rows: np.ndarray) -> SideStatistics:
    parts = (rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
    return reduce(SideStatistics.merge, (SideStatistics.of(cache.read_stored(name, part)) for part in parts))
