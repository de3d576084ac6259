"""Captions are cut by the tokenizer that the text tower was made for, and no folder's code runs."""

import contextlib
import json
from pathlib import Path

import pytest

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import BackboneError
from pipeline.world.pretraining.tokenizer import write_tokenizer

from .conftest import TINY, edit

CONFIG, SETTINGS = "open_clip_config.json", "tokenizer_config.json"

CODE = """
from pathlib import Path
from transformers import PretrainedConfig, PreTrainedTokenizerFast
Path({traces!r}).write_text("run")
class Mine(PreTrainedTokenizerFast): pass
class Config(PretrainedConfig): model_type = "mine"
"""


@pytest.mark.parametrize(
    "files",
    [
        {SETTINGS: {"auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}}},
        {SETTINGS: {"auto_map": {"AutoTokenizer": [None, "mine.Mine"]}, "tokenizer_class": "Mine"}},
        {
            SETTINGS: {},
            "config.json": {
                "auto_map": {"AutoConfig": "mine.Config", "AutoTokenizer": "mine.Mine"},
                "model_type": "mine",
            },
        },
    ],
    ids=["tokenizer", "its class", "configuration"],
)
@pytest.mark.parametrize("asked", [None, True])
def test_a_folders_code_is_never_run_nor_asked_for(copied, load, tmp_path, monkeypatch, files, asked):
    traces = tmp_path / "traces"
    (copied / "mine.py").write_text(CODE.format(traces=str(traces)))
    for name, content in files.items():
        (copied / name).write_text(json.dumps(content))
    if asked:
        edit(copied / CONFIG, "model_cfg.text_cfg.tokenizer_kwargs", {"trust_remote_code": True})
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run code"))
    with contextlib.suppress(BackboneError):  # or the library passes over it, and takes tokenizer.json alone
        load(copied)
    assert not traces.exists()


@pytest.mark.parametrize(
    ("file", "key", "value", "reason"),
    [
        (SETTINGS, "pad_token", None, "padding token"),
        (CONFIG, "model_cfg.text_cfg.tokenizer_kwargs", {"clean": "scrub"}, "Invalid clean function"),
        (
            CONFIG,
            "model_cfg.text_cfg.tokenizer_kwargs",
            {"reduction_mask": "random"},
            "cuts long captions at random",
        ),
        (CONFIG, "model_cfg.text_cfg.tokenizer_mode", "clips", "cannot be used"),
        ("tokenizer.json", "model", {"type": "Unheard"}, "cannot be used"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_in_one_line(copied, load, file, key, value, reason):
    (copied / "special_tokens_map.json").unlink()
    edit(copied / file, key, value)
    with pytest.raises(BackboneError, match=reason) as refusal:
        load(copied)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["tokenizer.json", SETTINGS])
def test_a_folder_without_a_part_of_its_tokenizer_is_refused(copied, load, missing):
    """Of some kinds the library would make an empty tokenizer, to which all words are one."""
    (copied / missing).unlink()
    with pytest.raises(BackboneError, match=f"holds no {missing}"):
        load(copied)


def folder_of(folder: Path, words: list[str], stated: str) -> str:
    """A model's folder with a word-level tokenizer that is stated to be `stated`."""
    folder.mkdir()
    vocabulary = write_tokenizer(folder, words, 32)
    model = json.loads((TINY / CONFIG).read_text())["model_cfg"]
    model["text_cfg"] |= {"vocab_size": vocabulary, "hf_tokenizer_name": stated}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model}))
    return f"local-dir:{folder}"


def test_another_models_tokenizer_is_refused_unless_it_is_stated_to_be_the_same(copied, load, tiny, tmp_path):
    same = load(copied, tokenizer=f"local-dir:{TINY}")
    assert same.identity == tiny.identity
    words = [f"word{number}" for number in range(132)]
    others = {
        folder_of(tmp_path / "fewer", words[:50], "tiny-siglip"): "has 52 tokens",
        folder_of(tmp_path / "other", words, "another"): "134 tokens and states another",
        "ViT-B-32": "49408 tokens, but the text tower",
    }
    for name, reason in others.items():
        with pytest.raises(BackboneError, match=f"backbone.tokenizer: .*{reason}"):
            load(copied, tokenizer=name)
        if name != "ViT-B-32":
            assert load(copied, tokenizer=name, weights="random")  # which were trained with no tokenizer


def test_the_tiny_siglips_tokenizer_is_refused_for_a_real_one(tmp_path):
    """As an earlier message advised, where the hub cannot be reached."""
    (tmp_path / "weights.bin").write_bytes(b"x")
    options = BackboneOptions(
        model="ViT-B-16-SigLIP", weights=str(tmp_path / "weights.bin"), tokenizer=f"local-dir:{TINY}"
    )
    with pytest.raises(BackboneError, match=r"134 tokens and states tiny-siglip.* knows 32000 and"):
        load_backbone(options)


def test_a_tokenizer_that_fails_at_unknown_words_is_refused_on_loading(copied, load):
    edit(copied / "tokenizer.json", "model.unk_token", "<no such token>")
    with pytest.raises(BackboneError, match=r"the tokenizer of .* cannot be used") as error:
        load(copied)
    assert "\n" not in str(error.value)
