"""What every SAE of pairs answers: encode a side, decode it, the losses of a batch of pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.sae.centring import PositionalCentring
from pipeline.sae.image_level import ImageLevelReadout
from pipeline.sae.linear_decoder import LinearDecoder
from pipeline.sae.losses import Losses
from pipeline.sae.moments import SideMoments
from pipeline.sae.options import SHARED_WEIGHTS, ArchitectureOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.reader import READERS, CentredReader, PairReader
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.whitening import SideWhitening, Whitening
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.options import TransportOptions

if TYPE_CHECKING:
    from cache import PairBatch

EncodeMode = Literal["full_joint", "full_global", "shared", "private"]


class SparseAutoencoder(nn.Module, ABC):
    """A sparse autoencoder over both sides of a pair. Activations come and go in raw cache units.

    They come as its `reader` reads them, and `reader.restored` gives back what they were before.
    """

    options: ArchitectureOptions
    image_level: ImageLevelReadout | None
    """With `ImageLevelOptions`, the shared latents of whole images, which follow the `shared_width` of patches."""
    centring: PositionalCentring | None
    """With `centring: position`, what is taken away from every token that is read."""
    whitening: Whitening | None
    """With `WhiteningOptions`, what it learns from is whitened by this; None once it is folded into the weights."""
    vision_channels: int
    """Width of what it reads of an image; `text_channels` of a caption."""
    text_channels: int
    shared_width: int
    """Number of latents that mean the same on both sides: columns 0 .. shared_width - 1 of either."""
    private_width: int = 0
    """Number of latents per side that follow them."""
    shared_budget: int | None = None
    """Active shared latents of a token in the mean, where tokens differ in it; None if their codes are that wide."""
    apart: bool = False
    """Whether the sides learn apart for now, see `MatchingOptions`; training says so."""
    confidence: Float[Tensor, " latent"]
    """With `MatchingOptions`, how sure each match is: the correlation of the two sides of a latent; 0 if unmatched."""
    transport_options: TransportOptions = TransportOptions()
    """How a pair's patches and tokens are matched by their shared codes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_module("image_level", None)
        self.register_module("centring", None)
        self.register_module("whitening", None)

    @property
    def item_width(self) -> int:
        """Number of latents that an image and a caption have in common: shared ones, then image-level ones."""
        return self.shared_width + (0 if self.image_level is None else len(self.image_level))

    @property
    def reader(self) -> PairReader:
        """What reads pairs for it."""
        return READERS[self.options.reads] if self.centring is None else CentredReader(self.centring)

    def learned_from(self, batch: PairBatch) -> Pairs:
        """Read a cached batch as it is learned from: whitened until `fold_whitening`; on its device."""
        pairs = self.reader.pairs(batch)
        return pairs if self.whitening is None else self.whitening.whitened(pairs)

    @abstractmethod
    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """Set scales and biases from a cache's exact statistics, once, before training."""

    @abstractmethod
    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Encode a side's activations [token, channel], float32, raw cache units.

        Raises:
            ConfigError: the model has no codes of this mode.
        """

    @abstractmethod
    def decoder(self, side: Side) -> LinearDecoder:
        """Hand out what decodes a side."""

    @abstractmethod
    def losses(self, pairs: Pairs) -> Losses:
        """Compute everything that a training step needs of a batch of pairs."""

    def decode(self, side: Side, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Reconstruct a side's activations, raw cache units."""
        return self.decoder(side).decode(codes)

    def directions(self, side: Side) -> Float[Tensor, "latent channel"]:
        """Show which way each latent moves a side's activations; how far is up to the dictionary."""
        return self.decoder(side).directions

    def encoder_directions(self, side: Side) -> Float[Tensor, "latent channel"] | None:
        """Show along which direction each latent reads a side's activations; None if there is no such direction."""
        return None

    def begin_with(self, side: Side, directions: Float[Tensor, "latent channel"]) -> None:
        """Let a side's encoder and decoder begin with these directions, of unit length.

        Raises:
            ConfigError: the architecture has no such start.
        """
        raise ConfigError(f"{self.options.architecture}: has no start but a random one")

    def reindex(self, side: Side, order: Int64[Tensor, " latent"]) -> None:
        """Renumber a side's latents: latent i becomes what latent order[i] was.

        Raises:
            ConfigError: the dictionary is not `reindexable`.
        """
        raise ConfigError(f"{self.options.architecture}: {SHARED_WEIGHTS}")

    def fold_whitening(self) -> None:
        """Fold the whitening into the weights, if there is one: from then on both sides are read raw."""
        if self.whitening is not None:
            for side in SIDES:
                self.fold(side, self.whitening.of(side))
            self.whitening = None

    def fold(self, side: Side, whitening: SideWhitening) -> None:
        """Change a side's weights so that raw activations get the codes of whitened ones, and codes decode to raw ones.

        Raises:
            ConfigError: the dictionary is not `foldable`.
        """
        raise ConfigError(f"{self.options.architecture}: whitening cannot be folded into its weights")

    def after_backward(self) -> None:
        """Care for the gradients, between `backward` and gradient clipping; by default not at all."""

    def after_step(self) -> None:
        """Care for the weights after the optimiser's step; by default not at all."""
