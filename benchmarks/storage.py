"""What each storage dtype saves and costs on the embedded world: `python -m benchmarks.storage --json FILE`.

Both splits are encoded once in float32 and converted from there to every dtype. For each it measures

- the bytes on disk of one pair of the training split, calibration and checksums included;
- the fraction of the validation tokens' variance that is lost, over all channels and in the channel that loses most;
- R2 and point@1 of the `lucid` recipe trained on the dtype, with the same seeds for all, always on the float32
  validation split: what is lost in storage counts as not explained.

The caches stay in `--folder`, so a second run does not encode again. `python -m benchmarks.storage_page` makes
docs/storage.md of the result.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cache import STORAGE_DTYPES, ActivationCache, PairLoader, StorageDtype
from cache.operations import convert
from cache.operations.lost_variance import lost_variance
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.datasets.layouts import open_split
from pipeline.encoding.split import encode_split
from pipeline.metrics.evaluation import evaluate
from pipeline.params import Params, load_params
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import build_sae
from pipeline.training.loop import Trainee, resolve_device, train
from stages.freed_memory import keep_freed_memory
from stages.progress import progress_bar

VARIANT = "lucid"
SPLITS = ("train", "val")
SIDES = ("vision", "text")


def encoded(params: Params, split: str, backbone: Backbone, folder: Path) -> ActivationCache:
    """The float32 cache of a split, encoded unless it is there."""
    options = params.encode.model_copy(update={"storage_dtype": "float32"})
    path = folder / f"{split}-float32.zarr"
    with progress_bar(f"encode {split}", "images") as advance:
        encode_split(open_split(params.dataset, split), backbone, path, options, advance)
    return ActivationCache.open(path)


def converted(exact: ActivationCache, dtype: StorageDtype, path: Path) -> ActivationCache:
    """The cache `exact` in another dtype, converted unless it is there."""
    return convert(exact, path, dtype) if dtype != exact.manifest.storage_dtype else exact


def bytes_per_pair(cache: ActivationCache) -> float:
    """Bytes of all files but samples and ledger, whose size no dtype changes, for one pair."""
    files = [file for side in SIDES for file in (cache.path / side).glob("*/c.*")]
    return sum(file.stat().st_size for file in files) / cache.pairs


def trained(
    params: Params, cache: ActivationCache, seed: int, epochs: int, folder: Path
) -> SparseAutoencoder:
    """The recipe trained on `cache`."""
    variant = params.variant(VARIANT).with_seed(seed)
    options = variant.train.model_copy(update={"epochs": epochs})
    device = resolve_device(options.device)
    loader = PairLoader(cache, options.batch_pairs, seed, options.placement, str(device))
    sae = build_sae(variant.sae, cache.manifest.vision_channels, cache.manifest.text_channels, seed)
    sae.initialise(cache.statistics)
    sae.to(device)
    checkpoint = folder / f"{cache.manifest.storage_dtype}-{seed}.safetensors"
    checkpoint.unlink(missing_ok=True)
    title = f"train on {cache.manifest.storage_dtype}, seed {seed}"
    with progress_bar(title, "steps") as advance:
        train([Trainee(sae, options, checkpoint, {"title": title}, lambda _: None)], loader, advance)
    checkpoint.unlink()
    return sae


def quality(
    params: Params, sae: SparseAutoencoder, cache: ActivationCache, backbone: Backbone
) -> dict[str, float]:
    """R2 of both sides from their own codes, and point@1 by transport."""
    metrics = evaluate(sae, cache, backbone, params.evaluate)
    own = {side: metrics["reconstruction"][side]["full_joint"] for side in SIDES}
    return {
        "r2_vision": own["vision"],
        "r2_text": own["text"],
        "point_at_1": metrics["grounding"]["transport"]["point_at_1"],
    }


def measure(params: Params, folder: Path, seeds: range, epochs: int) -> dict[str, Any]:
    """Everything about every dtype, by its name."""
    backbone = load_backbone(params.backbone)
    exact = {split: encoded(params, split, backbone, folder) for split in SPLITS}
    result: dict[str, Any] = {}
    for dtype in STORAGE_DTYPES:
        caches = {split: converted(exact[split], dtype, folder / f"{split}-{dtype}.zarr") for split in SPLITS}
        runs = []
        for seed in seeds:
            sae = trained(params, caches["train"], seed, epochs, folder)
            runs.append({"seed": seed, **quality(params, sae, exact["val"], backbone)})
        result[dtype] = {
            "bytes_per_pair": bytes_per_pair(caches["train"]),
            "unexplained_variance": {
                side: lost._asdict() for side, lost in lost_variance(caches["val"], exact["val"]).items()
            },
            "runs": runs,
        }
    return result


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure all dtypes; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--folder", type=Path, default=Path("data/storage"), help="where the caches are kept")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each dtype")
    parser.add_argument("--epochs", type=int, help="of each training; by default those of the recipe")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    keep_freed_memory()
    params = load_params(arguments.params)
    if not params.dataset.root.is_dir():
        parser.error(
            f"{params.dataset.root}: no such folder; draw the embedded world with `dvc repro scenes`"
        )
    epochs = arguments.epochs or params.variant(VARIANT).train.epochs
    started = time.monotonic()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    dtypes = measure(params, arguments.folder, range(arguments.seeds), epochs)
    exact = ActivationCache.open(arguments.folder / "train-float32.zarr")
    result = {
        "dtypes": dtypes,
        "conditions": {
            "variant": VARIANT,
            "epochs": epochs,
            "pairs": exact.pairs,
            "vision_channels": exact.manifest.vision_channels,
            "text_channels": exact.manifest.text_channels,
            "patches": exact.manifest.patches,
            "backbone": str(params.backbone.model),
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "seconds": round(time.monotonic() - started),
        },
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "command": shlex.join(["python", "-m", "benchmarks.storage", *(command_line or sys.argv[1:])]),
    }
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
