"""Pictures are preprocessed as somebody states, or not at all."""

import json

import open_clip
import pytest

from pipeline.backbone.configuration import read_configuration
from pipeline.backbone.preprocessing import stated_preprocessing
from pipeline.errors import BackboneError

from .conftest import edit

CONFIG = "open_clip_config.json"
DECIDING = ("mean", "std", "interpolation", "resize_mode")


def stated(name: str, *, trained: bool = True) -> dict:
    return stated_preprocessing(read_configuration(name, "backbone.model"), None, trained=trained)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-B-16-SigLIP2-256", "ViT-B-32", "ViT-bigG-14-CLIPA"])
@pytest.mark.parametrize("trained", [True, False])
def test_a_built_in_model_without_a_tag_is_preprocessed_as_with_any_of_its_tags(name, trained):
    """Weights from a file, or at random: open_clip itself would take CLIP's, whatever the model."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    assert tags
    for tag in tags:
        entry = open_clip.get_pretrained_cfg(name, tag)
        assert stated(name, trained=trained) == {
            key: entry[key] for key in ("mean", "std", "interpolation", "resize_mode")
        }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ViT-L-14", r"mean is not stated, and open_clip's tags disagree: .*0\.48.* or .*0\.5, 0\.5\)"),
        ("ViT-H-14", "resize_mode is not stated, and open_clip's tags disagree: shortest or squash"),
        ("ViT-S-32-alt", "mean is not stated, and open_clip has no tag for it"),
    ],
)
def test_where_tags_disagree_or_there_are_none_the_model_is_refused(name, reason):
    with pytest.raises(BackboneError, match=f"{name}: preprocess_cfg.{reason}; state preprocess_cfg"):
        stated(name)


def test_a_folder_that_states_none_of_its_own_is_refused(copied, load):
    content = json.loads((copied / CONFIG).read_text())
    del content["preprocess_cfg"]
    (copied / CONFIG).write_text(json.dumps(content))
    for weights in (None, "random"):
        with pytest.raises(BackboneError, match=r"open_clip_config.json: preprocess_cfg.mean is not stated"):
            load(copied, weights=weights)


def test_a_folder_of_a_known_architecture_is_preprocessed_as_open_clips_tags_for_it_say(tmp_path):
    """As laion's repositories have it: mean and std, and nothing else."""
    model = open_clip.get_model_config("ViT-B-16-SigLIP")
    colours = {"mean": [0.4] * 3, "std": [0.3] * 3}
    (tmp_path / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": colours}))
    assert stated(f"local-dir:{tmp_path}") == {**colours, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("mean", [], "three numbers"),  # which open_clip takes for CLIP's
        ("mean", [0.5, 0.5, "0.5"], "three numbers"),
        ("std", [0.5, 0.5, 0], "positive"),
        ("interpolation", "nearest", "bicubic or bilinear or random"),
        ("resize_mode", "crop", "shortest or longest or squash"),
        ("resize", "squash", "unknown to open_clip"),
        ("fill_color", "red", "a whole number"),
        ("mode", "L", "RGB"),
    ],
)
def test_what_makes_no_sense_is_refused_naming_file_key_and_value(copied, load, key, value, rule):
    edit(copied / CONFIG, f"preprocess_cfg.{key}", value)
    with pytest.raises(BackboneError, match=rf"{CONFIG}: preprocess_cfg.{key} is .*{rule}"):
        load(copied)


def test_a_size_that_is_not_the_towers_is_refused(copied, load, tiny):
    edit(copied / CONFIG, "preprocess_cfg.size", 112)
    assert load(copied).identity == tiny.identity
    edit(copied / CONFIG, "preprocess_cfg.size", [224, 224])
    with pytest.raises(BackboneError, match=r"preprocess_cfg.size is \[224, 224\].* 112 x 112 pixels"):
        load(copied)
