"""Does exchanging one latent for another in a picture change the one fact that it should, and no other?"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from cache import ActivationCache
from pipeline.metrics.changed_captions import ChangedCaption
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.pooling import pool
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.pairs import Pairs

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

STRENGTHS = (1, 4)
"""How much stronger the new latent fires than the old one did."""

_ONE_FACT = NotDefined("no picture was told of in captions with two different facts changed")
_NONE_TOLD = NotDefined("the backbone prefers no picture's own caption to a changed one")


class Exchange(NamedTuple):
    """In each picture of a batch one latent of vision is exchanged for another."""

    old: Int64[Tensor, " picture"]
    new: Int64[Tensor, " picture"]


class _Outcome(NamedTuple):
    """Of edited pictures that were told from their changed captions before.

    Attributes:
        cause: whether the picture is nearer to the changed caption now.
        isolate: 1 if no caption in which another fact was changed has come nearer than its own, else 0; NaN if there
            is no such caption.
    """

    cause: Bool[np.ndarray, "edit"]
    isolate: Float[np.ndarray, "edit"]


@torch.inference_mode()
def edit_pictures(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone",
    changed: Sequence[ChangedCaption],
    seed: int,
    batch_size: int,
) -> dict[str, Any]:
    """Exchange a latent of each picture, and see which caption it is nearest to then: the part `edits`.

    The words say which latent: the one that the changed caption lacks most, for the one that it has more of. On every
    patch that fires the first, its part is taken away and the second's added; what the dictionary does not reconstruct
    stays. A caption is as near as the patch nearest to it, by the frozen model's own embeddings of patches.

    Args:
        sae: the dictionary.
        cache: has the pictures.
        backbone: the model that made the cache.
        changed: what is asked, all of a pair one after another.
        seed: draws the exchanges of the control.
        batch_size: edits at a time, or all of a pair, which bounds memory.

    Returns:
        By strength, `strength_1` and `strength_4`: `cause`, how often the edited picture is nearer to the changed
        caption than to its own; `isolate`, how often it is nearer to its own than to every caption in which a fact of
        another kind was changed; and under `control` the same of two latents that are drawn at random, the first from
        those that the picture fires. Asked are pictures that were told from the changed caption before the edit.

    Raises:
        CacheError: the cache cannot be read.
    """
    generator = torch.Generator().manual_seed(seed)
    outcomes: dict[tuple[int, bool], list[_Outcome]] = {
        (strength, drawn): [] for strength in STRENGTHS for drawn in (False, True)
    }
    for some in _whole_pairs(changed, batch_size):
        batch = _Batch(sae, cache, backbone, some)
        exchanges = {False: batch.told(), True: batch.drawn(generator)}
        for (strength, drawn), found in outcomes.items():
            found.append(batch.outcome(exchanges[drawn], strength))
    return {
        f"strength_{strength}": _means(outcomes[strength, False])
        | {"control": _means(outcomes[strength, True])}
        for strength in STRENGTHS
    }


def _whole_pairs(changed: Sequence[ChangedCaption], batch_size: int) -> Iterator[Sequence[ChangedCaption]]:
    """Cut into batches that keep what belongs to a pair together."""
    batch: list[ChangedCaption] = []
    for _, group in groupby(changed, key=lambda one: one.pair):
        of_pair = list(group)
        if batch and len(batch) + len(of_pair) > batch_size:
            yield batch
            batch = []
        batch += of_pair
    if batch:
        yield batch


class _Batch:
    """Some changed captions with their pictures, encoded."""

    def __init__(
        self,
        sae: SparseAutoencoder,
        cache: ActivationCache,
        backbone: "Backbone",
        changed: Sequence[ChangedCaption],
    ) -> None:
        self._sae, self._backbone = sae, backbone
        batch = cache.read_pairs(np.array([one.pair for one in changed]))
        self._pairs: Pairs = sae.reader.pairs(batch).to(next(sae.parameters()).device)
        self._codes = sae.encode("vision", self._pairs.rows("vision"), "shared")
        self._own, own = self._encode([one.caption for one in changed])
        self._changed, other = self._encode([one.text for one in changed])
        self._captions = own, other
        pairs, kinds = (np.array([getattr(one, name) for one in changed]) for name in ("pair", "kind"))
        of_another_fact = (pairs[:, None] == pairs) & (kinds[:, None] != kinds)
        to_own, to_changed = self._nearness(self._pairs.vision)
        farther = to_own[:, None] > to_changed
        self._asked = farther.diagonal()
        self._others = torch.from_numpy(of_another_fact) & farther

    def told(self) -> Exchange:
        """Take the latents that the words say."""
        more = self._changed - self._own
        return Exchange(more.argmin(dim=1), more.argmax(dim=1))

    def drawn(self, generator: torch.Generator) -> Exchange:
        """Draw latents, the old one from those that the picture fires."""
        width, count = self._sae.shared_width, len(self._pairs)
        fires = self._pairs.largest_codes("vision", self._codes, width).cpu() > 0
        weights = fires + torch.finfo(torch.float32).tiny  # one that fires nothing draws from all
        old = torch.multinomial(weights.float(), 1, generator=generator)[:, 0]
        return Exchange(old, torch.randint(width, (count,), generator=generator))

    def outcome(self, exchange: Exchange, strength: int) -> _Outcome:
        """Edit the pictures, and hold them against their captions."""
        own, changed = self._nearness(self._edited(exchange, strength))
        kept = (own[:, None] > changed) | ~self._others
        isolate = torch.where(self._others.any(dim=1), kept.all(dim=1).double(), torch.nan)
        cause = changed.diagonal() > own
        return _Outcome(cause[self._asked].numpy(), isolate[self._asked].numpy())

    def _edited(self, exchange: Exchange, strength: int) -> Float[Tensor, "picture patch channel"]:
        tokens, decoder = self._pairs.vision, self._sae.decoder("vision")
        old, new = (some.to(tokens.device) for some in exchange)
        values, indices = (part.view(*tokens.shape[:2], -1) for part in self._codes)
        fired = (values * (indices == old[:, None, None])).sum(dim=2)
        step = decoder.raw(strength * decoder.directions[new] - decoder.directions[old])
        return tokens + fired[..., None] * step[:, None]

    def _nearness(
        self, tokens: Float[Tensor, "picture patch channel"]
    ) -> tuple[Float[Tensor, " picture"], Float[Tensor, "picture caption"]]:
        """Nearness of each picture to its own caption, and to every changed caption of the batch; on the CPU."""
        reader = self._sae.reader
        raw = reader.restored("vision", tokens.flatten(0, 1), self._pairs.offsets("vision")).view_as(tokens)
        patches = self._backbone.patch_embeddings(raw) if reader.knows_places else normalize(raw, dim=-1)
        own, changed = self._captions
        to_own = torch.einsum("ipc,ic->ip", patches.cpu(), own).amax(dim=1)
        return to_own, torch.einsum("ipc,jc->ijp", patches.cpu(), changed).amax(dim=2)

    def _encode(
        self, texts: Sequence[str]
    ) -> tuple[Float[Tensor, "text shared_latent"], Float[Tensor, "text embedding"]]:
        token_ids, valid = self._backbone.tokenize(list(texts))
        activations = self._backbone.encode_texts(token_ids)
        rows, offsets = (
            part.to(self._pairs.vision.device) for part in self._sae.reader.rows("text", activations, valid)
        )
        codes = pool(self._sae.encode("text", rows, "shared"), offsets, self._sae.shared_width, "max")
        return codes, normalize(activations.pooled.cpu().float(), dim=1)


def _means(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    cause, isolate = (np.concatenate(parts) for parts in zip(*outcomes, strict=True))
    known = isolate[~np.isnan(isolate)]
    return {
        "cause": float(cause.mean()) if len(cause) else _NONE_TOLD,
        "isolate": float(known.mean()) if len(known) else _ONE_FACT,
    }
