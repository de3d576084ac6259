"""What every SAE of pairs answers: encode and decode a side, the losses of a batch, care for its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.sae.dictionary import SideMoments
from pipeline.sae.extents import Extents
from pipeline.sae.losses import Losses
from pipeline.sae.options import ArchitectureOptions, Inputs
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.plan import TransportPlan

if TYPE_CHECKING:
    from cache import PairBatch


EncodeMode = Literal["full_joint", "full_global", "shared", "private"]


class SparseAutoencoder(nn.Module, ABC):
    """A sparse autoencoder over both sides of a pair. Activations come and go in raw cache units."""

    options: ArchitectureOptions
    inputs: Inputs = "tokens"
    """What it reads of a pair; with "pooled" a side's tokens below are its pooled embeddings, one per pair."""
    vision_channels: int
    """Width of what it reads of an image; `text_channels` of a caption."""
    text_channels: int
    shared_width: int
    """Number of latents that mean the same on both sides: columns 0 .. shared_width - 1 of either."""
    private_width: int
    """Number of latents per side that follow them."""

    @abstractmethod
    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """Set scales and biases from a cache's exact statistics, once, before training."""

    @abstractmethod
    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Codes of a side's activations [token, channel], float32, raw cache units.

        Raises:
            ConfigError: the model has no codes of this mode.
        """

    @abstractmethod
    def decode(self, side: Side, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Reconstructed activations of a side, raw cache units."""

    @abstractmethod
    def transport(
        self,
        vision_codes: SparseCodes,
        text_codes: SparseCodes,
        text_offsets: Int64[Tensor, " pair_plus_1"],
        patches: int,
    ) -> TransportPlan:
        """How each pair's patches and tokens are matched, by their shared codes."""

    @abstractmethod
    def cross_reconstruct(
        self, target: Side, codes: SparseCodes, plan: TransportPlan
    ) -> Float[Tensor, "target_token channel"]:
        """The target side's activations, raw cache units, from the other side's codes through the plan."""

    @abstractmethod
    def extents(self, batch: PairBatch) -> Extents:
        """The sizes of a training step on this batch; a GPU has to be waited for."""

    @abstractmethod
    def losses(
        self,
        batch: PairBatch,
        extents: Extents | None = None,
    ) -> Losses:
        """Everything a training step needs of a batch of pairs.

        Args:
            batch: `text_tokens` may have rows after `text_offsets[-1]`, of any finite content; they are not counted.
            extents: by default those of the batch; larger ones change no result beyond rounding.
        """

    @abstractmethod
    def project_gradients(self) -> None:
        """To be called between `backward` and gradient clipping."""

    @abstractmethod
    def normalise_weights(self) -> None:
        """To be called after the optimiser's step."""
