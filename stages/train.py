"""Stage two: train variants from the training cache."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dvclive.live import Live

from cache import ActivationCache
from pipeline.errors import RunError, os_error_reason
from pipeline.params import Variant
from pipeline.runs.checkpoint import CHECKPOINT_FILE, LossRecord, read_checkpoint
from pipeline.runs.config import CURVES_FOLDER, curve_digests
from pipeline.runs.files import create_folder, writing_run
from pipeline.runs.seal import write_sealed
from pipeline.runs.software import software
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.saving import save_sae
from pipeline.training.fit import Training, fit, refuse_unfit
from stages.paths import TRAINING_SPLIT, cache_path
from stages.progress import note, progress_bar
from stages.run_state import SOFTWARE_FILE, clear_foreign, is_finished


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
    cache = ActivationCache.open(cache_path(TRAINING_SPLIT))
    trainings = {
        name: Training(variant.sae, variant.train, runs[name] / CHECKPOINT_FILE)
        for name, variant in variants.items()
    }
    refuse_unfit(trainings, cache)
    with ExitStack() as stack:
        for run in runs.values():
            create_folder(run)
            stack.enter_context(writing_run(run))
        left = {
            name: training
            for name, training in trainings.items()
            if not _is_done(runs[name], training.identity(cache), replace=replace)
        }
        if left:
            _train(left, runs, cache)


def _is_done(run: Path, identity: Mapping[str, Any], *, replace: bool) -> bool:
    """Whether nothing has to be trained, which is said then."""
    if replace:
        clear_foreign(run, identity)
        return False
    finished = is_finished(run, identity)
    if finished:
        note(f"{run}: is finished, with these very options; `--replace` trains it anew")
    return finished


def _train(trainings: Mapping[str, Training], runs: Mapping[str, Path], cache: ActivationCache) -> None:
    totals = {
        runs[name]: training.train.epochs * (cache.pairs // training.train.batch_pairs)
        for name, training in trainings.items()
    }
    with _interruption_says_what_is_kept(totals):
        with ExitStack() as stack:
            recorded = {
                name: training._replace(record=stack.enter_context(_curves(runs[name])))
                for name, training in trainings.items()
            }
            advance = stack.enter_context(progress_bar(f"train {' '.join(trainings)}", "steps"))
            found = fit(cache, recorded, advance)
        note(
            f"trained in {found.seconds:.1f} s, {found.waited / found.seconds:.1%} of it waiting for batches "
            f"({found.placement})"
        )
        for name, sae in found.saes.items():
            _save(sae, runs[name], trainings[name].origin(cache))


def _save(sae: SparseAutoencoder, run: Path, origin: Mapping[str, Any]) -> None:
    save_sae(sae, run, origin, curve_digests(run))
    write_sealed(run / SOFTWARE_FILE, software())
    (run / CHECKPOINT_FILE).unlink(missing_ok=True)  # untrained dictionaries have none


@contextmanager
def _curves(run: Path) -> Iterator[Callable[[LossRecord], None]]:
    """Writes every record of losses to the curves that DVC plots; they begin anew, a resumed run tells all of it again.

    What an earlier training left there stays until the first record.

    Raises:
        RunError: they cannot be written.
    """
    folder = run / CURVES_FOLDER
    create_folder(folder)
    try:
        with ExitStack() as opened:
            lives: list[Any] = []

            def record(entry: LossRecord) -> None:
                if not lives:
                    lives.append(opened.enter_context(Live(str(folder), save_dvc_exp=False, dvcyaml=None)))
                live = lives[0]
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
