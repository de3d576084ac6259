"""params.yaml: what a variant starts from, and how a bad option of either architecture is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.params import Params, load_params
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.vl_sae.options import VLSAEOptions

SHIPPED = Path(__file__).parents[2] / "params.yaml"
VALUES: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))


def load(tmp_path: Path, variant: dict[str, Any], **sections: Any) -> Params:
    values = copy.deepcopy(VALUES) | sections
    values["variants"] = {"lucid": {}, "mine": variant}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_params(path)


def test_the_shipped_variants_are_the_methods_their_ablations_and_their_baselines() -> None:
    params = load_params(SHIPPED)
    pooled = {name: v.sae for name, v in params.variants.items() if isinstance(v.sae, VLSAEOptions)}
    assert {name: (sae.encoder, sae.shared_encoder, sae.shared_decoder) for name, sae in pooled.items()} == {
        "vl_sae": ("distance", True, False),
        "vl_sae_centred": ("distance", True, False),
        "vl_sae_centred_25": ("distance", True, False),
        "vl_sae_centred_50": ("distance", True, False),
        "vl_sae_centred_75": ("distance", True, False),
        "vl_sae_affine": ("affine", True, False),
        "vl_sae_cosine": ("cosine", True, False),
        "vl_sae_one_decoder": ("distance", True, True),
        "sae_d": ("affine", False, False),
        "sae_s": ("affine", True, True),
        "sae_s_side_bias": ("affine", True, True),
        "group_sparse": ("affine", True, True),
        "group_sparse_masked": ("affine", True, True),
        "iso_energy": ("affine", True, True),
        "cosine_aligned": ("affine", False, False),
        "matched_separate": ("affine", False, False),
    }
    assert {(sae.inputs, sae.latents, sae.k) for sae in pooled.values()} == {("pooled", 1024, 64)}
    assert {name: sae.centre for name, sae in pooled.items() if sae.centre} == {
        "vl_sae_centred": 1.0,
        "vl_sae_centred_25": 0.25,
        "vl_sae_centred_50": 0.5,
        "vl_sae_centred_75": 0.75,
    }
    assert {name for name, sae in pooled.items() if sae.paired_codes.any} == {
        "group_sparse",
        "group_sparse_masked",
        "iso_energy",
        "cosine_aligned",
    }
    assert isinstance(params.variants["lucid"].sae, LucidOptions)


def test_a_variant_of_the_same_architecture_differs_from_the_defaults_in_what_it_says(tmp_path: Path) -> None:
    params = load(tmp_path, {"sae": {"gamma": 0.7}})
    assert params.variant("mine").sae == params.sae.model_copy(update={"gamma": 0.7})


def test_a_variant_of_another_architecture_starts_from_that_ones_own_defaults(tmp_path: Path) -> None:
    params = load(tmp_path, {"sae": {"architecture": "vl_sae", "k": 9}, "train": {"epochs": 7}})
    recipe = params.variant("mine")
    assert recipe.sae == VLSAEOptions(k=9)
    assert recipe.train == params.train.model_copy(update={"epochs": 7})


def test_the_defaults_may_be_of_any_architecture(tmp_path: Path) -> None:
    params = load(tmp_path, {"sae": {"architecture": "lucid"}}, sae={"architecture": "vl_sae", "k": 9})
    assert params.variant("lucid").sae == VLSAEOptions(k=9)
    assert params.variant("mine").sae == LucidOptions()


def test_another_seed_changes_nothing_else(tmp_path: Path) -> None:
    recipe = load(tmp_path, {"sae": {"architecture": "vl_sae"}}).variant("mine")
    other = recipe.with_seed(5)
    assert other.sae == recipe.sae
    assert other.train == recipe.train.model_copy(update={"seed": 5})


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        ({"alignmnt": "none"}, "variants.mine.sae.alignmnt: no such option"),
        ({"architecture": "vl_sae", "alignment": "none"}, "variants.mine.sae.alignment: no such option"),
        ({"encoder": "affine"}, "variants.mine.sae.encoder: no such option"),
        ({"architecture": "vl_sae", "k": 0}, r"^variants.mine.sae.k: .*greater than 0 \(got 0\)$"),
        (
            {"architecture": "vl_sae", "k": 9000},
            "variants.mine.sae: .*k = 9000 is more than the 4096 latents",
        ),
        (
            {"architecture": "vae"},
            "^variants.mine.sae.architecture: no such architecture.*lucid, vl_sae, sparc.*'vae'",
        ),
    ],
)
def test_a_bad_option_is_told_in_the_words_of_its_own_architecture(
    tmp_path: Path, sae: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, {"sae": sae})


def refusal(tmp_path: Path, change: Any) -> list[str]:
    """The lines of the message about the shipped options with a change."""
    values = copy.deepcopy(VALUES)
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_params(path)
    return str(refused.value).splitlines()


def test_the_shipped_options_hold_no_aliases() -> None:
    events = list(yaml.parse(SHIPPED.read_text(encoding="utf-8")))
    assert not [
        event for event in events if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
    ]


@pytest.mark.parametrize(
    ("section", "key", "start"),
    [
        (
            "train",
            "learning_rat",
            "train.learning_rat: no such option (did you mean learning_rate?); the options of train",
        ),
        ("sae", "k_shard", "sae.k_shard: no such option (did you mean k_shared?); the options of sae are"),
        (
            "dataset",
            "splts",
            "dataset.splts: no such option (did you mean splits?); the options of dataset are",
        ),
        ("scenes", "zzz", "scenes.zzz: no such option; the options of scenes are image_size, ood, seed,"),
    ],
)
def test_an_unknown_option_is_told_once_with_the_options_of_its_section(
    tmp_path: Path, section: str, key: str, start: str
) -> None:
    (line,) = refusal(tmp_path, lambda values: values[section].update({key: 1}))
    assert line.startswith(start)


def test_an_unknown_option_inside_a_group_is_told_with_the_options_of_the_group(tmp_path: Path) -> None:
    (line,) = refusal(
        tmp_path, lambda v: v["variants"]["separate"]["sae"]["guidance"].update(global_contxt=True)
    )
    assert line.startswith(
        "variants.separate.sae.guidance.global_contxt: no such option (did you mean global_context?); the options of "
        "variants.separate.sae.guidance are"
    )


def test_a_misspelt_section_is_told_with_the_sections_and_not_with_the_file(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, lambda values: values.update(trian=values.pop("train")))
    assert line.startswith(
        "trian: no such option (did you mean train?); the sections are backbone, classify,"
    )
    assert len(line) < 250


def test_a_missing_section_is_told_in_a_few_words(tmp_path: Path) -> None:
    assert refusal(tmp_path, lambda values: values.pop("scenes")) == ["scenes: is missing; write it"]


def test_a_value_that_variants_take_over_is_told_where_it_stands(tmp_path: Path) -> None:
    assert refusal(tmp_path, lambda values: values["train"].update(epochs=-1)) == [
        "train.epochs: Input should be greater than or equal to 0 (got -1)"
    ]
    (line,) = refusal(tmp_path, lambda values: values["sae"].update(k_private=100_000))
    assert line.startswith("sae: k_private = 100000 is more than the 768 private latents")


def test_every_bad_value_has_a_line(tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        values["train"]["epochs"] = -1
        values["encode"]["batch_size"] = "many"
        values["variants"]["vl_sae"]["sae"]["k"] = 0

    lines = refusal(tmp_path, change)
    assert [line.partition(":")[0] for line in lines] == [
        "encode.batch_size",
        "train.epochs",
        "variants.vl_sae.sae.k",
    ]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "epochs", True),
        ("train", "learning_rate", True),
        ("scenes", "seed", False),
        ("train", "learning_rate", float("nan")),
        ("sae", "gamma", float("inf")),
        ("train", "warmup_steps", float("inf")),
        ("backbone", "weights", 2024),
        ("encode", "batch_size", [64]),
    ],
)
def test_what_is_no_value_of_an_option_is_refused(tmp_path: Path, section: str, key: str, value: Any) -> None:
    lines = refusal(tmp_path, lambda values: values[section].update({key: value}))
    assert all(line.startswith(f"{section}.{key}") for line in lines)


def test_a_value_is_shown_on_one_short_line(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, lambda v: v["train"].update(epochs={"a\n\x1b[31m": ["b" * 10_000] * 10}))
    assert line.startswith("train.epochs: ") and len(line) < 400
    assert line.isprintable()
    (line,) = refusal(tmp_path, lambda v: v["train"].update({"x\n\x1b[31m" + "y" * 10_000: 1}))
    assert line.startswith("train.x") and len(line) < 700
    assert line.isprintable()


BAD_NAMES = ("..", ".", "a.b", "a b", "-x", "a/b", "/x", "1a", "7", "é", "a@b", "a*", "[a]", "a\nb", "x" * 65)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_dvc_or_a_folder_would_misread_are_refused(tmp_path: Path, name: str) -> None:
    (line,) = refusal(tmp_path, lambda values: values["variants"].update({name: {}}))
    assert line.startswith("variants.")
    assert "names begin with a letter or _" in line
    (line,) = refusal(tmp_path, lambda values: values["dataset"]["splits"].update({name: "val"}))
    assert line.startswith("dataset.splits.")
    assert "names begin with a letter or _" in line


@pytest.mark.parametrize("name", ["a", "A_b", "_a", "a-b", "a1", "on", "x" * 64])
def test_other_names_are_taken(tmp_path: Path, name: str) -> None:
    path = tmp_path / "params.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("  shared_only:\n", f"  {name}:\n")
    path.write_text(text, encoding="utf-8")
    assert load_params(path).variant(name).sae.shared_ratio == 1.0


def test_the_folder_of_another_command_is_no_variants(tmp_path: Path) -> None:
    (line,) = refusal(tmp_path, lambda values: values["variants"].update(hallucination={}))
    assert line.startswith("variants: hallucination: runs/hallucination belongs to")


@pytest.mark.parametrize("changes", [5, [1], "lucid", {"train": 5}, {"sae": None}, {"sae": [1]}])
def test_a_variant_that_is_no_mapping_is_refused(tmp_path: Path, changes: Any) -> None:
    (line,) = refusal(tmp_path, lambda values: values["variants"].update(mine=changes))
    assert line.startswith("variants.mine")
    assert "must be a mapping of options" in line


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("train", "seed", 1 << 63, "too large: integers have 64 bits"),
        ("train", "epochs", 10**400, "too large: integers have 64 bits"),
        ("sae", "iterations", 1 << 64, "too large: integers have 64 bits"),
        ("sae", "latents", 10**400, "too large"),
        ("evaluate", "alignment_latents", 10**30, "too large: integers have 64 bits"),
        ("report", "ood_pairs", 10**30, "too large: integers have 64 bits"),
        ("train", "learning_rate", 1e308, "too large: it is infinite in float32"),
        ("sae", "alpha", 1e39, "too large: it is infinite in float32"),
        ("classify", "alphas", [0, 1e300], "too large: it is infinite in float32"),
        ("sae", "epsilon", 1e-320, "too small: it is 0 in float32"),
    ],
)
def test_a_number_that_no_tensor_holds_is_refused(
    tmp_path: Path, section: str, key: str, value: Any, told: str
) -> None:
    (line,) = refusal(tmp_path, lambda values: values[section].update({key: value}))
    assert line.startswith(f"{section}.{key}: {told}")
