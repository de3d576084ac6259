"""Stage one: write the activation cache of one split."""

from pathlib import Path

from rich.filesize import decimal

from cache import ActivationCache, disk_budget
from pipeline.backbone.loading import load_backbone
from pipeline.datasets.layouts import open_split
from pipeline.encoding.split import EncodeSummary, cache_manifest, encode_split
from pipeline.params import Params
from pipeline.unknown_tokens import count_unknown_tokens
from stages.cache_repair import repair
from stages.earlier_cache import is_encoded
from stages.paths import cache_path
from stages.progress import progress_bar
from stages.terminal import Terminal


def encode_cache(params: Params, split: str, *, replace: bool = False) -> None:
    """Encode the split that the options call `split` into `data/cache/SPLIT.zarr`.

    One that was interrupted is continued.

    Args:
        params: all options; `dataset`, `backbone` and `encode` are used.
        split: a key of `dataset.splits`.
        replace: keep a finished cache if it is the one that would be written, repair it if it is damaged, and delete
            a cache of another identity, finished or not; whatever is done is said.

    Raises:
        ConcordError: the data set or the backbone cannot be used.
        CacheError: the cache cannot be written.
    """
    console = Terminal()
    path = cache_path(split)
    dataset = open_split(params.dataset, split)
    if not dataset.has_objects:
        console.print(
            f"{dataset.root}: no objects are annotated in {split}, so nothing of it can be grounded"
        )
    backbone = load_backbone(params.backbone)
    manifest = cache_manifest(dataset, backbone, params.encode)
    if replace and is_encoded(path, manifest, lambda: repair(path, params, split), console.print):
        return
    budget = disk_budget(manifest)
    console.print(
        f"{path}: up to {decimal(budget.total)} on disk "
        f"(vision {decimal(budget.vision)}, text at most {decimal(budget.text)})"
    )
    with progress_bar(f"encode {split}", "images") as advance:
        summary = encode_split(dataset, backbone, path, params.encode, advance)
    console.print(_described(path, summary))
    unknown = count_unknown_tokens(ActivationCache.open(path))
    if unknown and unknown.notable:
        console.print(
            f"  {unknown.share:.0%} of the {unknown.tokens} tokens of captions are words that the backbone's tokenizer "
            "does not know: what is learned and named of them says little"
        )


def _described(path: Path, summary: EncodeSummary) -> str:
    lines = [
        f"{path}: {summary.pairs} pairs of {summary.images} images and {summary.captions} captions, "
        f"{decimal(summary.bytes)}; encoded {summary.encoded_images} images in {summary.seconds:.1f} s"
    ]
    lines += [f"  skipped {count}: {reason}" for reason, count in summary.skipped.items()]
    return "\n".join(lines)
