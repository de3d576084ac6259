"""Stage two: train one variant from the training cache."""

import hashlib
import json
from pathlib import Path

from dvclive import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cache import ActivationCache, PairLoader
from pipeline.checkpoint import Record
from pipeline.params import Variant
from pipeline.sae.registry import build_sae, save_sae
from pipeline.training import resolve_device, train
from stages.paths import cache_path


def train_variant(name: str, variant: Variant, run: Path) -> None:
    """Train `variant` on `data/cache/train.zarr` and write model, config and curves to the folder `run`.

    An interrupted run leaves `run/checkpoint.safetensors` and goes on from there; a finished one removes it.

    Raises:
        CacheError: the training cache is missing, unfinished or damaged.
        RunError: the cache holds less than one batch, or training diverged.
    """
    options = variant.train
    device = resolve_device(options.device)
    cache = ActivationCache.open(cache_path("train"))
    loader = PairLoader(
        cache, options.batch_pairs, options.seed, placement=options.placement, device=str(device)
    )
    manifest = cache.manifest
    sae = build_sae(variant.sae, manifest.vision_channels, manifest.text_channels, options.seed)
    sae.initialise(cache.statistics)
    sae.to(device)
    checkpoint = run / "checkpoint.safetensors"
    identity = _identity(variant, cache)
    with Live(str(run / "curves"), save_dvc_exp=False, dvcyaml=None) as live, _progress(name) as progress:
        task = progress.add_task(name, total=None)

        def record(entry: Record) -> None:
            live.step = int(entry["step"])
            for term, value in entry.items():
                if term != "step":
                    live.log_metric(term, value)
            live.make_summary()

        def advance(step: int, total: int) -> None:
            progress.update(task, completed=step, total=total)

        train(sae, loader, options, checkpoint, identity, record, advance)
    save_sae(sae, run)
    checkpoint.unlink()


def _identity(variant: Variant, cache: ActivationCache) -> str:
    decisive = {"variant": variant.model_dump(mode="json"), "cache": cache.manifest.to_json()}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _progress(name: str) -> Progress:
    return Progress(
        TextColumn(f"train [bold]{name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
