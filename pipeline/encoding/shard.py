"""One shard of a data set through the backbone: its activations, and which of its samples are left out."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cache import ShardActivations
from pipeline.datasets.pairs import PairDataset
from pipeline.encoding.captions import TokenizedCaptions
from pipeline.encoding.pictures import PictureBatch
from pipeline.encoding.samples import Sample
from pipeline.errors import BackboneError

if TYPE_CHECKING:
    from pipeline.backbone.model import Activations, Backbone


class _EncodedImages(NamedTuple):
    """Host tensors of a shard's images, and by position the reason why an image has no activations."""

    tokens: Float[Tensor, "image patch channel"]
    pooled: Float[Tensor, "image embedding"]
    finite: Bool[Tensor, "image"]
    unusable: dict[int, str]


class _EncodedCaptions(NamedTuple):
    """Host tensors of a shard's captions, their tokens packed."""

    tokens: Float[Tensor, "token channel"]
    lengths: Int64[Tensor, "caption"]
    token_ids: Int64[Tensor, "token"]
    pooled: Float[Tensor, "caption embedding"]

    def only(self, used: Bool[Tensor, "caption"]) -> "_EncodedCaptions":
        """The same captions, but no tokens and a pooled row of zeros for those that are not used."""
        if used.all():
            return self
        row = used.repeat_interleave(self.lengths)
        pooled = torch.where(used[:, None], self.pooled, 0)
        return _EncodedCaptions(self.tokens[row], self.lengths * used, self.token_ids[row], pooled)


_NOT_FINITE = "activations are not finite"

_ENOUGH_TO_BLAME_THE_MODEL = 8
"""A shard with so many pairs, none of them finite, is no accident of single images."""


class ShardEncoder:
    """Encodes the shards of one data set with one backbone."""

    def __init__(self, dataset: PairDataset, backbone: "Backbone", advance: Callable[[int], None]) -> None:
        """Encode images of `dataset` with `backbone`; `advance` is told the size of every batch of them."""
        self._dataset = dataset
        self._backbone = backbone
        self._advance = advance

    def encode(
        self, rows: range, captions: Iterable[TokenizedCaptions], pictures: Iterable[PictureBatch]
    ) -> tuple[ShardActivations, list[Sample]]:
        """Encode the images in `rows` of the data set, whose batches are `captions` and `pictures`.

        Skipped captions have no tokens and a pooled row of zeros; images without a used caption are zero as well.

        Raises:
            BackboneError: the activations of a whole shard are not finite; those of single images and captions are
                skipped.
        """
        images = self._dataset.images[rows.start : rows.stop]
        samples = [
            Sample(row, image, caption, None if image.captions else "image without captions")
            for row, image in zip(rows, images, strict=True)
            for caption in image.captions or (None,)
        ]
        captioned = [sample for sample in samples if sample.caption is not None]
        # Captions first: meanwhile the first pictures are decoded.
        texts, unusable = self._encode_captions(captions)
        for position, reason in unusable.items():
            captioned[position].skip_reason = reason
        encoded = self._encode_images(len(images), pictures)
        for sample in samples:
            sample.skip_reason = encoded.unusable.get(sample.image_row - rows.start, sample.skip_reason)
        used = [sample.skip_reason is None for sample in captioned]
        texts = texts.only(torch.tensor(used, dtype=torch.bool))
        _refuse_none_finite(samples)
        paired = {sample.image_row - rows.start for sample in samples if sample.skip_reason is None}
        for position in set(range(len(images))) - paired:
            encoded.tokens[position] = 0
            encoded.pooled[position] = 0
        activations = ShardActivations(
            vision_tokens=encoded.tokens.numpy(),
            vision_pooled=encoded.pooled.numpy(),
            text_tokens=texts.tokens.numpy(),
            text_lengths=texts.lengths.numpy(),
            token_ids=texts.token_ids.numpy(),
            text_pooled=texts.pooled.numpy(),
        )
        return activations, samples

    def _encode_images(self, count: int, batches: Iterable[PictureBatch]) -> _EncodedImages:
        """Encode the `count` pictures of `batches`, also those that are blank."""
        encoded = _no_images()
        start = 0
        for pixels, unusable in batches:
            activations = self._backbone.encode_images(pixels)
            if start == 0:
                encoded = _room_for(count, activations)
            part = slice(start, start + len(pixels))
            encoded.tokens[part].copy_(activations.tokens, non_blocking=True)
            encoded.pooled[part].copy_(activations.pooled, non_blocking=True)
            encoded.finite[part].copy_(_finite(activations), non_blocking=True)
            encoded.unusable.update({start + position: reason for position, reason in unusable.items()})
            start += len(pixels)
            self._advance(len(pixels))
        if encoded.tokens.is_pinned():
            torch.cuda.synchronize()
        for position in (~encoded.finite).nonzero().flatten().tolist():
            encoded.unusable.setdefault(position, f"{_NOT_FINITE}: image")
        return encoded

    def _encode_captions(
        self, batches: Iterable[TokenizedCaptions]
    ) -> tuple[_EncodedCaptions, dict[int, str]]:
        """Encode captions, also those that are to be skipped, so that batches stay; and why they are skipped."""
        parts = [_no_captions(self._backbone)]
        unusable: dict[int, str] = {}
        start = 0
        for token_ids, valid, refused in batches:
            activations = self._backbone.encode_texts(token_ids)
            tokens, pooled = activations.tokens[valid].cpu(), activations.pooled.cpu()
            parts.append(_EncodedCaptions(tokens, valid.sum(dim=1), token_ids[valid], pooled))
            not_finite = (~_finite(activations, valid)).nonzero().flatten().tolist()
            reasons = dict.fromkeys(not_finite, f"{_NOT_FINITE}: caption") | refused
            unusable |= {start + position: reason for position, reason in reasons.items()}
            start += len(token_ids)
        return _EncodedCaptions(*map(torch.cat, zip(*parts, strict=True))), unusable


def _no_captions(backbone: "Backbone") -> _EncodedCaptions:
    none = torch.zeros(0, dtype=torch.int64)
    tokens, pooled = torch.zeros(0, backbone.text_channels), torch.zeros(0, backbone.embedding)
    return _EncodedCaptions(tokens, none, none, pooled)


def _no_images() -> _EncodedImages:
    """Of a width that is not known yet."""
    return _EncodedImages(torch.empty(0, 0, 0), torch.empty(0, 0), torch.empty(0, dtype=torch.bool), {})


def _room_for(count: int, activations: "Activations") -> _EncodedImages:
    """Host memory for `count` images; pinned if they come from a GPU, which then need not wait for the copies."""
    pinned = activations.tokens.is_cuda
    tokens, pooled = (
        torch.empty(count, *one.shape[1:], pin_memory=pinned)
        for one in (activations.tokens, activations.pooled)
    )
    return _EncodedImages(
        tokens, pooled, torch.empty(count, dtype=torch.bool, pin_memory=pinned), unusable={}
    )


def _finite(
    activations: "Activations", valid: Bool[Tensor, "item token"] | None = None
) -> Bool[Tensor, "item"]:
    """Whether the pooled embedding of an item and its tokens, only those that are `valid` if given, are finite."""
    if (
        activations.tokens.device.type == "cpu"
    ):  # where a sum is several times faster; a GPU would be waited for
        sums = activations.tokens.sum(dim=(1, 2)) + activations.pooled.sum(dim=1)
        if torch.isfinite(sums).all():  # which no sum of other values is
            return torch.ones(len(sums), dtype=torch.bool)
    tokens = torch.isfinite(activations.tokens).all(dim=2)
    if valid is not None:
        tokens |= ~valid.to(tokens.device)
    return tokens.all(dim=1) & torch.isfinite(activations.pooled).all(dim=1)


def _refuse_none_finite(samples: list[Sample]) -> None:
    reasons = [sample.skip_reason for sample in samples]
    not_finite = sum(reason is not None and reason.startswith(_NOT_FINITE) for reason in reasons)
    if not_finite >= _ENOUGH_TO_BLAME_THE_MODEL and None not in reasons:
        raise BackboneError(
            f"backbone: not one pair of image rows {samples[0].image_row} to {samples[-1].image_row} has finite "
            "activations; encode with backbone.precision fp32, or check the weights"
        )
