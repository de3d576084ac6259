"""Match the latents of trained runs."""

from pathlib import Path

from cache import ActivationCache
from pipeline.matching.matched_run import match_runs
from pipeline.runs.seal import write_sealed
from pipeline.runs.software import software
from pipeline.sae.options import MatchedBy
from stages.progress import note, progress_bar
from stages.run_state import SOFTWARE_FILE


def match_trained(run: Path, text_run: Path | None, cache: str, output: Path, by: MatchedBy) -> None:
    """Write the run `output`: the sides of `run`, or the text side of `text_run` beside its vision side, matched.

    Says how many latents fire on both sides and how sure their matches are.

    Raises:
        ConfigError, RunError, CacheError: as `match_runs`.
    """
    pairs = ActivationCache.open(cache)
    with progress_bar(f"match {output.name}", "pairs") as advance:
        sae = match_runs({"vision": run, "text": text_run or run}, pairs, output, advance, by)
    write_sealed(output / SOFTWARE_FILE, software())
    matched = sae.confidence[: sae.shared_width]
    living = matched[matched != 0]
    note(
        f"{output}: {len(living)} of {len(matched)} latents fire on both sides, with a median correlation of "
        f"{living.median():.2f}"
    )
