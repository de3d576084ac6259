"""What is on the hub is taken from this machine's cache, or refused at once, in one line with the right remedies."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import BackboneError

from .conftest import TINY

REPOSITORY = "somebody/tiny-siglip"


@pytest.fixture(autouse=True)
def nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a hub at a port of this machine where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield tmp_path / "hub"


def fill(cache: Path, repository: str, *names: str) -> None:
    """Put files of the tiny SigLIP where the hub's client keeps those of `repository`."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs/main").write_text("0" * 40)
    for name in names:
        shutil.copy(TINY / name, snapshot / name)


MODEL = ("open_clip_config.json", "open_clip_model.safetensors")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    ("filled", "wanted"),
    [
        ({}, f"open_clip_config.json of {REPOSITORY}"),
        ({REPOSITORY: MODEL}, "tokenizer.json of tiny-siglip"),
        (
            {REPOSITORY: MODEL, "tiny-siglip": TOKENIZER[1:]},
            "tokenizer.json of tiny-siglip",
        ),
        (
            {REPOSITORY: MODEL, "tiny-siglip": TOKENIZER[:1]},
            "tokenizer_config.json of tiny-siglip",
        ),
        (
            {REPOSITORY: MODEL[:1], "tiny-siglip": TOKENIZER},
            f"open_clip_model.safetensors of {REPOSITORY}",
        ),
    ],
)
def test_a_cache_that_lacks_a_file_is_refused_at_once_naming_it(
    nobody_answers, monkeypatch, capfd, offline, filled, wanted
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    for repository, names in filled.items():
        fill(nobody_answers, repository, *names)
    with pytest.raises(BackboneError) as refusal:
        load_backbone(BackboneOptions(model=f"hf-hub:{REPOSITORY}"))
    message = str(refusal.value)
    assert message.startswith(
        f"backbone.model: {wanted} is not in this machine's hub cache ({nobody_answers})"
    )
    assert "tiny-siglip's" not in message and "models/tiny-siglip" not in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_whole_cache_needs_no_network(nobody_answers, tiny):
    fill(nobody_answers, REPOSITORY, *MODEL)
    fill(nobody_answers, "tiny-siglip", *TOKENIZER)
    backbone = load_backbone(BackboneOptions(model=f"hf-hub:{REPOSITORY}"))
    assert backbone.identity == tiny.identity


def test_a_built_in_model_without_its_tokenizer_or_weights_is_refused_at_once(nobody_answers):
    with pytest.raises(BackboneError, match=r"tokenizer.json of timm/ViT-B-16-SigLIP is not in"):
        load_backbone(BackboneOptions(model="ViT-B-16-SigLIP", weights="webli"))
    with pytest.raises(BackboneError, match=r"weights: open_clip_model.safetensors of timm/vit_base"):
        load_backbone(BackboneOptions(model="ViT-B-32-quickgelu", weights="openai"))


def test_a_name_that_the_hub_cannot_have_is_refused(nobody_answers):
    with pytest.raises(BackboneError, match="'a/b/c' is no name on the hub"):
        load_backbone(BackboneOptions(model="hf-hub:a/b/c"))
