"""params.yaml: what a variant starts from, and how a bad option of either architecture is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.params import Params, load_params
from pipeline.sae.lucid import LucidOptions
from pipeline.sae.vl_sae import VLSAEOptions

SHIPPED = Path(__file__).parents[2] / "params.yaml"


def load(tmp_path: Path, variant: dict[str, Any], **sections: Any) -> Params:
    values = copy.deepcopy(yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))) | sections
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
        "vl_sae_affine": ("affine", True, False),
        "vl_sae_cosine": ("cosine", True, False),
        "vl_sae_one_decoder": ("distance", True, True),
        "sae_d": ("affine", False, False),
        "sae_s": ("affine", True, True),
    }
    assert {(sae.inputs, sae.latents, sae.k) for sae in pooled.values()} == {("pooled", 1024, 64)}
    assert [name for name, sae in pooled.items() if sae.centre] == ["vl_sae_centred"]
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
        ({"architecture": "vae"}, "^variants.mine.sae.architecture: .*'lucid' or 'vl_sae'.*'vae'"),
    ],
)
def test_a_bad_option_is_told_in_the_words_of_its_own_architecture(
    tmp_path: Path, sae: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, {"sae": sae})
