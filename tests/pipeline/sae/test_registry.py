import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.errors import ConfigError, RunError
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.registry import build_sae
from pipeline.sae.saving import load_sae, save_sae

OPTIONS = LucidOptions(latents=24, k_shared=3, k_private=2, gamma=0.25, guidance={"global_context": False})


def some_sae() -> LucidSAE:
    sae = LucidSAE(OPTIONS, 6, 5, seed=2)
    sae.dictionary("text").scale.fill_(3.0)
    sae.activity["vision"].pairs_since_fired[4] = 7
    return sae


def test_a_saved_sae_loads_as_it_was_and_ready_for_evaluation(tmp_path: Path) -> None:
    sae = some_sae()
    save_sae(sae, tmp_path / "runs" / "lucid")
    loaded = load_sae(tmp_path / "runs" / "lucid")
    assert isinstance(loaded, LucidSAE) and not loaded.training
    assert loaded.options == OPTIONS
    assert (loaded.vision_channels, loaded.text_channels) == (6, 5)
    state, expected = loaded.state_dict(), sae.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_saving_twice_gives_identical_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_sae(some_sae(), tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_sae(some_sae(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert set(first) == {"model.safetensors", "config.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_sae(some_sae(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"{name}: no such file; train the variant again"):
        load_sae(tmp_path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    save_sae(some_sae(), tmp_path)
    os.truncate(tmp_path / "model.safetensors", 100)
    with pytest.raises(RunError, match=r"model\.safetensors: not a whole safetensors file"):
        load_sae(tmp_path)


def test_anyone_can_read_the_files_of_a_saved_sae_without_this_code(tmp_path: Path) -> None:
    sae = some_sae()
    save_sae(sae, tmp_path, {"train": {"seed": 3}})
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == sae.state_dict().keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in sae.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["training"] == {"train": {"seed": 3}}


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "3", "null", '{"options": {}}', '{"version": NaN}', "[" * 100_000, "\x00", ""],
)
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    save_sae(some_sae(), tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json: .*train the variant again") as refused:
        load_sae(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 3}, "version 3, and this software reads version 2"),
        ({"version": 1}, "version 1, and this software"),
        ({"version": None}, "version None, and this software"),
        ({"options": []}, "config.json: "),
        ({"options": {"architecture": "vae"}}, "no such SAE as 'vae'"),
        ({"options": {"architecture": "lucid", "tied": True}}, "tied: no such option"),
        (
            {"options": {"latents": 10**12}},
            r"activity.text.pairs_since_fired is I64 \[24\], .* \[1000000000000\]",
        ),
        ({"options": {"latents": 10**30}}, "config.json: "),
        ({"vision_channels": 10**18}, "describes no SAE that can be built|tensor .* asks for"),
        ({"vision_channels": 0}, "vision_channels is 0"),
        ({"text_channels": True}, "text_channels is True"),
        ({"text_channels": "5"}, "text_channels is '5'"),
        ({"options": {"k_shared": 4}}, "are of different runs"),
        ({"training": {"train": {"seed": 1}}}, "are of different runs"),
    ],
)
def test_a_configuration_that_says_something_else_is_refused_before_memory_is_taken(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    save_sae(some_sae(), tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) and config[key] else value
    path.write_text(json.dumps(config))
    with pytest.raises(RunError, match=told) as refused:
        load_sae(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


ENCODER = "dictionaries.text.encoder"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda state: state.pop(ENCODER),
            rf"tensor {ENCODER} is missing; config.json asks for F32 \[24, 5\]",
        ),
        (
            lambda state: state.update(more=torch.ones(2)),
            "has a tensor 'more' that config.json does not know",
        ),
        (
            lambda state: state.update({ENCODER: torch.zeros(24, 6)}),
            rf"tensor {ENCODER} is F32 \[24, 6\], and config.json asks for F32 \[24, 5\]",
        ),
        (
            lambda state: state.update({ENCODER: state[ENCODER].T.contiguous()}),
            rf"tensor {ENCODER} is F32 \[5, 24\], and config.json asks for F32 \[24, 5\]",
        ),
        (
            lambda state: state.update({ENCODER: state[ENCODER].half()}),
            rf"tensor {ENCODER} is F16 \[24, 5\], and config.json asks for F32 \[24, 5\]",
        ),
        (lambda state: state[ENCODER].fill_(torch.nan), rf"tensor {ENCODER} has values that are not finite"),
        (lambda state: state[ENCODER].fill_(-torch.inf), rf"tensor {ENCODER} has values that are not finite"),
        (lambda state: state[ENCODER].add_(1e-7), "changed since it was written"),
        (lambda state: state.clear(), "is missing; config.json asks for"),
    ],
)
@pytest.mark.parametrize("metadata", [True, False])
def test_a_model_of_other_tensors_is_refused_by_name_and_both_shapes(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], told: str, metadata: bool
) -> None:
    save_sae(some_sae(), tmp_path)
    path = tmp_path / "model.safetensors"
    with safe_open(path, "pt") as stored:
        texts = stored.metadata()
    state = load_file(path)
    change(state)
    save_file(state, path, texts if metadata else None)
    if not metadata and ("finite" in told or "changed" in told):
        told = "are of different runs"
    with pytest.raises(RunError, match=told) as refused:
        load_sae(tmp_path)
    assert str(tmp_path) in str(refused.value) and "train the variant again" in str(refused.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_every_flipped_bit_of_a_saved_sae_is_noticed(tmp_path: Path, name: str) -> None:
    save_sae(some_sae(), tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    for place in random.Random(0).sample(range(len(content) * 8), 100):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(RunError, match=str(tmp_path)):
            load_sae(tmp_path)


def test_plain_values_build_the_architecture_they_name() -> None:
    sae = build_sae({"architecture": "lucid", "latents": 24, "k_shared": 3, "k_private": 2}, 6, 5, seed=2)
    assert torch.equal(sae.state_dict()["dictionaries.text.decoder"], some_sae().dictionary("text").decoder)


@pytest.mark.parametrize("values", [{"architecture": "vae"}, {}])
def test_an_unknown_architecture_is_refused_with_those_there_are(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"no such SAE as .*; there are lucid"):
        build_sae(values, 6, 5)
