"""Stage one: write the activation cache of one split."""

from pathlib import Path

from rich.filesize import decimal

from cache import CacheIdentityError, CacheWriter, Manifest, clear_cache, disk_budget
from pipeline.backbone.loading import load_backbone
from pipeline.encoding import EncodeSummary, cache_manifest, encode_split
from pipeline.params import Params
from stages.paths import cache_path
from stages.progress import progress_bar
from stages.terminal import Terminal


def encode_cache(params: Params, split: str, *, replace: bool = False) -> EncodeSummary:
    """Encode the split that the options call `split` into `data/cache/SPLIT.zarr`.

    Args:
        params: all options; `dataset`, `backbone` and `encode` are used.
        split: a key of `dataset.splits`.
        replace: delete a cache that is complete, damaged or of another identity first; one that was interrupted is
            resumed all the same.

    Raises:
        ConcordError: the data set or the backbone cannot be used.
        CacheError: the cache cannot be written.
    """
    console = Terminal()
    path = cache_path(split)
    dataset = params.dataset.open(split)
    if not dataset.has_objects:
        console.print(
            f"{dataset.root}: no instances_{dataset.split}.json, so nothing of {split} can be grounded"
        )
    backbone = load_backbone(params.backbone)
    manifest = cache_manifest(dataset, backbone, params.encode)
    if replace:
        _clear(path, manifest)
    budget = disk_budget(manifest)
    console.print(
        f"{path}: up to {decimal(budget.total)} on disk "
        f"(vision {decimal(budget.vision)}, text at most {decimal(budget.text)})"
    )
    with progress_bar(f"encode {split}", "images") as advance:
        summary = encode_split(dataset, backbone, path, params.encode, advance)
    console.print(_described(path, summary))
    return summary


def _clear(path: Path, manifest: Manifest) -> None:
    """Delete a finished cache, damaged or not, and one of another identity; leave an interrupted one to be resumed."""
    if not path.exists():
        return
    try:
        with CacheWriter.open(path, manifest) as writer:
            if not writer.complete:
                return
    except CacheIdentityError:
        pass
    clear_cache(path)


def _described(path: Path, summary: EncodeSummary) -> str:
    lines = [
        f"{path}: {summary.pairs} pairs of {summary.images} images and {summary.captions} captions, "
        f"{decimal(summary.bytes)}; encoded {summary.encoded_images} images in {summary.seconds:.1f} s"
    ]
    lines += [f"  skipped {count}: {reason}" for reason, count in summary.skipped.items()]
    return "\n".join(lines)
