"""Stage two: train variants from the training cache."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from dvclive.live import Live

from cache import ActivationCache, PairLoader
from pipeline.checkpoint import Record
from pipeline.errors import ConfigError
from pipeline.params import Variant
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.inputs import input_statistics
from pipeline.sae.registry import build_sae, input_channels, save_sae
from pipeline.training import Trainee, refuse_different_streams, resolve_device, train
from stages.paths import cache_path
from stages.progress import note, progress_bar

CHECKPOINT_FILE = "checkpoint.safetensors"


def train_variants(variants: Mapping[str, Variant], runs: Mapping[str, Path]) -> None:
    """Train variants on the training cache, all from one stream of batches; each as if it were alone.

    Writes model, config and curves to a run's folder. An interrupted run leaves `checkpoint.safetensors` there and
    goes on from it; a finished one removes it.

    Args:
        variants: by name.
        runs: folder of the run of every variant, by the same names.

    Raises:
        CacheError: the training cache is missing, unfinished or damaged.
        ConfigError: the variants need different batches, or larger ones than there are pairs.
        RunError: training diverged.
    """
    refuse_different_streams({name: variant.train for name, variant in variants.items()})
    options = next(iter(variants.values())).train
    device = resolve_device(options.device)
    cache = ActivationCache.open(cache_path("train"))
    if options.batch_pairs > cache.pairs:
        raise ConfigError(
            f"train.batch_pairs: cannot draw batches of {options.batch_pairs} pairs from the {cache.pairs} of {cache}; "
            "lower it, or encode more"
        )
    loader = PairLoader(
        cache, options.batch_pairs, options.seed, placement=options.placement, device=str(device)
    )
    saes = {name: _new_sae(variant, cache, device) for name, variant in variants.items()}
    with ExitStack() as stack:
        trainees = [
            Trainee(
                saes[name],
                variant.train,
                runs[name] / CHECKPOINT_FILE,
                _identity(variant, cache),
                stack.enter_context(_curves(runs[name])),
            )
            for name, variant in variants.items()
        ]
        advance = stack.enter_context(progress_bar(f"train {' '.join(variants)}", "steps"))
        started = time.perf_counter()
        waited = train(trainees, loader, advance)
        taken = time.perf_counter() - started
    for name, sae in saes.items():
        save_sae(sae, runs[name])
        (runs[name] / CHECKPOINT_FILE).unlink()
    note(f"trained in {taken:.1f} s, {waited / taken:.1%} of it waiting for batches ({loader.placement})")


def _new_sae(variant: Variant, cache: ActivationCache, device: torch.device) -> SparseAutoencoder:
    sae = build_sae(variant.sae, *input_channels(variant.sae, cache.manifest), variant.train.seed)
    sae.initialise(input_statistics(cache, sae.inputs))
    return sae.to(device)


@contextmanager
def _curves(run: Path) -> Iterator[Callable[[Record], None]]:
    """Writes every record of losses to the curves that DVC plots."""
    with Live(str(run / "curves"), save_dvc_exp=False, dvcyaml=None) as live:

        def record(entry: Record) -> None:
            live.step = int(entry["step"])
            for term, value in entry.items():
                if term != "step":
                    live.log_metric(term, value)
            live.make_summary()

        yield record


def _identity(variant: Variant, cache: ActivationCache) -> str:
    decisive = {"variant": variant.model_dump(mode="json"), "cache": cache.manifest.to_json()}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
