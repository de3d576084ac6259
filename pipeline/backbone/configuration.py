"""What open_clip builds a model from: read and checked before anything is built, and stated with all its defaults."""

import difflib
import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import open_clip
import timm
from huggingface_hub.errors import EntryNotFoundError
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg
from pydantic import TypeAdapter, ValidationError

from cache import shown_value
from pipeline.backbone.hub import hub_file
from pipeline.backbone.refusal import first_line
from pipeline.config import nearest
from pipeline.errors import BackboneError

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"

_PARTS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg}
_TOP_KEYS = {*inspect.signature(CLIP).parameters, "custom_text"} - {"cast_dtype", "output_dict"}

_UNDECIDING = {"init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"}
"""Settings of the loss alone."""

_UNDECIDING_OF_PARTS = {
    "vision_cfg": {"timm_model_pretrained"},
    "text_cfg": {"hf_model_pretrained", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode"},
}
"""Where weights and tokenizer come from: what they are is stated by themselves."""


@dataclass(frozen=True)
class _Top:
    """Settings of a whole model, of which open_clip declares no types; others are passed over."""

    embed_dim: int
    quick_gelu: bool = False
    custom_text: bool = False


@dataclass(frozen=True)
class Configuration:
    """What is stated about one model.

    Attributes:
        name: as in the options.
        where: what messages call it: a file, or the model's name.
        model: open_clip's `model_cfg`.
        preprocessing: open_clip's `preprocess_cfg`, as far as it is stated; weights state it of a built-in model.
        file: where that was read; None for a built-in model.
        repository: repository of a model on the hub; None for the other kinds.
    """

    name: str
    where: str
    model: dict[str, Any]
    preprocessing: dict[str, Any]
    file: Path | None = None
    repository: str | None = None

    @property
    def folder(self) -> Path | None:
        """Folder of a local model, with its weights and tokenizer; None for the other kinds."""
        return self.file.parent if self.file and not self.repository else None

    @property
    def architecture_source(self) -> str:
        """What open_clip finds this configuration by, on this machine."""
        return self.name if self.file is None else f"{LOCAL}{self.file.parent}"

    @property
    def architecture(self) -> dict[str, Any]:
        """All settings that decide what the model computes from its weights, defaults included; plain JSON."""
        stated = {"quick_gelu": False, "custom_text": False, **self.model}
        top = {key: value for key, value in stated.items() if key not in _UNDECIDING}
        parts = {
            part: {key: value for key, value in settings.items() if key not in _UNDECIDING_OF_PARTS[part]}
            for part, settings in ((part, asdict(kind(**top[part]))) for part, kind in _PARTS.items())
        }
        plain: dict[str, Any] = json.loads(json.dumps({**top, **parts}))
        return plain

    @property
    def towers(self) -> str:
        """Both towers in a few words, the same wherever the model lies."""
        vision, text = (self.architecture[part] for part in _PARTS)
        native = f"ViT {vision['layers']} x {vision['width']}, patches of {vision['patch_size']} pixels"
        return f"{vision['timm_model_name'] or native}; text {text['layers']} x {text['width']}"


def read_configuration(name: str, key: str) -> Configuration:
    """The configuration of the open_clip model `name`, which the option `key` asks for.

    Raises:
        BackboneError: there is no such model, or it states what this open_clip does not know.
    """
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not (folder / CONFIG).is_file():
            raise BackboneError(f"{key}: {folder} holds no {CONFIG}; give the folder of an open_clip model")
        return _from_file(folder / CONFIG, name, key)
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        try:
            return _from_file(hub_file(repository, [CONFIG], key), name, key, repository)
        except EntryNotFoundError as error:
            raise BackboneError(
                f"{key}: {repository} has no {CONFIG} on the hub; give the repository of an open_clip model"
            ) from error
    model = open_clip.get_model_config(name)
    if model is None:
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "open_clip.list_models() names them all"
        raise BackboneError(f"{key}: open_clip has no model {name!r}; {hint}")
    return Configuration(name, name, model, {})


def refuse_other_kinds(configuration: Configuration) -> None:
    """Refuse a model whose towers do not both give their tokens.

    Raises:
        BackboneError: it is of a kind that cannot be encoded.
    """
    model, vision, text = (
        configuration.model,
        configuration.model["vision_cfg"],
        configuration.model["text_cfg"],
    )
    remedy = (
        "choose a model with a ViT vision tower and a text tower of open_clip's own, such as ViT-B-16-SigLIP"
    )
    kinds = {
        "it is a CoCa model, whose text tower continues captions": "multimodal_cfg" in model,
        "its text tower is a Hugging Face model, which gives no text tokens": text.get("hf_model_name"),
        "its vision tower attends to all patches and pools none alone": vision.get("attentional_pool"),
        "its vision tower is a ResNet, which has no patch tokens": isinstance(vision.get("layers"), list),
    }
    for what, found in kinds.items():
        if found:
            raise BackboneError(f"backbone.model: {configuration.where} cannot be used: {what}; {remedy}")
    trunk = vision.get("timm_model_name")
    if trunk and not timm.is_model(trunk):
        raise BackboneError(
            f"backbone.model: {configuration.where}: model_cfg.vision_cfg.timm_model_name: timm {timm.__version__} "
            f"has no model {trunk!r}; install the timm that it was made with, or choose another model"
        )


def _from_file(file: Path, name: str, key: str, repository: str | None = None) -> Configuration:
    where = f"{key}: {file}"
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(
            f"{where}: is no JSON file: {first_line(error)}; take it anew from its source"
        ) from error
    content = _object(content, where, "the file")
    model = _object(content.get("model_cfg"), where, "model_cfg")
    preprocessing = _object(content.get("preprocess_cfg") or {}, where, "preprocess_cfg")
    for part, kind in _PARTS.items():
        stated = _object(model.get(part), where, f"model_cfg.{part}")
        _refuse_unknown(stated, {field.name for field in fields(kind)}, where, f"model_cfg.{part}")
        _refuse_other_types(stated, TypeAdapter(kind), where, f"model_cfg.{part}")
    if model.get("embed_dim") is None:
        raise BackboneError(f"{where}: model_cfg.embed_dim is missing; add the embeddings' width")
    _refuse_unknown(model, _TOP_KEYS | {"multimodal_cfg"}, where, "model_cfg")
    _refuse_other_types(model, TypeAdapter(_Top), where, "model_cfg")
    return Configuration(name, str(file), model, preprocessing, file, repository)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _object(value: Any, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = "missing" if value is None else f"{type(value).__name__}, not an object"
        raise BackboneError(
            f"{where}: {what} is {found}; an open_clip model states model_cfg with embed_dim, vision_cfg and text_cfg"
        )
    return value


def _refuse_other_types(stated: Mapping[str, Any], kind: TypeAdapter[Any], where: str, what: str) -> None:
    """Refuse values of other types than open_clip declares; null is the same as a key that is left out."""
    content = json.dumps({key: value for key, value in stated.items() if value is not None})
    try:
        kind.validate_json(content, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        key = problem["loc"][0]
        raise BackboneError(
            f"{where}: {what}.{key} is {shown_value(stated[str(key)])}: {problem['msg']}; correct it"
        ) from error


def _refuse_unknown(stated: Mapping[str, Any], known: Collection[str], where: str, what: str) -> None:
    for key in stated:
        if key not in known:
            raise BackboneError(
                f"{where}: {what}.{key}: open_clip {open_clip.__version__} does not know this key"
                f"{nearest(key, known)}; correct it, or install the open_clip_torch that wrote it"
            )
