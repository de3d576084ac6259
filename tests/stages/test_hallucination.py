"""The stage on a world of 12 pictures and a LLaVA of random weights: every file and every refusal is real."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

from pipeline.datasets.scenes.lexicon import VOCABULARY
from pipeline.datasets.scenes.write import ScenesOptions, write_scenes
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.questions import Question, write_questions
from stages.cli import app
from stages.hallucination import measure_hallucination

SPECIAL = ["<pad>", "</s>", "<unk>", "<image>"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    words = dict.fromkeys([*SPECIAL, *VOCABULARY, "yes", "no", "there", "image", "?"])
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    size = {"height": 8, "width": 8}
    processor = LlavaProcessor(
        CLIPImageProcessor(size=size, crop_size=size),
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
            extra_special_tokens={"image_token": "<image>"},
        ),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    small = {"intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=8, image_size=8, patch_size=4, **small),
        text_config=LlamaConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_key_value_heads=2,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            **small,
        ),
        image_token_index=3,
        image_seq_length=4,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root, ScenesOptions(image_size=32, train=8, val=8, ood=1))
    return root


def options(model_folder: Path) -> HallucinationOptions:
    return HallucinationOptions.model_validate(
        {
            "states": {"model": str(model_folder), "layer": 1, "prompt": {"template": "<image> {text}"}},
            "pairs": 8,
            "autoencoder": {"batch_pairs": 4, "epochs": 2},
            "sae": {"latents": 16, "k": 4},
            "train": {"epochs": 2, "batch_pairs": 4},
            "polling": {"images": 2, "objects": 1},
            "seeds": 2,
        }
    )


def test_every_poll_is_scored_under_every_strategy_twice_alike(
    model_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    for run in ("a", "b"):
        measure_hallucination(options(model_folder), scenes, tmp_path / run)
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert list(metrics) == [
        f"{kind}/{seed}" for kind in ("random", "popular", "adversarial") for seed in (0, 1)
    ]
    assert metrics["random/0"]["greedy"] == metrics["random/0"]["greedy_mask"]
    assert set(metrics["popular/1"]["sampled_edit"]) == {"accuracy", "precision", "recall", "f1", "yes_ratio"}
    assert metrics == json.loads((tmp_path / "b" / "metrics.json").read_text())
    for name in (
        "auxiliary.safetensors",
        "model.safetensors",
        "config.json",
        "questions/adversarial_1.jsonl",
    ):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_questions_from_a_file_are_asked_instead(model_folder: Path, scenes: Path, tmp_path: Path) -> None:
    picture = sorted((scenes / "val").iterdir())[0].name
    write_questions(tmp_path / "mine.jsonl", [Question(1, picture, "Is there a boat in the image?", "no")])
    measure_hallucination(options(model_folder), scenes, tmp_path / "run", [tmp_path / "mine.jsonl"])
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())) == ["mine"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--layer": "30"}, "layer 30: LlavaForConditionalGeneration has 2 decoder layers"),
        ({"--template": "{text}"}, "prompt.template: needs <image> exactly once"),
        ({"--questions": "absent.jsonl"}, "question 1 is about 'absent.jpg'"),
        ({"model": "none"}, "states.model: 'none' is no folder; to download a model write hf-hub:NAME"),
        ({"model": "."}, "states.model: '.' is no vision-language decoder that can be loaded"),
    ],
)
def test_a_mistake_ends_the_command_in_one_clear_line(
    model_folder: Path,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    polls = [Question(1, "absent.jpg", "Is there a boat in the image?", "no")]
    write_questions(Path("absent.jsonl"), polls)
    picture = sorted((scenes / "val").iterdir())[0].name
    write_questions(Path("present.jsonl"), [polls[0]._replace(image=picture)])
    arguments = {"model": str(model_folder), "--layer": "1", "--template": "<image> {text}"}
    arguments |= {"--root": str(scenes), "--questions": "present.jsonl"} | changes
    model = arguments.pop("model")
    flat = [part for argument in arguments.items() for part in argument]
    result = CliRunner().invoke(app, ["hallucination", model, *flat])
    assert result.exit_code == 1
    assert complaint in " ".join(result.output.split())
