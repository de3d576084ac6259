from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.pictures import read_upright
from pipeline.errors import ConfigError, DatasetError
from pipeline.interpretation.explanation import explain
from pipeline.params import load_params
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.saving import save_sae
from stages.cli import app

ROOT = Path(__file__).parents[3]
TEXT = "a red boat on the sea"


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(BackboneOptions(model=f"local-dir:{ROOT / 'models/tiny-siglip'}"))


@pytest.fixture(scope="module")
def sae(backbone):
    options = LucidOptions(latents=48, shared_ratio=0.5, k_shared=3, k_private=3)
    return LucidSAE(options, backbone.vision_channels, backbone.text_channels).eval()


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def test_latents_fire_where_and_on_the_words_that_their_codes_say(sae, backbone, picture):
    explanation = explain(sae, backbone, picture, TEXT)
    patches = backbone.encode_images(backbone.preprocess(picture)[None]).tokens[0]
    token_ids, valid = backbone.tokenize([TEXT])
    words = backbone.encode_texts(token_ids).tokens[valid]
    heat = sae.encode("vision", patches, "shared").dense(sae.shared_width).detach().numpy()
    spoken = sae.encode("text", words, "shared").dense(sae.shared_width).detach().numpy()
    assert len(explanation.words) == len(words)
    assert {one.latent for one in explanation.latents} == set(np.flatnonzero(heat.any(axis=0)))
    for one in explanation.latents:
        np.testing.assert_array_equal(one.heat.ravel(), heat[:, one.latent])
        np.testing.assert_array_equal(one.words, spoken[:, one.latent])
        assert one.heat[one.peak] == one.activation == heat[:, one.latent].max()


def test_latents_that_the_text_fires_come_first_then_the_strongest(sae, backbone, picture):
    latents = explain(sae, backbone, picture, TEXT).latents
    keys = [(not one.fires_in_text, -one.activation) for one in latents]
    assert keys == sorted(keys) and len({fires for fires, _ in keys}) == 2


def test_the_plan_gives_every_token_its_share(sae, backbone, picture):
    explanation = explain(sae, backbone, picture, TEXT)
    assert explanation.plan.shape == (*backbone.grid, len(explanation.words))
    assert explanation.plan.sum() == pytest.approx(1, abs=1e-5)
    assert explain(sae, backbone, picture).plan is None


def test_words_that_the_tokenizer_does_not_know_are_counted(sae, backbone, picture):
    assert explain(sae, backbone, picture, "a zebra beside a quagga").unknown_words == 3
    assert (
        explain(sae, backbone, picture, TEXT).unknown_words
        == explain(sae, backbone, picture).unknown_words
        == 0
    )


@pytest.mark.parametrize(
    ("text", "message"), [("boat " * 200, "tokens and the backbone reads"), ("   ", "has no words")]
)
def test_a_text_without_words_or_with_too_many_is_refused(sae, backbone, picture, text, message):
    with pytest.raises(ConfigError, match=message):
        explain(sae, backbone, picture, text)


def test_the_command_prints_the_latents_and_draws_them(sae, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shipped = load_backbone(load_params(ROOT / "params.yaml").backbone)
    save_sae(sae, tmp_path / "run", {"backbone": shipped.identity})
    picture.save(tmp_path / "noise.png")
    output = tmp_path / "explanation.png"
    arguments = ["explain", str(tmp_path / "noise.png"), "--text", TEXT, "--run", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*arguments, "--count", "3", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "3 of" in result.output and "shared latents that fire" in result.output
    first = output.read_bytes()
    assert Image.open(output).width > 1000
    CliRunner().invoke(app, [*arguments, "--count", "3", "--output", str(output)])
    assert output.read_bytes() == first


def test_what_is_not_a_picture_is_refused_by_name(tmp_path):
    (tmp_path / "notes.jpg").write_text("not a picture")
    for name, reason in (
        ("notes.jpg", "image cannot be decoded: not a picture"),
        ("missing.jpg", "cannot be read: No such file"),
    ):
        with pytest.raises(DatasetError, match=f"{name}: {reason}"):
            read_upright(tmp_path / name)


def test_a_picture_is_turned_upright_by_its_orientation(tmp_path):
    picture = Image.new("RGB", (20, 10))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_upright(tmp_path / "turned.jpg").size == (10, 20)
