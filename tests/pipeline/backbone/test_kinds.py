"""Every kind of model and of configuration runs right, or is refused in one line that names the key."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import BackboneError
from pipeline.world.pretraining.tokenizer import write_tokenizer

from .conftest import TINY, activations, edit

CONFIG = "open_clip_config.json"
VISION, TEXT = "model_cfg.vision_cfg", "model_cfg.text_cfg"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("coca_ViT-B-32", "a CoCa model"),
        ("coca_roberta-ViT-B-32", "a CoCa model"),
        ("xlm-roberta-base-ViT-B-32", "a Hugging Face model"),
        ("nllb-clip-base-siglip", "a Hugging Face model"),
        ("RN50", "a ResNet"),
    ],
)
def test_a_built_in_model_of_another_kind_is_refused_before_anything_is_fetched(name, kind):
    with pytest.raises(
        BackboneError, match=f"backbone.model: {name} cannot be used: .*{kind}.*; choose"
    ) as refusal:
        load_backbone(BackboneOptions(model=name, weights="random"))
    assert "\n" not in str(refusal.value)


def small(folder: Path, **vision: Any) -> Path:
    """A folder with a small text tower, and the vision tower that is asked for."""
    vocabulary = write_tokenizer(folder, ["a", "boat"], 8)
    text = {"context_length": 8, "vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 2}
    text |= {"hf_tokenizer_name": "small"}
    model = {"embed_dim": 12, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    (folder / CONFIG).write_text(
        json.dumps({"model_cfg": model, "preprocess_cfg": {"resize_mode": "squash"}})
    )
    return folder


@pytest.mark.parametrize("trunk", ["test_vit", "test_vit2"])
def test_a_timm_tower_of_tokens_runs(tmp_path, load, trunk):
    backbone = load(small(tmp_path, timm_model_name=trunk, timm_pool="", image_size=160), weights="random")
    assert activations(backbone)[0].shape == (1, 100, 64)


@pytest.mark.parametrize(
    ("trunk", "reason"),
    [
        ("resnet10t", "no fixed grid of patches"),
        ("pit_ti_224", "no fixed grid of patches"),
        ("levit_128s", "no fixed grid of patches"),
        (
            "test_vit",
            "its patches are 10 x 10, .*correct model_cfg.vision_cfg.image_size",
        ),  # made for 160 pixels
        ("vit_nobody", "timm_model_name: timm .* has no model 'vit_nobody'"),
        ("hf-hub:somebody/vit", "has no model 'hf-hub:somebody/vit'"),
    ],
)
def test_another_timm_tower_is_refused_in_one_line(tmp_path, load, trunk, reason):
    folder = small(tmp_path, timm_model_name=trunk, timm_pool="", image_size=224)
    with pytest.raises(BackboneError, match=f"backbone.model: {folder / CONFIG}: .*{reason}") as refusal:
        load(folder, weights="random")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("model_cfg", None, "model_cfg is missing"),
        ("model_cfg", [], "model_cfg is list, not an object"),
        (TEXT, None, "model_cfg.text_cfg is missing"),
        (VISION, "ViT", "model_cfg.vision_cfg is str, not an object"),
        ("model_cfg.embed_dim", None, "model_cfg.embed_dim is missing"),
        (
            f"{VISION}.register_tokens",
            4,
            "model_cfg.vision_cfg.register_tokens: open_clip .* does not know this key",
        ),
        (f"{TEXT}.no_casual_mask", True, "model_cfg.text_cfg.no_casual_mask: .*did you mean no_causal_mask"),
        ("model_cfg.audio_cfg", {}, "model_cfg.audio_cfg: open_clip .* does not know this key"),
        (
            f"{VISION}.width",
            "wide",
            "vision_cfg.width is 'wide': Input should be a valid integer; correct it",
        ),
        (f"{VISION}.layers", True, "vision_cfg.layers is True: "),
        (f"{VISION}.image_size", 112.0, "vision_cfg.image_size is 112.0: "),
        (f"{VISION}.norm_kwargs", [1], "vision_cfg.norm_kwargs is .1.: "),
        (f"{TEXT}.vocab_size", "134", "text_cfg.vocab_size is '134': "),
        (f"{TEXT}.no_causal_mask", "false", "text_cfg.no_causal_mask is 'false': "),
        ("model_cfg.embed_dim", "128", "model_cfg.embed_dim is '128': "),
        ("model_cfg.quick_gelu", "no", "model_cfg.quick_gelu is 'no': "),
        (
            f"{VISION}.norm_kwargs",
            {"eps": float("inf")},
            "is no JSON file: ValueError: Infinity is no number",
        ),
        (f"{TEXT}.context_length", 0, "cannot be"),
        (f"{TEXT}.heads", 5, "cannot be built: AssertionError"),
        (f"{TEXT}.hf_model_name", "roberta-base", "a Hugging Face model"),
        (f"{VISION}.attentional_pool", True, "attends to all patches"),
        ("model_cfg.multimodal_cfg", {}, "a CoCa model"),
    ],
)
def test_a_configuration_that_open_clip_does_not_know_is_refused_naming_file_and_key(
    copied, load, key, value, reason
):
    edit(copied / CONFIG, key, value)
    with pytest.raises(BackboneError, match=reason) as refusal:
        load(copied)
    assert str(copied) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"<html>"])
def test_a_configuration_that_is_no_json_is_refused_naming_the_file(copied, load, content):
    (copied / CONFIG).write_bytes(content)
    with pytest.raises(BackboneError, match=f"{copied / CONFIG}: is no JSON file"):
        load(copied)


def test_a_device_that_is_not_here_is_refused(load):
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(BackboneError, match=f"backbone.device: '{device}' cannot be used"):
            load(TINY, device=device)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["the tiny SigLIP", "CLIP's layout", "timm"])
def test_a_shorter_number_format_computes_nearly_the_same(tmp_path, load, precision, name):
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 32, "layers": 2}
    if name == "timm":
        folder, options = (
            small(tmp_path, timm_model_name="test_vit", timm_pool="", image_size=160),
            {},
        )
        options["weights"] = "random"
    elif name == "CLIP's layout":
        folder, options = small(tmp_path, **vision), {"weights": "random"}
        edit(folder / CONFIG, "model_cfg.custom_text", False)
    else:
        folder, options = TINY, {}
    exact, short = load(folder, **options), load(folder, precision=precision, **options)
    assert short.identity["precision"] == precision
    assert short.identity != exact.identity
    for one, other in zip(activations(exact), activations(short), strict=True):
        assert other.dtype == one.dtype
        if one.is_floating_point():
            error = (one - other).norm() / one.norm()
            assert error < {"bf16": 4e-2, "fp16": 4e-3}[precision]
    patches = torch.randn(1, exact.patches, exact.vision_channels, generator=torch.Generator().manual_seed(0))
    one, other = exact.patch_embeddings(patches), short.patch_embeddings(patches)
    assert (one - other).norm() / one.norm() < 4e-2
