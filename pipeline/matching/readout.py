"""Fits image-level latents: one ridge regression from pictures' embeddings to what their captions' tokens fire."""

import torch
from jaxtyping import Float
from torch import Tensor

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.matching.deviation import inverse_deviation
from pipeline.sae.base import SparseAutoencoder


class RegressionMoments:
    """Moments of inputs and targets over pairs, float64, from which every ridge regression between them follows."""

    def __init__(self, inputs: int, targets: int, device: torch.device) -> None:
        self._pairs = 0
        self._sums = torch.zeros(inputs + targets, dtype=torch.float64, device=device)
        self._inputs = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self._crossed = torch.zeros(inputs, targets, dtype=torch.float64, device=device)
        self._squares = torch.zeros(targets, dtype=torch.float64, device=device)
        self._fired = torch.zeros(targets, dtype=torch.float64, device=device)

    def update(self, inputs: Float[Tensor, "pair input"], targets: Float[Tensor, "pair target"]) -> None:
        """Add pairs."""
        x, y = inputs.double(), targets.double()
        self._pairs += len(x)
        self._sums += torch.cat([x, y], dim=1).sum(dim=0)
        self._inputs += x.T @ x
        self._crossed += x.T @ y
        self._squares += y.square().sum(dim=0)
        self._fired += (y > 0).sum(dim=0)

    @property
    def fired(self) -> Float[Tensor, " target"]:
        """The share of the pairs that fire each target."""
        return self._fired / max(1, self._pairs)

    def ridge(
        self, strength: float
    ) -> tuple[Float[Tensor, "target input"], Float[Tensor, " target"], Tensor]:
        """Regress every target on the inputs, both scaled to variance 1.

        Returns:
            Weights and biases of scores with mean 0 and variance 1 over the pairs, and the correlation [target] of each
            score with its target; all 0 of a target that does not vary, or that the inputs tell nothing of.
        """
        count = max(1, self._pairs)
        means, inputs = self._sums / count, len(self._inputs)
        x_mean, y_mean = means[:inputs], means[inputs:]
        covariance = self._inputs / count - torch.outer(x_mean, x_mean)
        to_unit = inverse_deviation(self._inputs.diagonal() / count, x_mean)
        of_targets = inverse_deviation(self._squares / count, y_mean)
        correlation = covariance * torch.outer(to_unit, to_unit)
        crossed = (self._crossed / count - torch.outer(x_mean, y_mean)) * torch.outer(to_unit, of_targets)
        regular = correlation + strength * torch.eye(
            len(correlation), dtype=torch.float64, device=crossed.device
        )
        solution = torch.linalg.solve(regular, crossed)
        spread = (solution * (correlation @ solution)).sum(dim=0).clamp_min(0).sqrt()
        weight = (solution * _inverse(spread)).T * to_unit
        return weight, -weight @ x_mean, (solution * crossed).sum(dim=0) * _inverse(spread)


@torch.no_grad()
def fit_image_level(sae: SparseAutoencoder, cache: ActivationCache, batch_pairs: int) -> None:
    """Choose the image-level latents of a trained dictionary and fit what reads them; does nothing if it has none.

    Of the private latents of text those are taken of which the image's embedding explains most: the correlation counts
    times the deviation of the latent's firing, so that a latent of many captions comes before one of few. One that the
    embeddings tell nothing of, such as a dead one, stays silent in pictures, with a confidence of 0. Fit on the pairs
    that the dictionary was trained on, never on those it is judged by.

    Raises:
        RunError: the embeddings tell nothing of any.
        CacheError: the cache cannot be read.
    """
    readout = sae.image_level
    if readout is None:
        return
    device = next(sae.parameters()).device
    moments = RegressionMoments(readout.embedding, sae.options.latents, device)
    for batch in cache.iterate(batch_pairs):
        pairs = sae.reader.pairs(batch).to(device)
        codes = sae.encode("text", pairs.rows("text"), "private")
        largest = pairs.largest_codes("text", codes, sae.options.latents)
        moments.update(batch.vision_pooled.to(device), largest)
    weight, bias, correlation = moments.ridge(readout.options.ridge)
    gain = correlation * (moments.fired * (1 - moments.fired)).sqrt()
    private = gain[sae.shared_width :]
    order = sae.shared_width + torch.sort(private, descending=True, stable=True).indices[: len(readout)]
    if not gain[order[0]] > 0:
        raise RunError(
            f"sae.image_level: {cache} has no private latent of text that an image's embedding tells anything of; "
            "train longer, or leave image-level latents out"
        )
    for name, values in (("latents", order), ("weight", weight[order]), ("bias", bias[order])):
        getattr(readout, name).copy_(values)
    readout.confidence.copy_(correlation[order])


def _inverse(scale: Tensor) -> Tensor:
    """`1 / scale`, and 0 where nothing varies beyond rounding."""
    still = scale <= 1e-12 * scale.max().clamp_min(torch.finfo(scale.dtype).tiny)
    return scale.masked_fill(still, torch.inf).reciprocal()
