"""Stage two: train one variant from the training cache."""

import hashlib
import json
from pathlib import Path

from dvclive.live import Live

from cache import ActivationCache, PairLoader
from pipeline.checkpoint import Record
from pipeline.params import Variant
from pipeline.sae.registry import build_sae, save_sae
from pipeline.training import resolve_device, train
from stages.paths import cache_path
from stages.progress import progress_bar


def train_variant(name: str, variant: Variant, run: Path) -> None:
    """Train `variant` on the training cache and write model, config and curves to the folder `run`.

    An interrupted run leaves `run/checkpoint.safetensors` and goes on from there; a finished one removes it.

    Raises:
        CacheError: the training cache is missing, unfinished or damaged.
        RunError: training diverged.
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
    with (
        Live(str(run / "curves"), save_dvc_exp=False, dvcyaml=None) as live,
        progress_bar(f"train {name}", "steps") as advance,
    ):

        def record(entry: Record) -> None:
            live.step = int(entry["step"])
            for term, value in entry.items():
                if term != "step":
                    live.log_metric(term, value)
            live.make_summary()

        train(sae, loader, options, checkpoint, _identity(variant, cache), record, advance)
    save_sae(sae, run)
    checkpoint.unlink()


def _identity(variant: Variant, cache: ActivationCache) -> str:
    decisive = {"variant": variant.model_dump(mode="json"), "cache": cache.manifest.to_json()}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
