"""How much of the activations a dictionary explains: R2 of each side, from its own codes and across sides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from cache import StorageDtype
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.crossing import cross_reconstruct
from pipeline.sae.sides import SIDES, Side, other_side

ROUNDING: Mapping[StorageDtype, float] = {
    "float32": 2**-18,
    "float16": 2**-11,
    "bfloat16": 2**-8,
    "int8": 2**-7,
}
"""What rounding alone may do to an activation, as a share of it: half a step of the stored number. In float32 that is
2^-24, but the sums of a forward pass, of up to some 4,096 products, leave 64 times as much."""


class VarianceMeter:
    """R2 of several reconstructions of one side (LUCID, arXiv 2602.07311, A.1), over all its valid tokens.

    R2 = 1 - sum |h - h_hat|^2 / sum |h - mean h|^2, sums over tokens and channels, the mean over the evaluated
    tokens. Sums are float64 in one pass: the total is taken about a nearby `centre` and corrected by the mean's
    distance from it, which loses nothing when the centre is close to the mean.

    Args:
        centre: Near the mean of the tokens.
        rounding: Relative error of a stored activation. Tokens that differ by no more than that do not vary, and have
            no R2: of rounding errors a dictionary can explain nothing.
    """

    def __init__(self, centre: Float64[Tensor, "channel"], rounding: float = ROUNDING["float32"]) -> None:
        self._centre = centre
        self._rounding = rounding
        self._count = 0
        self._sum = torch.zeros_like(centre)
        self._squares = 0.0
        self._errors: dict[str, float] = {}

    def update_target(self, target: Float[Tensor, "token channel"]) -> None:
        """Add the activations that are to be explained."""
        shifted = target.double() - self._centre
        self._count += len(target)
        self._sum += shifted.sum(dim=0)
        self._squares += float(shifted.square().sum())

    def update(
        self,
        name: str,
        target: Float[Tensor, "token channel"],
        reconstruction: Float[Tensor, "token channel"],
    ) -> None:
        """Add the squared error of the reconstruction called `name`."""
        error = float((target - reconstruction).double().square().sum())
        self._errors[name] = self._errors.get(name, 0.0) + error

    def r2(self) -> dict[str, float]:
        """R2 of every reconstruction; empty where the activations do not vary."""
        total = self._squares - float(self._sum.square().sum()) / max(1, self._count)
        if total <= self._rounding**2 * self._squares_about_zero:
            return {}
        return {name: 1.0 - error / total for name, error in self._errors.items()}

    @property
    def _squares_about_zero(self) -> float:
        moved = 2 * self._sum @ self._centre + self._count * self._centre @ self._centre
        return self._squares + float(moved)


class ReconstructionMeter(Meter):
    """The `reconstruction` part of metrics.json (LUCID, tables 2 and 6).

    Args:
        sae: The dictionary.
        means: float64 [channel] per side, close to the mean activation of the evaluated tokens.
        stored_as: How the activations are stored.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        means: Mapping[Side, Float64[np.ndarray, "channel"]],
        stored_as: StorageDtype,
    ) -> None:
        device = next(sae.parameters()).device
        self._sae = sae
        self._meters = {
            side: VarianceMeter(torch.tensor(means[side], device=device), ROUNDING[stored_as])
            for side in SIDES
        }

    def update(self, encoded: EncodedBatch) -> None:
        """Add a batch: each side from its own codes in every mode, and from the other side's through the plan.

        The plan always comes from shared codes; `full` decodes the other side's full codes, private ones by the
        target's private latents of the same number, so that `leak` shows what private codes carry across.
        """
        for side in SIDES:
            meter, target, other = self._meters[side], encoded.activations(side), other_side(side)
            meter.update_target(target)
            for mode, codes in encoded.codes[side].items():
                meter.update(f"{side}/{mode}", target, self._sae.decode(side, codes))
            cross_modes: dict[str, EncodeMode] = {"shared": "shared", "full": encoded.full_mode}
            for name, mode in cross_modes.items():
                crossed = cross_reconstruct(self._sae, side, encoded.codes[other][mode], encoded.plan)
                meter.update(f"{other}_to_{side}/{name}", target, crossed)

    def result(self) -> dict[str, Any]:
        """R2 per side and mode, and across sides of `shared`, `full` and, with private latents, `leak`.

        A side without variance has no R2, neither from its own codes nor from the other side's.
        """
        result: dict[str, Any] = {}
        for side in SIDES:
            own, across = side, f"{other_side(side)}_to_{side}"
            r2 = self._meters[side].r2()
            if not r2:
                still = NotDefined(f"the {side} activations of this split do not vary beyond rounding")
                result |= {own: still, across: still}
                continue
            for part in (own, across):
                start = f"{part}/"
                result[part] = {
                    name.removeprefix(start): value for name, value in r2.items() if name.startswith(start)
                }
            if self._sae.private_width:
                result[across]["leak"] = result[across]["full"] - result[across]["shared"]
        return {part: result[part] for part in (*SIDES, "text_to_vision", "vision_to_text")}
