"""Two backbones that compute different activations have different identities, whatever it is that differs."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cache import CacheIdentityError
from cache.format.manifest import refuse_other_identity
from pipeline.errors import BackboneError

from .conftest import TINY, activations, edit, same

WEIGHTS = "open_clip_model.safetensors"
CONFIG, TOKENIZER = "open_clip_config.json", "tokenizer.json"
SETTINGS, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"

VISION, TEXT = "model_cfg.vision_cfg", "model_cfg.text_cfg"
CHANGES = {
    "activation function": (CONFIG, "model_cfg.quick_gelu", True),
    "heads of the vision tower": (CONFIG, f"{VISION}.head_width", 32),
    "pooling of the vision tower": (CONFIG, f"{VISION}.pool_type", "avg"),
    "epsilon of the vision tower's norms": (CONFIG, f"{VISION}.norm_kwargs", {"eps": 1e-3}),
    "heads of the text tower": (CONFIG, f"{TEXT}.heads", 2),
    "slope of the text tower": (CONFIG, f"{TEXT}.act_kwargs", {"approximate": "tanh"}),
    "no causal mask": (CONFIG, f"{TEXT}.no_causal_mask", True),
    "end token": (CONFIG, f"{TEXT}.eos_id", 3),
    "pooling of the text tower": (CONFIG, f"{TEXT}.pool_type", "last"),
    "cleaning of captions": (CONFIG, f"{TEXT}.tokenizer_kwargs", {"clean": "canonicalize"}),
    "marks become padding": (CONFIG, f"{TEXT}.tokenizer_kwargs", {"strip_sep_token": True, "sep_token": "."}),
    "mean": (CONFIG, "preprocess_cfg.mean", [0.5, 0.5, 0.4]),
    "standard deviation": (CONFIG, "preprocess_cfg.std", [0.5, 0.5, 0.4]),
    "interpolation": (CONFIG, "preprocess_cfg.interpolation", "bilinear"),
    "resizing": (CONFIG, "preprocess_cfg.resize_mode", "shortest"),
    "normaliser": (TOKENIZER, "normalizer", {"type": "Replace", "pattern": {"String": "o"}, "content": "a"}),
    "pre-tokenizer": (TOKENIZER, "pre_tokenizer", {"type": "WhitespaceSplit"}),
    "post-processor": (TOKENIZER, "post_processor", None),
    "id of a word": (TOKENIZER, "model.vocab.boat", 17),
    "unknown word": (TOKENIZER, "model.unk_token", "a"),
    "padding side": (SETTINGS, "padding_side", "left"),
    "truncation side": (SETTINGS, "truncation_side", "left"),
    "special tokens spelled out": (SETTINGS, "split_special_tokens", True),
    "padding token": (SPECIAL, "pad_token", "a"),
}
"""File, key and value of changes to the tiny SigLIP that change what is computed of a pair."""


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_an_activation_changes_the_identity(change, copied, load, tiny):
    file, key, value = CHANGES[change]
    edit(copied / file, key, value)
    changed = load(copied)
    assert not same(activations(changed), activations(tiny))  # or this would test nothing
    assert changed.identity != tiny.identity


def test_the_identity_is_that_of_the_model_wherever_it_lies(copied, load, tiny, monkeypatch):
    assert load(copied).identity == tiny.identity
    monkeypatch.chdir(copied.parent)
    assert load(Path("model")).identity == tiny.identity
    assert json.loads(json.dumps(tiny.identity)) == tiny.identity
    assert str(TINY) not in json.dumps(tiny.identity)


def test_what_decides_no_activation_is_not_part_of_the_identity(copied, load, tiny):
    edit(copied / CONFIG, "model_cfg.init_logit_scale", 1.0)
    edit(copied / CONFIG, "model_cfg.text_cfg.hf_tokenizer_name", "another-name")
    edit(copied / CONFIG, "model_cfg.vision_cfg.mlp_ratio", 4.0)  # the default, said aloud
    edit(copied / SETTINGS, "model_max_length", 77)  # open_clip says how long captions are
    (copied / "README.md").write_text("words")
    assert load(copied).identity == tiny.identity


def test_a_layer_is_the_block_that_it_means_in_each_tower(load, tiny):
    assert tiny.identity["layer"] == {"vision": 3, "text": 2}
    assert load(TINY, layer=-1).identity == tiny.identity
    assert load(TINY, layer=1).identity["layer"] == {"vision": 1, "text": 1}
    assert load(TINY, layer=-2).identity["layer"] == {"vision": 2, "text": 1}


def test_weights_are_identified_tensor_by_tensor(copied, load, tiny):
    weights = load_file(copied / WEIGHTS)
    weights["visual.proj"][0, 0] += 1e-3
    save_file(weights, copied / WEIGHTS)
    assert load(copied).identity["weights_sha256"] != tiny.identity["weights_sha256"]
    (copied / WEIGHTS).unlink()
    torch.save(load_file(TINY / WEIGHTS), copied / "open_clip_pytorch_model.bin")
    assert load(copied).identity == tiny.identity


def test_random_weights_are_identified_by_what_was_drawn(load):
    one, again, other = (load(TINY, weights="random", seed=seed).identity for seed in (1, 1, 2))
    assert one == again
    assert one["weights_sha256"] != other["weights_sha256"]
    assert one["model"] == f"{load(TINY).identity['model']}, random weights", "people are told"


def test_a_refusal_names_the_key_that_differs_and_both_values(copied, load, tiny):
    edit(copied / CONFIG, "model_cfg.vision_cfg.head_width", 32)
    with pytest.raises(CacheIdentityError) as refusal:
        refuse_other_identity(load(copied).identity, tiny.identity, "val.zarr", "encode again")
    assert str(refusal.value).splitlines()[1:] == [
        "  architecture.vision_cfg.head_width: the cache has 32, expected 64"
    ]


def test_a_process_that_shortens_float32_encodes_nothing(load, monkeypatch):
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    with pytest.raises(BackboneError, match="unset it, or choose bf16"):
        load(TINY)
    monkeypatch.delenv("ONEDNN_DEFAULT_FPMATH_MODE")
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(BackboneError, match=r"precision: is fp32, but torch .* 'medium'"):
            load(TINY)
        assert load(TINY, precision="bf16").identity["precision"] == "bf16"
    finally:
        torch.set_float32_matmul_precision("highest")
