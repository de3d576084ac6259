"""A file of weights fills the model whole, or is refused in one line; nothing in it is run."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.errors import BackboneError

from .conftest import TINY

WEIGHTS, PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return load_file(TINY / WEIGHTS)


def pickled(folder: Path, content: object) -> None:
    """Put what `torch.save` writes in the place of the weights."""
    (folder / WEIGHTS).unlink()
    torch.save(content, folder / PICKLED)


def test_what_does_not_fit_is_named_with_both_shapes(copied, load, weights):
    weights["visual.proj"] = torch.zeros(64, 128)
    weights["text.token_embedding.weight"] = weights["text.token_embedding.weight"][:100].clone()
    weights["extra"] = weights.pop("visual.ln_post.bias")
    save_file(weights, copied / WEIGHTS)
    with pytest.raises(BackboneError) as refusal:
        load(copied)
    assert str(refusal.value) == (
        f"backbone.model: {copied / WEIGHTS}: does not fit the model: visual.proj is [64, 128] in the file and "
        "[128, 128] in the model, text.token_embedding.weight is [100, 128] in the file and [134, 128] in the model; "
        "missing: visual.ln_post.bias; unknown to the model: extra; give the weights of this model, or the model of "
        "these weights"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("visual.positional_embedding", torch.zeros(50, 128)),  # which open_clip resizes without a word
        ("text.positional_embedding", torch.zeros(16, 128)),
        (
            "visual.proj",
            torch.zeros(128, 128, dtype=torch.int8),
        ),  # which torch makes numbers of another meaning of
    ],
)
def test_a_tensor_of_another_shape_or_kind_is_never_made_to_fit(copied, load, weights, name, value):
    save_file({**weights, name: value}, copied / WEIGHTS)
    with pytest.raises(BackboneError, match=rf"{name} is .* in the file and .* in the model"):
        load(copied)


def test_values_that_are_not_finite_are_refused_naming_their_tensor(copied, load, weights):
    weights["visual.proj"][3, 4] = float("nan")
    save_file(weights, copied / WEIGHTS)
    with pytest.raises(BackboneError, match=rf"{WEIGHTS}: visual.proj holds values that are not finite"):
        load(copied)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "is a web page"),
        (b"not weights", "holds no weights that can be read"),
    ],
)
@pytest.mark.parametrize("name", [WEIGHTS, PICKLED])
def test_what_stands_where_weights_should_be_is_called_by_its_name(copied, load, content, reason, name):
    (copied / WEIGHTS).unlink()
    (copied / name).write_bytes(content)
    with pytest.raises(
        BackboneError, match=reason.removesuffix("SafetensorError") if name == PICKLED else reason
    ) as refusal:
        load(copied)
    assert str(copied / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [[1], 5.0, {}, {"epoch": 3}, torch.zeros(3), {"state_dict": [1]}])
def test_a_file_without_a_table_of_tensors_is_refused(copied, load, content):
    pickled(copied, content)
    with pytest.raises(BackboneError, match="holds no table of tensors by name"):
        load(copied)


class Hostile:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.write_text, (self.file, "run")


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_file_of_weights_is_never_run(copied, load, tmp_path, archive):
    traces = tmp_path / "traces"
    if archive:
        pickled(copied, {"visual.proj": Hostile(traces)})
    else:
        (copied / WEIGHTS).unlink()
        (copied / PICKLED).write_bytes(pickle.dumps(Hostile(traces), protocol=2))
    with pytest.raises(BackboneError, match="code in a file is never run") as refusal:
        load(copied)
    assert "weights_only" not in str(refusal.value)  # which torch advises to switch off
    assert "\n" not in str(refusal.value)
    assert not traces.exists()


def test_weights_of_the_kinds_that_training_writes_are_read(copied, load, weights, tiny):
    (copied / WEIGHTS).unlink()
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, copied / "epoch_3.pth")
    assert load(copied).identity == tiny.identity


def test_several_files_of_weights_are_not_chosen_from(copied, load):
    (copied / WEIGHTS).rename(copied / "a.safetensors")
    assert load(copied)
    (copied / "b.safetensors").write_bytes((copied / "a.safetensors").read_bytes())
    with pytest.raises(BackboneError, match=r"several files of weights \(a.safetensors, b.safetensors\)"):
        load(copied)


def test_an_empty_file_for_a_built_in_model_is_refused_before_the_model_is_built(tmp_path):
    (tmp_path / "weights.bin").touch()
    with pytest.raises(BackboneError, match=r"backbone.weights: .*weights.bin: is empty"):
        load_backbone(BackboneOptions(model="ViT-B-32", weights=str(tmp_path / "weights.bin")))


@pytest.mark.parametrize(
    ("model", "weights", "remedy"),
    [
        ("ViT-B-32", "openai", "computes GELU, .* trained with QuickGELU; choose ViT-B-32-quickgelu"),
        ("ViT-B-16", "OpenAI", "choose ViT-B-16-quickgelu"),
        ("ViT-L-14-336", "openai", "choose ViT-L-14-336-quickgelu"),
        ("RN50", "openai", "ResNet"),
    ],
)
def test_weights_that_were_trained_with_another_activation_are_refused_with_the_right_model(
    model, weights, remedy
):
    with pytest.raises(BackboneError, match=remedy):
        load_backbone(BackboneOptions(model=model, weights=weights))
