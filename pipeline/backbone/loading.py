"""From options to a frozen backbone, refusing what open_clip does not know or would silently draw at random."""

import difflib
import hashlib
import logging
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from safetensors import SafetensorError

from pipeline.backbone.model import Backbone, Model
from pipeline.backbone.options import RANDOM, BackboneOptions
from pipeline.errors import BackboneError
from pipeline.freed_memory import keep_freed_memory

LOCAL, HUB = "local-dir:", "hf-hub:"


def load_backbone(options: BackboneOptions) -> Backbone:
    """Load the model that the options name, frozen, on its device.

    Random weights are a choice, never an accident: they need `weights: random`, and are drawn from `seed`. On a CPU
    the process keeps freed memory from now on, see `keep_freed_memory`.

    Raises:
        BackboneError: the model, its weights or its tokenizer is unknown or does not fit.
    """
    if options.weights == RANDOM:
        model, source = _random_model(options), f"random seed {options.seed}"
    else:
        model = _pretrained_model(options)
        source = _weights_sha256(model)
    visual = model.visual
    usable = isinstance(visual, TimmModel) or (
        isinstance(visual, VisionTransformer) and visual.attn_pool is None
    )
    if not usable:
        raise BackboneError(
            f"backbone.model: {options.model} has no patch tokens that its head can pool one by one; "
            "choose a model with a ViT vision tower, such as ViT-B-16-SigLIP"
        )
    backbone = Backbone(model, options, source)
    if backbone.device.type == "cpu":
        keep_freed_memory()
    return backbone


def _random_model(options: BackboneOptions) -> Model:
    _check_known(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return _create(options, load_weights=False, pretrained_text=False)


def _pretrained_model(options: BackboneOptions) -> Model:
    _check_known(options)
    own_weights = options.model.startswith((LOCAL, HUB))
    if own_weights and options.weights is not None:
        raise BackboneError(
            f"backbone.weights: {options.model} brings its own weights; set weights to null, "
            f"or to '{RANDOM}' for random ones (got {options.weights!r})"
        )
    if not own_weights:
        _check_weights(options)
    return _create(options, pretrained=options.weights, require_pretrained=True)


def _create(options: BackboneOptions, **arguments: Any) -> Model:
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # open_clip warns about random weights, which are asked for by name here.
    try:
        model: Model = open_clip.create_model(
            options.model, precision=options.precision, device=options.device, **arguments
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise BackboneError(f"backbone.model: {options.model} cannot be loaded: {reason}") from error
    finally:
        quiet.setLevel(level)
    return model


def _check_known(options: BackboneOptions) -> None:
    name = options.model
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not (folder / "open_clip_config.json").is_file():
            raise BackboneError(
                f"backbone.model: {folder} holds no open_clip_config.json; give the folder of an open_clip model"
            )
    elif not name.startswith(HUB) and name not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "open_clip.list_models() names them all"
        raise BackboneError(f"backbone.model: open_clip has no model {name!r}; {hint}")


def _check_weights(options: BackboneOptions) -> None:
    tags = open_clip.list_pretrained_tags_by_model(options.model)
    if options.weights is None:
        raise BackboneError(
            f"backbone.weights: {options.model} needs weights: one of {', '.join(tags) or 'no tags'}, "
            f"the path of a file, or '{RANDOM}' to ask for random weights"
        )
    if options.weights not in tags and not Path(options.weights).is_file():
        raise BackboneError(
            f"backbone.weights: {options.weights!r} is neither a file nor a tag of {options.model}; its tags are "
            f"{', '.join(tags) or 'none'}, and '{RANDOM}' asks for random weights"
        )


def _weights_sha256(model: Model) -> str:
    """SHA-256 over all tensors in the order of their names: the same however the weights were stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
