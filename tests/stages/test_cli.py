"""A user's mistake ends in one clear line and status 1, before any work starts and without a traceback."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The shipped options, in an empty working directory; a test changes them and calls `fail`."""
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return values


def fail(
    values: dict[str, Any], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["concord", *command.split()])
    with pytest.raises(SystemExit) as stopped:
        cli.app()
    message = capsys.readouterr().err
    assert stopped.value.code == 1, message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("train", "learning_rat", 0.1, "train.learning_rat: no such option"),
        ("train", "epochs", -1, "train.epochs"),
        ("sae", "k_shared", 100_000, "k_shared = 100000 is more than"),
        ("sae", "shared_ratio", 1.5, "sae.shared_ratio"),
        ("encode", "storage_dtype", "float8", "encode.storage_dtype"),
        ("encode", "codec", "gzip", "encode.codec"),
        ("scenes", "image_size", -1, "scenes.image_size"),
    ],
)
def test_a_bad_option_is_refused_by_key_and_value(
    values: dict[str, Any],
    section: str,
    key: str,
    value: Any,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values[section][key] = value
    message = fail(values, "train lucid", monkeypatch, capsys)
    assert told in message
    assert str(value) in message or "no such option" in message


def test_a_bad_option_of_one_variant_is_named_with_the_variant(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values["variants"]["separate"] = {"sae": {"alignmnt": "none"}}
    assert "variants.separate.sae.alignmnt" in fail(values, "train lucid", monkeypatch, capsys)


def test_an_unknown_variant_is_refused_with_the_known_ones(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fail(values, "train lucd", monkeypatch, capsys)
    assert "variants.lucd: no such variant" in message
    assert "shared_only" in message


def test_training_without_a_cache_says_which_one_is_missing(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "data/cache/train.zarr" in fail(values, "train lucid", monkeypatch, capsys)


def test_evaluating_an_untrained_variant_names_its_folder(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "runs/lucid" in fail(values, "evaluate lucid", monkeypatch, capsys)


def test_encoding_a_data_set_that_is_not_there_names_its_folder(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values["dataset"]["root"] = "nowhere"
    assert "nowhere" in fail(values, "encode train", monkeypatch, capsys)


def test_an_unknown_split_is_refused_with_the_known_ones(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fail(values, "encode trian", monkeypatch, capsys)
    assert "trian" in message
    assert "ood" in message


def test_unknown_weights_are_refused_until_random_ones_are_asked_for(
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    annotations = tmp_path / "world/annotations"
    annotations.mkdir(parents=True)
    (tmp_path / "world/train").mkdir()
    (tmp_path / "world/train/1.jpg").write_bytes(b"not opened before the weights are checked")
    (annotations / "captions_train.json").write_text(
        '{"images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}],'
        ' "annotations": [{"id": 1, "image_id": 1, "caption": "a boat"}]}'
    )
    values["dataset"]["root"] = "world"
    values["backbone"] = {"model": "ViT-B-16-SigLIP"}
    message = fail(values, "encode train", monkeypatch, capsys)
    assert "weights" in message
    assert "random" in message


def test_a_missing_options_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["concord", "scenes", "--params", "absent.yaml"])
    with pytest.raises(SystemExit) as stopped:
        cli.app()
    assert stopped.value.code == 1
    assert "absent.yaml: no such file" in capsys.readouterr().err
