"""Stage two: train variants from the training cache."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from dvclive.live import Live

from cache import ActivationCache, PairLoader
from pipeline.errors import ConfigError, RunError, os_error_reason
from pipeline.params import Variant
from pipeline.runs.checkpoint import Record, read_checkpoint
from pipeline.runs.config import CURVES_FOLDER, curve_digests, training_identity
from pipeline.runs.files import create_folder, writing_run
from pipeline.runs.seal import write_sealed
from pipeline.runs.software import software
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.inputs import input_channels, input_statistics
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import save_sae
from pipeline.training.loop import Trainee, refuse_different_streams, resolve_device, train
from stages.paths import cache_path
from stages.progress import note, progress_bar
from stages.run_state import CHECKPOINT_FILE, SOFTWARE_FILE, clear_foreign, is_finished


def train_variants(
    variants: Mapping[str, Variant], runs: Mapping[str, Path], *, replace: bool = False
) -> None:
    """Train variants on the training cache, all from one stream of batches; each as if it were alone.

    Writes model, config, curves and the software's versions to a run's folder. An interrupted run leaves
    `checkpoint.safetensors` there and goes on from it; a finished one removes it, and is not trained again.

    Args:
        variants: by name.
        runs: folder of the run of every variant, by the same names.
        replace: train a finished run anew, and discard what is damaged or of another identity; an interrupted run of
            this identity goes on all the same.

    Raises:
        CacheError: the training cache is missing, unfinished or damaged.
        ConfigError: the variants need different batches, or larger ones than there are pairs.
        RunError: a folder holds another run or is being written, training diverged, or a file cannot be written.
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
    with ExitStack() as stack:
        for run in runs.values():
            create_folder(run)
            stack.enter_context(writing_run(run))
        identities = {name: run_identity(variant, cache) for name, variant in variants.items()}
        left = {
            name: variant
            for name, variant in variants.items()
            if not _is_done(runs[name], identities[name], replace=replace)
        }
        if not left:
            return
        loader = PairLoader(
            cache, options.batch_pairs, options.seed, placement=options.placement, device=str(device)
        )
        totals = {runs[name]: of.train.epochs * loader.steps_per_epoch for name, of in left.items()}
        stack.enter_context(_interruption_says_what_is_kept(totals))
        saes = {name: _new_sae(variant, cache, device) for name, variant in left.items()}
        _train(left, runs, identities, saes, loader)
        for name, sae in saes.items():
            training = {key: value for key, value in identities[name].items() if key != "sae"}
            save_sae(sae, runs[name], training, curve_digests(runs[name]))
            write_sealed(runs[name] / SOFTWARE_FILE, software())
            (runs[name] / CHECKPOINT_FILE).unlink()


def run_identity(variant: Variant, cache: ActivationCache) -> dict[str, Any]:
    """Everything that decides a variant's trained weights, as plain JSON."""
    return {
        "sae": variant.sae.model_dump(mode="json"),
        **training_identity(variant.train.decisive(), cache),
    }


def _is_done(run: Path, identity: Mapping[str, Any], *, replace: bool) -> bool:
    """Whether nothing has to be trained, which is said then."""
    if replace:
        clear_foreign(run, identity)
        return False
    finished = is_finished(run, identity)
    if finished:
        note(f"{run}: is finished, with these very options; `--replace` trains it anew")
    return finished


def _train(
    variants: Mapping[str, Variant],
    runs: Mapping[str, Path],
    identities: Mapping[str, Mapping[str, Any]],
    saes: Mapping[str, SparseAutoencoder],
    loader: PairLoader,
) -> None:
    with ExitStack() as stack:
        trainees = [
            Trainee(
                saes[name],
                variant.train,
                runs[name] / CHECKPOINT_FILE,
                identities[name],
                stack.enter_context(_curves(runs[name])),
            )
            for name, variant in variants.items()
        ]
        advance = stack.enter_context(progress_bar(f"train {' '.join(variants)}", "steps"))
        started = time.perf_counter()
        waited = train(trainees, loader, advance)
        taken = time.perf_counter() - started
    note(f"trained in {taken:.1f} s, {waited / taken:.1%} of it waiting for batches ({loader.placement})")


def _new_sae(variant: Variant, cache: ActivationCache, device: torch.device) -> SparseAutoencoder:
    sae = build_sae(variant.sae, *input_channels(variant.sae, cache.manifest), variant.train.seed)
    sae.initialise(input_statistics(cache, sae.inputs))
    return sae.to(device)


@contextmanager
def _curves(run: Path) -> Iterator[Callable[[Record], None]]:
    """Writes every record of losses to the curves that DVC plots; they begin anew, a resumed run tells all of it again.

    Raises:
        RunError: they cannot be written.
    """
    folder = run / CURVES_FOLDER
    try:
        with Live(str(folder), save_dvc_exp=False, dvcyaml=None) as live:

            def record(entry: Record) -> None:
                live.step = int(entry["step"])
                for term, value in entry.items():
                    if term != "step":
                        live.log_metric(term, value)
                live.make_summary()

            yield record
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {os_error_reason(error)}") from None


@contextmanager
def _interruption_says_what_is_kept(totals: Mapping[Path, int]) -> Iterator[None]:
    """Tell at which step the next training of these runs begins, whose steps in all are given."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        for run, total in totals.items():
            checkpoint = run / CHECKPOINT_FILE
            if checkpoint.exists():
                interruption.add_note(f"{run}: step {read_checkpoint(checkpoint).step} of {total} is kept")
        raise
