"""Encoding a split of a data set, shard by shard.

Four things happen at once: threads decode the images of the next batches, another tokenizes captions a shard ahead,
the calling thread runs the backbone, and one more thread writes the last complete shard. What goes into a batch
depends only on the data set and the options, never on which thread was faster or where an interrupted run stopped, and
so neither do the cache's bytes.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from cache import ActivationCache, CacheWriter, Manifest, ShardActivations, captions_of_shards
from pipeline.ahead import Ahead
from pipeline.datasets.pairs import ImageRecord, PairDataset
from pipeline.encoding.captions import tokenize_captions
from pipeline.encoding.code import code_sha256
from pipeline.encoding.options import EncodeOptions
from pipeline.encoding.pictures import PictureBatches
from pipeline.encoding.samples import Sample, samples_table
from pipeline.encoding.shard import ShardEncoder
from pipeline.progress import Advance

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

Item = TypeVar("Item")

_LIBRARIES = (
    "ftfy",
    "numpy",
    "open_clip_torch",
    "pillow",
    "regex",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)
"""Whose code decides an activation, beside what the backbone's identity states."""

_PROCESSOR_SETTINGS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
"""Environment variables that keep torch from instructions of the processor, and so change last bits."""


@dataclass(frozen=True)
class EncodeSummary:
    """What a finished cache holds and what this run did.

    Attributes:
        images, captions: rows of the cache, skipped ones included.
        pairs: image-caption pairs that training will see.
        skipped: rows of `samples.parquet` without a pair, by kind of reason, most frequent first.
        encoded_images: images that this run encoded; the others were there from an interrupted one.
        bytes: size of the cache on disk.
        seconds: wall time of this run.
    """

    images: int
    captions: int
    pairs: int
    skipped: dict[str, int]
    encoded_images: int
    bytes: int
    seconds: float


def cache_manifest(dataset: PairDataset, backbone: "Backbone", options: EncodeOptions) -> Manifest:
    """The identity and dimensions of the cache that `encode_split` writes."""
    rows, columns = backbone.grid
    captions = [len(image.captions) for image in dataset.images]
    return Manifest(
        backbone=backbone.identity,
        dataset={
            "name": dataset.name,
            "root": dataset.root.as_posix(),
            "split": dataset.split,
            "fingerprint": dataset.fingerprint,
            "captions_per_image": dataset.captions_per_image,
            "caption_seed": dataset.caption_seed,
            "batch_size": options.batch_size,
        },
        storage_dtype=options.storage_dtype,
        codec=options.codec,
        images=len(captions),
        captions=sum(captions),
        shard_captions=captions_of_shards(captions, options.shard_images),
        patches=backbone.patches,
        grid=(rows, columns),
        vision_channels=backbone.vision_channels,
        text_channels=backbone.text_channels,
        embedding=backbone.embedding,
        context_length=backbone.context_length,
        shard_images=options.shard_images,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    settings = {name: os.environ[name] for name in _PROCESSOR_SETTINGS if name in os.environ}
    return {name: version(name) for name in _LIBRARIES} | settings | {"code": code_sha256()}


def encode_split(
    dataset: PairDataset,
    backbone: "Backbone",
    path: Path,
    options: EncodeOptions,
    on_progress: Advance | None = None,
) -> EncodeSummary:
    """Write the activation cache of one split at `path`, or finish one that was interrupted.

    Only shards that are not committed yet are encoded. Whatever ends the run early (an error, Ctrl-C, a kill),
    committed shards stay and the same call resumes to the bytes of an uninterrupted run. Meanwhile the cache is locked
    against other writers.

    Images and captions that cannot become a pair are skipped with a reason in `samples.parquet`: an image file that
    is missing, damaged, or of other proportions than annotated; an image without captions; a caption that is empty
    or longer than the backbone's context (cutting it would pair the image with half a sentence); an image or a caption
    for which the backbone computes values that are not finite.

    Raises:
        CacheIdentityError: a cache of another backbone, data set or layout is at `path`.
        CacheLockedError: another process is writing it.
        DiskSpaceError: the disk cannot hold the cache.
        DatasetError: an image file that was there can no longer be read.
        BackboneError: not one image of a shard has finite activations.
    """
    started = time.monotonic()
    with CacheWriter.open(path, cache_manifest(dataset, backbone, options)) as writer:
        encoded = encode_missing(writer, dataset, backbone, options, on_progress)
        cache = writer.finish()
    with cache:
        return _summary(path, cache, encoded, time.monotonic() - started)


def encode_missing(
    writer: CacheWriter,
    dataset: PairDataset,
    backbone: "Backbone",
    options: EncodeOptions,
    on_progress: Advance | None = None,
) -> int:
    """Encode and commit, in order, the shards that `writer` misses.

    When it is interrupted (KeyboardInterrupt, by Ctrl-C), the shard that is being written is finished and the one
    that is being encoded is dropped; a note on the exception names it.

    Args:
        writer: of a cache with the manifest `cache_manifest(dataset, backbone, options)`.
        dataset, backbone, options: what its shards are made from.
        on_progress: told about every batch of images.

    Returns:
        The number of images encoded.

    Raises:
        DiskSpaceError, DatasetError, BackboneError: as `encode_split`.
    """
    shards = [
        _ShardBatches.of(dataset, shard, writer.shard_images(shard), options.batch_size)
        for shard in writer.missing_shards
    ]
    to_do = sum(len(batches.rows) for batches in shards)
    report = _Progress(len(dataset.images) - to_do, len(dataset.images), on_progress)
    encoder = ShardEncoder(dataset, backbone, report.advance)
    captions = Ahead(
        partial(tokenize_captions, backbone=backbone),
        (texts for batches in shards for texts in batches.captions),
        workers=1,
        ahead=max((len(batches.captions) for batches in shards), default=0),
        name="tokenize",
    )
    images = [batch for batches in shards for batch in batches.images]
    workers = options.decode_workers or _cores_left(backbone)
    pictures = PictureBatches(images, dataset.root, backbone, workers=workers)
    shard: int | None = None
    try:
        with (
            contextlib.closing(captions),
            contextlib.closing(pictures),
            _background_writing(writer, dataset.split) as write,
        ):
            for shard, rows, images_of_shard, captions_of_shard in shards:
                encoded = encoder.encode(
                    rows, islice(captions, len(captions_of_shard)), islice(pictures, len(images_of_shard))
                )
                write(shard, *encoded)
    except KeyboardInterrupt as interruption:
        if shard in writer.missing_shards:
            interruption.add_note(f"shard {shard} was not whole yet and is dropped")
        raise
    return to_do


class _ShardBatches(NamedTuple):
    """What is encoded of a shard, in the batches of its forward passes."""

    shard: int
    rows: range
    images: list[list[ImageRecord]]
    captions: list[list[str]]

    @classmethod
    def of(cls, dataset: PairDataset, shard: int, rows: range, batch_size: int) -> "_ShardBatches":
        images = dataset.images[rows.start : rows.stop]
        captions = [caption.text for image in images for caption in image.captions]
        return cls(shard, rows, _batches(images, batch_size), _batches(captions, batch_size))


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def _cores_left(backbone: "Backbone") -> int:
    """Cores that running the backbone does not use, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = torch.get_num_threads() if backbone.device.type == "cpu" else 1
    return max(1, cores - used)


class _Progress:
    """Counts images and passes the count on."""

    def __init__(self, done: int, total: int, on_progress: Advance | None) -> None:
        self._done, self._total, self._on_progress = done, total, on_progress
        self.advance(0)

    def advance(self, images: int) -> None:
        self._done += images
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


@contextlib.contextmanager
def _background_writing(
    writer: CacheWriter, split: str
) -> Iterator[Callable[[int, ShardActivations, list[Sample]], None]]:
    """Give a function that writes a shard of `split` in a thread, after waiting for the shard before it.

    Leaving waits for the last shard, so nothing committed is lost to an interruption; errors of the thread are raised
    by the next call or on leaving.
    """
    pending: Future[None] | None = None

    def write_now(shard: int, activations: ShardActivations, samples: list[Sample]) -> None:
        writer.write_shard(shard, activations, samples_table(samples, split))

    def write(shard: int, activations: ShardActivations, samples: list[Sample]) -> None:
        nonlocal pending
        if pending is not None:
            pending.result()
        pending = pool.submit(write_now, shard, activations, samples)

    with ThreadPoolExecutor(1, thread_name_prefix="write") as pool:
        yield write
        if pending is not None:
            pending.result()


def _summary(path: Path, cache: ActivationCache, encoded_images: int, seconds: float) -> EncodeSummary:
    reasons = cache.read_samples(["skip_reason"])["skip_reason"].drop_null().to_pylist()
    skipped = Counter(reason.split(":")[0] for reason in reasons)
    return EncodeSummary(
        images=cache.manifest.images,
        captions=cache.manifest.captions,
        pairs=cache.pairs,
        skipped=dict(skipped.most_common()),
        encoded_images=encoded_images,
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        seconds=seconds,
    )
