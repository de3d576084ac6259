"""How an SAE is saved and loaded.

A saved SAE is a folder of two plain files: `model.safetensors` with every weight and buffer, and `config.json`
with the options and widths it was built from and what it was trained on.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cache import shown_text
from pipeline.errors import ConfigError, RunError
from pipeline.runs.config import CONFIG_FILE, RETRAIN
from pipeline.runs.model_file import MODEL_FILE
from pipeline.runs.seal import check_seal, read_unchecked, write_sealed
from pipeline.runs.tensor_file import Layout, read_header, read_tensors, write_tensors
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import build_sae

VERSION = 2
"""Of the files of a saved SAE; those of version 1 had no checksums and said nothing of their training."""

_KEYS = ("version", "options", "vision_channels", "text_channels", "training")
_EMBEDDING = "embedding"
"""The key of a dictionary with image-level latents."""
_POSITIONS = ("patches", "context_length")
"""The keys of a dictionary that is centred by position: how many an image and a caption have."""


def save_sae(
    sae: SparseAutoencoder,
    folder: Path,
    training: Mapping[str, Any] | None = None,
    curves: Mapping[str, str] | None = None,
) -> None:
    """Write the SAE into `folder`, creating it; either file is whole or as it was, and carries a checksum of itself.

    The model file repeats the configuration in its header, so that a mixture of two saves is noticed.

    Args:
        sae: what is saved.
        folder: of the run.
        training: see `training_identity`; without it, no stage will measure the run.
        curves: see `curve_digests`; apart, since they decide nothing of the model.

    Raises:
        RunError: a file cannot be written.
    """
    config = {
        "version": VERSION,
        "options": sae.options.model_dump(mode="json"),
        "vision_channels": sae.vision_channels,
        "text_channels": sae.text_channels,
        "training": None if training is None else dict(training),
    }
    if sae.image_level is not None:
        config[_EMBEDDING] = sae.image_level.embedding
    if sae.centring is not None:
        config |= dict(zip(_POSITIONS, sae.centring.positions, strict=True))
    write_tensors(folder / MODEL_FILE, sae.state_dict(), {"config": json.dumps(config, sort_keys=True)})
    write_sealed(folder / CONFIG_FILE, config | ({} if curves is None else {"curves": dict(curves)}))


def load_sae(folder: Path) -> SparseAutoencoder:
    """Load the SAE that `save_sae` wrote into `folder`, on the CPU and in evaluation mode.

    Nothing is allocated that the model file does not hold.

    Raises:
        RunError: a file is missing, cannot be read, does not fit the other, or is not what was written; or a weight is
            not finite.
    """
    absent = [name for name in (CONFIG_FILE, MODEL_FILE) if not os.path.lexists(folder / name)]
    if absent:
        remedy = RETRAIN if len(absent) == 1 else "train this variant first (`concord train`)"
        raise RunError(f"{folder / absent[0]}: no such file; {remedy}")
    config, model = _read_config(folder / CONFIG_FILE), folder / MODEL_FILE
    header = read_header(model, RETRAIN)
    _refuse_other_layouts(model, header.layouts, _expected_layouts(folder / CONFIG_FILE, config))
    if header.texts.get("config") != json.dumps(config, sort_keys=True):
        raise RunError(f"{folder}: {MODEL_FILE} and {CONFIG_FILE} are of different runs; {RETRAIN}")
    state = read_tensors(model, RETRAIN)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise RunError(f"{model}: tensor {name} has values that are not finite; {RETRAIN}")
    for name in (CONFIG_FILE, MODEL_FILE):
        check_seal(folder / name, RETRAIN)
    sae = _built(config)
    sae.load_state_dict(state)
    return sae.eval()


def _read_config(path: Path) -> dict[str, Any]:
    """The part of the configuration that the model file repeats."""
    config = read_unchecked(path, RETRAIN)
    version = config.get("version", "of an earlier release")
    if version != VERSION:
        raise RunError(
            f"{path}: version {version!r:.80}, and this software reads version {VERSION}; {RETRAIN}"
        )
    absent = [key for key in _KEYS if key not in config]
    if absent:
        raise RunError(f"{path}: has no key {absent[0]}; {RETRAIN}")
    return {key: config[key] for key in (*_KEYS, _EMBEDDING, *_POSITIONS) if key in config}


def _built(config: Mapping[str, Any]) -> SparseAutoencoder:
    widths = (config["vision_channels"], config["text_channels"])
    patches, context_length = (config.get(key) for key in _POSITIONS)
    positions = (patches, context_length) if patches and context_length else None
    return build_sae(config["options"], *widths, embedding=config.get(_EMBEDDING), positions=positions)


def _expected_layouts(path: Path, config: Mapping[str, Any]) -> dict[str, Layout]:
    """Of all tensors of such an SAE; none of them is allocated."""
    for key in ("vision_channels", "text_channels", _EMBEDDING, *_POSITIONS):
        if key in config and (type(config[key]) is not int or config[key] < 1):
            what = "positions" if key in _POSITIONS else "channels"
            raise RunError(f"{path}: {key} is {config[key]!r:.80}, not a number of {what}; {RETRAIN}")
    try:
        with torch.device("meta"):
            return {name: Layout.of(tensor) for name, tensor in _built(config).state_dict().items()}
    except ConfigError as error:
        raise RunError(f"{path}: {shown_text(error)}; {RETRAIN}") from None
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:  # sizes beyond any tensor
        raise RunError(
            f"{path}: describes no SAE that can be built ({shown_text(error)}); {RETRAIN}"
        ) from None


def _refuse_other_layouts(path: Path, found: Mapping[str, Layout], expected: Mapping[str, Layout]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise RunError(
                f"{path}: tensor {name} is missing; {CONFIG_FILE} asks for {expected[name]}; {RETRAIN}"
            )
        if name not in expected:
            raise RunError(f"{path}: has a tensor {name!r:.80} that {CONFIG_FILE} does not know; {RETRAIN}")
        if found[name] != expected[name]:
            raise RunError(
                f"{path}: tensor {name} is {found[name]}, and {CONFIG_FILE} asks for {expected[name]}; {RETRAIN}"
            )
