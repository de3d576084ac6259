"""The latents that are named: those of places in a picture, and image-level ones, which read a picture as a whole."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cache import PairBatch
from pipeline.interpretation.peaks import Peaks, image_peaks, peaks
from pipeline.metrics.options import Pooling
from pipeline.metrics.pooling import pool
from pipeline.not_finite import refuse_not_finite
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.image_level import ImageLevelReadout
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes


class Level(ABC):
    """Latents of a dictionary that read pictures alike, numbered from 0 in the codes that it gives.

    Attributes:
        numbers: of each latent, as `latents.parquet` gives them.
        confidence: how well each latent's score of a picture tells the largest code of its captions, the correlation on
            training pairs; None where the sides have a code in common and no such fit.
        has_places: whether a latent's peak in a picture is at a patch.
    """

    numbers: Sequence[int]
    confidence: Sequence[float | None]
    has_places: bool

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.sae = sae

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def device(self) -> torch.device:
        """Where the dictionary computes."""
        return next(self.sae.parameters()).device

    @abstractmethod
    def of_images(self, batch: PairBatch, chosen: Bool[Tensor, " pair"]) -> tuple[SparseCodes, Peaks]:
        """Encode the pictures of some pairs: codes of equally many rows each, and their peaks.

        Raises:
            RunError: an activation or a code is not finite.
        """

    @abstractmethod
    def of_tokens(self, rows: Float[Tensor, "token channel"]) -> SparseCodes:
        """Encode what the dictionary reads of captions, on its device."""

    @abstractmethod
    def of_terms(
        self, codes: SparseCodes, offsets: Int64[Tensor, " term_plus_1"], pooling: Pooling
    ) -> Float[Tensor, "term latent"]:
        """Pool the codes of tokens to those of terms; `pooling` says how, unless the level demands another way."""

    def of_captions(self, batch: PairBatch) -> Peaks:
        """Find the peaks in the captions of a batch's pairs.

        Raises:
            RunError: an activation or a code is not finite.
        """
        pairs = self.sae.reader.pairs(batch)
        rows = pairs.text.to(self.device)
        codes = self.of_tokens(rows)
        _refuse_not_finite("text", batch, rows, codes)
        return peaks(codes, pairs.text_offsets.to(self.device), len(self))


class PlacedLatents(Level):
    """The shared latents; a dictionary of pooled embeddings has one place, the whole picture."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        super().__init__(sae)
        self.numbers = range(sae.shared_width)
        self.confidence = [None] * sae.shared_width
        self.has_places = sae.reader.knows_places

    def of_images(self, batch: PairBatch, chosen: Bool[Tensor, " pair"]) -> tuple[SparseCodes, Peaks]:
        """Encode their patches."""
        activations = self.sae.reader.pairs(batch).vision[chosen].to(self.device)
        codes = self.sae.encode("vision", activations.flatten(0, 1), "shared")
        _refuse_not_finite("vision", batch, activations, codes)
        return codes, image_peaks(codes, len(activations), len(self))

    def of_tokens(self, rows: Float[Tensor, "token channel"]) -> SparseCodes:
        """Give the shared codes."""
        return self.sae.encode("text", rows, "shared")

    def of_terms(
        self, codes: SparseCodes, offsets: Int64[Tensor, " term_plus_1"], pooling: Pooling
    ) -> Float[Tensor, "term latent"]:
        """Pool as asked."""
        return pool(codes, offsets, len(self), pooling)


class ImageLevelLatents(Level):
    """The image-level latents; their numbers are those of the private latents of text that they are read from."""

    has_places = False

    def __init__(self, sae: SparseAutoencoder, readout: ImageLevelReadout) -> None:
        super().__init__(sae)
        self._readout = readout
        self.numbers = readout.latents.tolist()
        self.confidence = readout.confidence.tolist()
        self._places = torch.full((sae.shared_width + sae.private_width,), -1, device=self.device)
        self._places[readout.latents] = torch.arange(len(readout), device=self.device)

    def of_images(self, batch: PairBatch, chosen: Bool[Tensor, " pair"]) -> tuple[SparseCodes, Peaks]:
        """Score their pooled embeddings; a picture is one row."""
        embeddings = batch.vision_pooled[chosen].to(self.device)
        codes = self._readout.encode(embeddings)
        _refuse_not_finite("vision", batch, embeddings, codes)
        return codes, image_peaks(codes, len(embeddings), len(self))

    def of_tokens(self, rows: Float[Tensor, "token channel"]) -> SparseCodes:
        """Give the private codes of just these latents."""
        codes = self.sae.encode("text", rows, "private")
        places = self._places[codes.indices]
        return SparseCodes(codes.values * (places >= 0), places.clamp(min=0))

    def of_terms(
        self, codes: SparseCodes, offsets: Int64[Tensor, " term_plus_1"], pooling: Pooling
    ) -> Float[Tensor, "term latent"]:
        """Take the largest code of a term's tokens, which is what scores of pictures were fitted to."""
        return pool(codes, offsets, len(self), "max")


def levels_of(sae: SparseAutoencoder) -> list[Level]:
    """List the levels that a dictionary has: its shared latents, and the image-level ones if there are any."""
    placed = PlacedLatents(sae)
    return [placed] if sae.image_level is None else [placed, ImageLevelLatents(sae, sae.image_level)]


def _refuse_not_finite(side: Side, batch: PairBatch, activations: Tensor, codes: SparseCodes) -> None:
    for what, values in (("activations", activations), ("codes", codes.values)):
        refuse_not_finite(
            f"the {side} {what} of the pairs {int(batch.pair[0])} to {int(batch.pair[-1])}", values
        )
