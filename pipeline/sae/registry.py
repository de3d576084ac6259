"""Which SAEs there are, by the name of their architecture; how one is built, saved and loaded.

A saved SAE is a folder of two plain files: `model.safetensors` with every weight and buffer, and `config.json`
with the options and widths it was built from.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cache import Manifest
from pipeline.config import Options
from pipeline.errors import ConfigError, RunError
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid import LucidOptions, LucidSAE
from pipeline.sae.vl_sae import VLSAE, VLSAEOptions

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


ARCHITECTURES: Mapping[str, tuple[type[Options], Callable[..., SparseAutoencoder]]] = {
    "lucid": (LucidOptions, LucidSAE),
    "vl_sae": (VLSAEOptions, VLSAE),
}
"""Per name the typed options and the module, called as `module(options, vision_channels, text_channels, seed)`."""


def build_sae(
    options: Options | Mapping[str, Any], vision_channels: int, text_channels: int, seed: int = 0
) -> SparseAutoencoder:
    """A new SAE with random weights drawn from `seed`.

    Args:
        options: an architecture's options, or plain values with the key `architecture`.
        vision_channels: width of what it reads of an image: of a patch, or of a pooled embedding.
        text_channels: width of what it reads of a caption. `input_channels` knows both.

    Raises:
        ConfigError: the architecture does not exist, a value is out of range, or the widths do not fit the options.
    """
    values = options.model_dump() if isinstance(options, Options) else dict(options)
    name = str(values.get("architecture"))
    if name not in ARCHITECTURES:
        raise ConfigError(f"architecture: no such SAE as {name!r}; there are {', '.join(ARCHITECTURES)}")
    options_type, module = ARCHITECTURES[name]
    return module(options_type.parse(values, "sae"), vision_channels, text_channels, seed)


def input_channels(options: Options, manifest: Manifest) -> tuple[int, int]:
    """Widths of what an SAE of these options reads of an image and of a caption of this cache."""
    if isinstance(options, VLSAEOptions) and options.inputs == "pooled":
        return manifest.embedding, manifest.embedding
    return manifest.vision_channels, manifest.text_channels


def save_sae(sae: SparseAutoencoder, folder: Path) -> None:
    """Write the SAE into `folder`, creating it; either file is whole or not there, also after a crash.

    The model file repeats the configuration in its header, so that a mixture of two saves is noticed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "options": sae.options.model_dump(mode="json"),
        "vision_channels": sae.vision_channels,
        "text_channels": sae.text_channels,
    }
    header = {"config": json.dumps(config, sort_keys=True)}
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in sae.state_dict().items()}
    _replace(folder / MODEL_FILE, save(state, header))
    _replace(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())


def load_sae(folder: Path) -> SparseAutoencoder:
    """The SAE that `save_sae` wrote into `folder`, on the CPU and in evaluation mode.

    Raises:
        RunError: a file is missing, cannot be read, or does not fit the other.
    """
    for name in (CONFIG_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise RunError(f"{folder / name}: no such file; train this variant first (`concord train`)")
    config = _read_config(folder / CONFIG_FILE)
    sae = build_sae(config["options"], config["vision_channels"], config["text_channels"])
    header, state = _read_model(folder / MODEL_FILE)
    if header != json.dumps(config, sort_keys=True):
        raise RunError(
            f"{folder}: {MODEL_FILE} and {CONFIG_FILE} are of different runs; train the variant again"
        )
    sae.load_state_dict(state)
    return sae.eval()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error}); train the variant again") from None
    keys = {"options", "vision_channels", "text_channels"}
    if not isinstance(config, dict) or set(config) != keys:
        raise RunError(f"{path}: expected the keys {', '.join(sorted(keys))}; train the variant again")
    return config


def _read_model(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
            return stored.metadata()["config"], tensors
    except (SafetensorError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a saved SAE ({error}); train the variant again") from None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
