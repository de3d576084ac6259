"""`concord stability`: what it compares, what it writes, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.results.run import read_run
from pipeline.runs.config import training_identity
from pipeline.runs.model_file import model_seal
from pipeline.runs.seal import check_seal
from pipeline.runs.stability import read_stability
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.saving import save_sae
from stages import cli


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivationCache:
    monkeypatch.chdir(tmp_path)
    return write_cache(
        tmp_path / "data/cache/val.zarr", synthetic_activations(images=12, shard_images=12, channels=8)
    )


def save(cache: ActivationCache, name: str, start: int, train: dict[str, int], latents: int = 16) -> str:
    options = LucidOptions(latents=latents, k_shared=2, k_private=2)
    save_sae(initial_sae(options, cache, seed=start), Path(name), training_identity(train, cache))
    return name


def stability(*arguments: str) -> str:
    """What the command said; it must not end in a traceback."""
    result = CliRunner().invoke(cli.app, ["stability", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return " ".join(result.output.split())


def test_the_first_run_gets_what_was_found_and_of_which_models(cache: ActivationCache) -> None:
    runs = [save(cache, f"seed-{seed}", start, {"seed": seed}) for seed, start in enumerate((0, 0, 5))]
    stability(*runs)
    path = Path("seed-0/stability.json")
    check_seal(path, "")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert [run["model_blake3"] for run in written["runs"]] == [model_seal(Path(run)) for run in runs]
    assert 1 / 3 <= written["stability"]["vision"]["decoder"]["found"] < 0.8  # two of the three start alike
    found = read_stability(Path("seed-0"))
    assert found is not None and found.others == 2 and len(found.found) == 4
    assert {share for share in found.found if share is not None} <= {0.5, 1.0}
    assert (
        read_run(Path("seed-0")).metrics["stability.both.decoder.found"]
        == found.figures["both"]["decoder"]["found"]
    )
    stability(*runs, "--output", "elsewhere.json")
    assert Path("elsewhere.json").read_bytes() == path.read_bytes()
    save(cache, "seed-0", 9, {"seed": 0})
    assert read_stability(Path("seed-0")) is None  # it is of another dictionary now


@pytest.mark.parametrize(
    ("other", "latents", "said"),
    [
        ({"seed": 0}, 16, "was trained from the seed 0, as seed-0 was"),
        ({"seed": 1}, 24, "is of another recipe than seed-0: it has sae.latents: 24 and not 16"),
        ({"seed": 1, "epochs": 9}, 16, "train.epochs: 9 and not (absent)"),
        ({}, 16, "does not say which seed it was trained from"),
    ],
)
def test_runs_that_are_no_repetitions_of_one_recipe_are_refused(
    cache: ActivationCache, other: dict[str, int], latents: int, said: str
) -> None:
    runs = save(cache, "seed-0", 0, {"seed": 0}), save(cache, "other", 1, other, latents)
    assert said in stability(*runs)
    assert not Path("seed-0/stability.json").exists()


def test_one_run_has_nothing_to_be_compared_with(cache: ActivationCache) -> None:
    assert "is one run; name another of the same variant" in stability(save(cache, "seed-0", 0, {"seed": 0}))
