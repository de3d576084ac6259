"""Where a model's weights come from: a tag of open_clip's, a file, the model's own folder or its repository."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
from huggingface_hub.errors import EntryNotFoundError

from pipeline.backbone.configuration import Configuration
from pipeline.backbone.hub import hub_file
from pipeline.backbone.options import RANDOM
from pipeline.backbone.refusal import first_line
from pipeline.errors import BackboneError

_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""What open_clip calls a folder's weights, the preferred first."""

_QUICK = "-quickgelu"


class WeightsSource(NamedTuple):
    """What the options say of the weights.

    Attributes:
        key: the option that names them.
        tag: open_clip's entry for them, with their address and preprocessing; None for all others.
        file: their path, of a built-in model's; None for a tag, and for a model that brings its own.
    """

    key: str
    tag: Mapping[str, Any] | None = None
    file: Path | None = None


def weights_source(configuration: Configuration, weights: str | None) -> WeightsSource:
    """Which weights a model is to have.

    Args:
        configuration: the model.
        weights: the option: tag or file of a built-in model's; None for a model that brings its own.

    Raises:
        BackboneError: there are none by that name, or they were trained with another activation function.
    """
    name = configuration.name
    if configuration.file is not None:
        if weights is not None:
            raise BackboneError(
                f"backbone.weights: {name} brings its own weights; set weights to null, or to '{RANDOM}' for random "
                f"ones (got {weights!r})"
            )
        return WeightsSource("backbone.model")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights is None:
        raise BackboneError(
            f"backbone.weights: {name} needs weights: one of {', '.join(tags) or 'no tags'}, the path of a file, or "
            f"'{RANDOM}' to ask for random weights"
        )
    if tag := open_clip.get_pretrained_cfg(name, weights):
        _refuse_other_activation(configuration, weights, quick=bool(tag.get("quick_gelu")))
        return WeightsSource("backbone.weights", tag=tag)
    if not Path(weights).is_file():
        raise BackboneError(
            f"backbone.weights: {weights!r} is neither a file nor a tag of {name}; its tags are "
            f"{', '.join(tags) or 'none'}, and '{RANDOM}' asks for random weights"
        )
    return WeightsSource("backbone.weights", file=Path(weights))


def find_weights(configuration: Configuration, source: WeightsSource) -> Path:
    """The file of the weights on this machine, fetched first if need be.

    Raises:
        BackboneError: there is none, or it cannot be fetched.
    """
    if source.file is not None:
        return source.file
    if source.tag is not None:
        return _of_tag(source.tag, source.key)
    if configuration.repository is not None:
        return _on_hub(configuration.repository, _NAMES, source.key)
    return _in_folder(Path(str(configuration.folder)), source.key)


def _refuse_other_activation(configuration: Configuration, weights: str, *, quick: bool) -> None:
    """A native tower computes QuickGELU or GELU by its configuration; the weights fit both, and are right for one."""
    if quick == configuration.architecture["quick_gelu"]:
        return
    name = configuration.name
    other = name + _QUICK if quick else name.removesuffix(_QUICK)
    trained, built = ("QuickGELU", "GELU") if quick else ("GELU", "QuickGELU")
    raise BackboneError(
        f"backbone.model: {name} computes {built}, and its weights {weights!r} were trained with {trained}; "
        + (f"choose {other}" if other in open_clip.list_models() else "choose other weights")
    )


def _in_folder(folder: Path, key: str) -> Path:
    found = [folder / name for name in _NAMES if (folder / name).is_file()]
    others = sorted(path for kind in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{kind}"))
    if not found and len(others) != 1:
        problem = (
            f"several files of weights ({', '.join(path.name for path in others)})"
            if others
            else "no weights"
        )
        raise BackboneError(f"{key}: {folder} holds {problem}; call the right ones {_NAMES[0]}")
    return (found or others)[0]


def _on_hub(repository: str, names: Sequence[str], key: str) -> Path:
    try:
        return hub_file(repository, names, key)
    except EntryNotFoundError as error:
        raise BackboneError(f"{key}: {error}; choose another model") from error


def _of_tag(tag: Mapping[str, Any], key: str) -> Path:
    """As open_clip prefers: from the hub if it is there, safetensors rather than pickle, else from its address."""
    if tag.get("hf_hub"):
        repository, _, name = tag["hf_hub"].rpartition("/")
        stem = name.removesuffix(".bin").removesuffix(".pth").removesuffix(".pt")
        return _on_hub(repository, (f"{stem}.safetensors", name) if name else _NAMES, key)
    try:
        return Path(open_clip.download_pretrained(tag))
    except Exception as error:
        raise BackboneError(
            f"{key}: {tag['url']} cannot be fetched: {first_line(error)}; fetch it where there is a network, and give "
            "the path of the file"
        ) from error
