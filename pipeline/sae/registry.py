"""Which SAEs there are, by the name of their architecture. A new one is a module of its own and a record here."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pipeline.config import Options
from pipeline.errors import ConfigError
from pipeline.sae.options import ArchitectureOptions

if TYPE_CHECKING:
    from pipeline.sae.base import SparseAutoencoder


class Architecture(NamedTuple):
    """Where its two classes stand, as `module:name`; they are imported when one asks for them.

    Attributes:
        options: the typed options, of a base class `ArchitectureOptions`.
        model: the SAE, called as `model(options, vision_channels, text_channels, seed)`.
    """

    options: str
    model: str


ARCHITECTURES: Mapping[str, Architecture] = {
    "lucid": Architecture("pipeline.sae.lucid.options:LucidOptions", "pipeline.sae.lucid.model:LucidSAE"),
    "vl_sae": Architecture("pipeline.sae.vl_sae.options:VLSAEOptions", "pipeline.sae.vl_sae.model:VLSAE"),
    "sparc": Architecture("pipeline.sae.sparc.options:SparcOptions", "pipeline.sae.sparc.model:SparcSAE"),
}


def options_type(architecture: str) -> type[ArchitectureOptions]:
    """Find the type of the options of an architecture that there is."""
    return cast(type[ArchitectureOptions], _imported(ARCHITECTURES[architecture].options))


def architecture_options(values: Options | Mapping[str, Any]) -> ArchitectureOptions:
    """Check an architecture's options, or plain values with the key `architecture`.

    Raises:
        ConfigError: the architecture does not exist, or a value is out of range.
    """
    if isinstance(values, ArchitectureOptions):
        return values
    given = values.model_dump() if isinstance(values, Options) else dict(values)
    name = str(given.get("architecture"))
    if name not in ARCHITECTURES:
        raise ConfigError(f"architecture: no such SAE as {name!r}; there are {', '.join(ARCHITECTURES)}")
    return options_type(name).parse(given, "sae")


def build_sae(
    options: Options | Mapping[str, Any],
    vision_channels: int,
    text_channels: int,
    seed: int = 0,
    embedding: int | None = None,
    positions: tuple[int, int] | None = None,
) -> "SparseAutoencoder":
    """Build a new SAE with random weights drawn from `seed`.

    Args:
        options: an architecture's options, or plain values with the key `architecture`.
        vision_channels: width of what it reads of an image: of a patch, or of a pooled embedding.
        text_channels: width of what it reads of a caption. `PairReader.channels` knows both.
        seed: decides the weights.
        embedding: width of the images' pooled embeddings, for its image-level latents; without it there are none.
        positions: how many an image and a caption have at most, for centring by position; without it there is none.

    Raises:
        ConfigError: the architecture does not exist, a value is out of range, or the widths do not fit the options.
    """
    checked = architecture_options(options)
    model = _imported(ARCHITECTURES[checked.architecture].model)
    sae = cast("SparseAutoencoder", model(checked, vision_channels, text_channels, seed))
    if checked.latents_of_images is not None and embedding is not None:
        readout = _imported("pipeline.sae.image_level:ImageLevelReadout")
        sae.image_level = readout(checked.latents_of_images, embedding)
    if checked.centring == "position" and positions is not None:
        widths = (vision_channels, text_channels)
        sae.centring = _imported("pipeline.sae.centring:PositionalCentring")(positions, widths)
    return sae


def _imported(place: str) -> Any:
    module, name = place.split(":")
    return getattr(importlib.import_module(module), name)
