"""How pictures become the model's input: as its weights were trained, stated by somebody, and never guessed."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import open_clip

from pipeline.backbone.configuration import CONFIG, Configuration, read_configuration
from pipeline.errors import BackboneError

_DECIDING = ("mean", "std", "interpolation", "resize_mode")
"""What open_clip would take from CLIP if nobody states it; the size is the tower's, and pictures are RGB."""

_CHOICES = {
    "mode": ("RGB",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}

Preprocessing = dict[str, Any]
"""open_clip's `preprocess_cfg`: size, mode, mean, std, interpolation, resize_mode, fill_color."""


def stated_preprocessing(
    configuration: Configuration, tag: Mapping[str, Any] | None, *, trained: bool
) -> Preprocessing:
    """The preprocessing that belongs to a model's weights.

    A tag of open_clip's states it, and so does a model's own folder or repository. What these leave out, and all of
    it for a built-in model with weights from a file or at random, is that of open_clip's tags for the very same
    architecture, if all of them agree. A folder that states some of it may leave the rest to open_clip's defaults if
    its weights are random, as they were trained with none.

    Args:
        configuration: the model.
        tag: open_clip's entry for a built-in model's weights; None for other weights.
        trained: whether the weights are trained.

    Raises:
        BackboneError: nobody states it, or what is stated makes no sense.
    """
    if tag is not None:
        return {key: tag[key] for key in _DECIDING}
    stated = {key: value for key, value in configuration.preprocessing.items() if value is not None}
    _check(stated, configuration.where)
    if stated and not trained:
        return stated
    if missing := [key for key in _DECIDING if key not in stated]:
        stated |= _agreed(configuration, missing)
    return stated


def refuse_other_size(configuration: Configuration, size: tuple[int, int]) -> None:
    """Refuse a stated size of the pictures that is not the vision tower's `size`, rows and columns of pixels.

    Raises:
        BackboneError: they differ.
    """
    stated = configuration.preprocessing.get("size")
    if stated is not None and stated not in (size[0] if size[0] == size[1] else None, list(size)):
        raise BackboneError(
            f"backbone.model: {configuration.where}: preprocess_cfg.size is {stated}, and the vision tower takes "
            f"{size[0]} x {size[1]} pixels (model_cfg.vision_cfg.image_size); correct the one that is wrong"
        )


def _agreed(configuration: Configuration, keys: list[str]) -> Preprocessing:
    """What open_clip's tags for this architecture say of `keys`."""
    tags = list(_tags_of_same_architecture(configuration))
    agreed: Preprocessing = {}
    for key in keys:
        values = {str(tag[key]): tag[key] for tag in tags}
        if len(values) != 1:
            found = (
                f"open_clip's tags disagree: {' or '.join(values)}"
                if values
                else "open_clip has no tag for it"
            )
            raise BackboneError(
                f"backbone.model: {configuration.where}: preprocess_cfg.{key} is not stated, and {found}; state "
                f"preprocess_cfg with {', '.join(_DECIDING)} as the weights were trained, in the {CONFIG} of a folder "
                "that you give as local-dir:FOLDER"
            )
        agreed[key] = next(iter(values.values()))
    return agreed


def _tags_of_same_architecture(configuration: Configuration) -> Iterable[dict[str, Any]]:
    names = [configuration.name] if configuration.file is None else _same_architecture(configuration)
    for name in names:
        for tag in open_clip.list_pretrained_tags_by_model(name):
            yield open_clip.get_pretrained_cfg(name, tag)


def _same_architecture(configuration: Configuration) -> Iterable[str]:
    wanted = configuration.architecture
    for name in open_clip.list_models():
        model = open_clip.get_model_config(name)
        alike = model["embed_dim"] == wanted["embed_dim"] and "multimodal_cfg" not in model
        if alike and read_configuration(name, "").architecture == wanted:
            yield name


def _check(stated: Preprocessing, where: str) -> None:
    for key, value in stated.items():
        if key in ("mean", "std"):
            right, rule = (
                _is_colour(value, positive=key == "std"),
                "has to be three numbers, of std positive ones",
            )
        elif key in _CHOICES:
            right, rule = value in _CHOICES[key], f"has to be {' or '.join(_CHOICES[key])}"
        elif key == "fill_color":
            right, rule = isinstance(value, int), "has to be a whole number"
        else:
            right, rule = (
                key == "size",
                f"is unknown to open_clip {open_clip.__version__}: correct or remove it",
            )
        if not right:
            raise BackboneError(f"backbone.model: {where}: preprocess_cfg.{key} is {value!r}; it {rule}")


def _is_colour(value: Any, *, positive: bool) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(
            type(part) in (int, float) and math.isfinite(part) and (part > 0 or not positive)
            for part in value
        )
    )
