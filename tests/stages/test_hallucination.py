"""The stage on a world of 12 pictures and a LLaVA of random weights: every file and every refusal is real."""

import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from typer.testing import CliRunner

from pipeline.datasets.options import DatasetOptions
from pipeline.errors import BackboneError, ConfigError, DatasetError
from pipeline.language_models.options import (
    HallucinationOptions,
    PollingOptions,
    PromptOptions,
    StateOptions,
    hallucination_options,
)
from pipeline.language_models.questions import Question, write_questions
from pipeline.params import load_params
from pipeline.runs.seal import read_sealed
from pipeline.sae.vl_sae.options import AuxiliaryAutoencoderOptions
from pipeline.world.instruction_tuning.architecture import create_processor
from pipeline.world.pretraining.architecture import GRID, IMAGE_SIZE, PATCH_SIZE
from pipeline.world.scenes.lexicon import VOCABULARY
from pipeline.world.scenes.options import ScenesOptions
from pipeline.world.scenes.write import write_scenes
from stages.cli import app
from stages.hallucination import measure_hallucination

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    words = dict.fromkeys([*VOCABULARY, "yes", "no", "there", "image", "?"])
    processor = create_processor(words)
    small = {"intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=8, image_size=IMAGE_SIZE, patch_size=PATCH_SIZE, **small),
        text_config=LlamaConfig(
            vocab_size=len(processor.tokenizer),
            hidden_size=8,
            num_key_value_heads=2,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            **small,
        ),
        image_token_index=3,
        image_seq_length=GRID * GRID,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetOptions:
    root = tmp_path_factory.mktemp("scenes")
    write_scenes(root, ScenesOptions(image_size=32, train=8, val=8, ood=1))
    return DatasetOptions(root=root, splits={"train": "train", "val": "val"})


def options(model_folder: Path) -> HallucinationOptions:
    return HallucinationOptions.model_validate(
        {
            "states": {
                "model": f"local-dir:{model_folder}",
                "layer": 1,
                "prompt": {"template": "<image> {text}"},
            },
            "pairs": 8,
            "autoencoder": {"batch_pairs": 4, "epochs": 2},
            "sae": {"latents": 16, "k": 4},
            "train": {"epochs": 2, "batch_pairs": 4},
            "polling": {"images": 2, "objects": 1},
            "seeds": 2,
        }
    )


def test_every_poll_is_scored_under_every_strategy_twice_alike(
    model_folder: Path, dataset: DatasetOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in ("a", "b"):
        measure_hallucination(options(model_folder), dataset, tmp_path / run)
    metrics = read_sealed(tmp_path / "a" / "metrics.json", "")
    assert list(metrics) == [
        f"{kind}/{seed}" for kind in ("random", "popular", "adversarial") for seed in (0, 1)
    ]
    assert metrics["random/0"]["greedy"] == metrics["random/0"]["greedy_mask"]
    assert "adversarial: 2 draws of questions" in capsys.readouterr().out
    assert set(metrics["popular/1"]["sampled_edit"]) == {"accuracy", "precision", "recall", "f1", "yes_ratio"}
    assert metrics == read_sealed(tmp_path / "b" / "metrics.json", "")
    for name in (
        "auxiliary.safetensors",
        "model.safetensors",
        "config.json",
        "questions/adversarial_1.jsonl",
    ):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_questions_from_a_file_are_asked_instead(
    model_folder: Path, dataset: DatasetOptions, tmp_path: Path
) -> None:
    picture = sorted((dataset.root / "val").iterdir())[0].name
    write_questions(tmp_path / "mine.jsonl", [Question(1, picture, "Is there a boat in the image?", "no")])
    measure_hallucination(options(model_folder), dataset, tmp_path / "run", [tmp_path / "mine.jsonl"])
    assert list(read_sealed(tmp_path / "run" / "metrics.json", "")) == ["mine"]


def test_pictures_that_cannot_be_decoded_are_left_out_and_said(
    model_folder: Path, dataset: DatasetOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(dataset.root, tmp_path / "scenes")
    for split in ("train", "val"):
        sorted((root / split).iterdir())[0].write_bytes(b"%!PS this is no picture")
    pictures = [path.name for path in sorted((root / "val").iterdir())[:2]]
    questions = [Question(n, name, "Is there a boat in the image?", "no") for n, name in enumerate(pictures)]
    write_questions(tmp_path / "mine.jsonl", questions)
    mine = dataset.model_copy(update={"root": root})
    measure_hallucination(options(model_folder), mine, tmp_path / "run", [tmp_path / "mine.jsonl"])
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 8 training pictures cannot be used" in said
    assert "1 of 2 pictures asked about cannot be used" in said
    write_questions(tmp_path / "mine.jsonl", questions[:1])
    with pytest.raises(DatasetError, match="1 of 1 pictures asked about cannot be used"):
        measure_hallucination(options(model_folder), mine, tmp_path / "run", [tmp_path / "mine.jsonl"])


def test_a_run_that_fails_leaves_the_one_before_as_it_was(
    model_folder: Path, dataset: DatasetOptions, tmp_path: Path
) -> None:
    measure_hallucination(options(model_folder), dataset, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    broken = shutil.copytree(model_folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    head = next(name for name in weights if "lm_head" in name)
    save_file(
        weights | {head: torch.full_like(weights[head], torch.nan)},
        broken / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BackboneError, match="LlavaForConditionalGeneration: logits are not numbers"):
        measure_hallucination(options(broken), dataset, tmp_path / "run")
    assert {path: path.read_bytes() for path in before} == before


def test_question_files_of_one_name_are_refused(
    model_folder: Path, dataset: DatasetOptions, tmp_path: Path
) -> None:
    picture = sorted((dataset.root / "val").iterdir())[0].name
    files = [tmp_path / folder / "random.jsonl" for folder in ("coco", "gqa")]
    for file in files:
        write_questions(file, [Question(1, picture, "Is there a boat in the image?", "no")])
    with pytest.raises(ConfigError, match="two files are called 'random'"):
        measure_hallucination(options(model_folder), dataset, tmp_path / "run", files)


def test_the_command_line_comes_before_the_section_and_the_section_before_the_defaults() -> None:
    section = HallucinationOptions.model_validate(
        {"states": {"model": "hf-hub:a/b", "layer": 7}, "edit": {"strength": 0.5}, "seeds": 1}
    )
    assert hallucination_options(section) == section
    changed = hallucination_options(section, model="local-dir:mine", template="<image>{text}")
    assert changed.states == section.states.model_copy(
        update={"model": "local-dir:mine", "prompt": PromptOptions(template="<image>{text}")}
    )
    assert (changed.edit, changed.seeds) == (section.edit, 1)
    assert hallucination_options(None, "mine", 3) == HallucinationOptions(
        states=StateOptions(model="mine", layer=3)
    )
    with pytest.raises(ConfigError, match=r"hallucination\.states\.layer: .* 0 \(got -1\)"):
        hallucination_options(section, layer=-1)


def test_a_group_given_in_part_keeps_the_other_defaults_of_this_section() -> None:
    values = {"states": {"model": "mine"}, "train": {"seed": 4}, "polling": {"images": 9}, "sae": {"k": 3}}
    options, default = (
        HallucinationOptions.model_validate(given) for given in (values, {"states": {"model": "mine"}})
    )
    assert options.train == default.train.model_copy(update={"seed": 4})
    assert options.polling == default.polling.model_copy(update={"images": 9})
    assert options.sae == default.sae.model_copy(update={"k": 3})
    with pytest.raises(ConfigError, match=r"hallucination\.sae: .*inputs must be pooled"):
        HallucinationOptions.parse(values | {"sae": {"inputs": "tokens"}}, "hallucination")


def test_the_documented_values_of_the_paper_are_a_section_that_is_understood(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "hallucination.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(shipped | yaml.safe_load(block)), encoding="utf-8")
    options = load_params(tmp_path / "params.yaml").hallucination
    assert options is not None
    assert (options.states.model, options.states.layer) == ("hf-hub:llava-hf/llava-1.5-7b-hf", 30)
    assert options.autoencoder == AuxiliaryAutoencoderOptions()  # its defaults are the paper's for this model
    assert (options.sae.latents, options.sae.k, options.train.learning_rate) == (8 * 4096, 256, 1e-4)
    assert (options.edit.strength, options.edit.vision_share) == (0.8, 0.9)
    assert (options.decoding.edited_weight, options.decoding.plausibility) == (0.6, 0.8)
    assert options.polling == PollingOptions()  # POPE's


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--layer": "30"}, "layer 30: LlavaForConditionalGeneration has 2 decoder layers"),
        ({"--template": "{text}"}, "prompt.template: needs <image> exactly once"),
        ({"--questions": "absent.jsonl"}, "question 1 is about 'absent.jpg'"),
        ({"model": "none"}, "states.model: 'none' is no folder; to download a model write hf-hub:OWNER/NAME"),
        ({"model": "local-dir:."}, "states.model: 'local-dir:.' is no vision-language decoder that can be"),
        ({"model": ""}, "hallucination.states.model: no vision-language decoder is named"),
        ({"val": "validation"}, "dataset.splits: no split 'val'; the splits are train, validation"),
        ({"--root": "elsewhere"}, "elsewhere: no such folder;"),
    ],
)
def test_a_mistake_ends_the_command_in_one_clear_line(
    model_folder: Path,
    dataset: DatasetOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    polls = [Question(1, "absent.jpg", "Is there a boat in the image?", "no")]
    write_questions(Path("absent.jsonl"), polls)
    picture = sorted((dataset.root / "val").iterdir())[0].name
    write_questions(Path("present.jsonl"), [polls[0]._replace(image=picture)])
    arguments = {"model": str(model_folder), "--layer": "1", "--template": "<image> {text}"}
    arguments |= {"--questions": "present.jsonl", "val": "val"} | changes
    model, val = arguments.pop("model"), arguments.pop("val")
    section = {"root": str(dataset.root), "splits": {"train": "train", val: "val"}}
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values = shipped | {"dataset": section, "hallucination": None}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    flat = [part for argument in arguments.items() for part in argument]
    result = CliRunner().invoke(app, ["hallucination", *([model] if model else []), *flat])
    assert result.exit_code == 1
    assert complaint in " ".join(result.output.split())
