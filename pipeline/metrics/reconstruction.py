"""How much of the activations a dictionary explains: R2 of each side, from its own codes and across sides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from cache import StorageDtype
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.crossing import cross_reconstruct
from pipeline.sae.sides import SIDES, Side, other_side
from pipeline.transport.plan import token_places

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
    tokens: over all of them, or over those at the same position of their image or caption, which shows what is
    explained beyond the position. Sums are float64 in one pass: the total is taken about a nearby `centre` and
    corrected by the means' distance from it, which loses nothing when the centre is close to the mean.

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
        self._counts_by_position = torch.zeros(0, dtype=torch.int64, device=centre.device)
        self._sums_by_position = torch.zeros(0, len(centre), dtype=torch.float64, device=centre.device)
        self._errors: dict[str, float] = {}

    def update_target(
        self, target: Float[Tensor, "token channel"], offsets: Int64[Tensor, " item_plus_1"]
    ) -> None:
        """Add the activations that are to be explained; item i has the rows offsets[i] up to offsets[i + 1]."""
        shifted = target.double() - self._centre
        self._count += len(target)
        self._sum += shifted.sum(dim=0)
        self._squares += float(shifted.square().sum())
        places = token_places(offsets, len(target))
        self._counts_by_position = _added(self._counts_by_position, places.valid.sum(dim=0))
        self._sums_by_position = _added(self._sums_by_position, places.padded(shifted).sum(dim=0))

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
        return self._shares(self._total)

    def r2_beyond_position(self) -> dict[str, float]:
        """The same against the mean of every position; empty where activations at one position do not vary."""
        return self._shares(self._total_within_positions)

    def r2_of_position(self) -> float | None:
        """R2 of the mean of every position, which knows nothing else; None where the activations do not vary."""
        return 1.0 - self._total_within_positions / self._total if self._varies(self._total) else None

    @property
    def _total(self) -> float:
        return self._squares - float(self._sum.square().sum()) / max(1, self._count)

    @property
    def _total_within_positions(self) -> float:
        squared_sums = self._sums_by_position.square().sum(dim=1)
        return self._squares - float((squared_sums / self._counts_by_position.clamp_min(1)).sum())

    def _shares(self, total: float) -> dict[str, float]:
        if not self._varies(total):
            return {}
        return {name: 1.0 - error / total for name, error in self._errors.items()}

    def _varies(self, total: float) -> bool:
        return total > self._rounding**2 * self._squares_about_zero

    @property
    def _squares_about_zero(self) -> float:
        moved = 2 * self._sum @ self._centre + self._count * self._centre @ self._centre
        return self._squares + float(moved)


def _added(sums: Shaped[Tensor, "position *rest"], more: Shaped[Tensor, "longest *rest"]) -> Tensor:
    """Add sums by position, of which either may know more positions than the other."""
    longer, shorter = (more, sums) if len(more) > len(sums) else (sums, more)
    total = longer.clone()
    total[: len(shorter)] += shorter
    return total


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
            offsets = encoded.offsets(side)
            meter.update_target(self._sae.reader.restored(side, target, offsets), offsets)
            for mode, codes in encoded.codes[side].items():
                meter.update(f"{side}/{mode}", target, self._sae.decode(side, codes))
            cross_modes: dict[str, EncodeMode] = {"shared": "shared", "full": encoded.full_mode}
            for name, mode in cross_modes.items():
                crossed = cross_reconstruct(self._sae, side, encoded.codes[other][mode], encoded.plan)
                meter.update(f"{other}_to_{side}/{name}", target, crossed)

    def result(self) -> dict[str, Any]:
        """R2 per side and mode, and across sides of `shared`, `full` and, with private latents, `leak`.

        `positional` has the same against the mean of every position instead of the mean of all, and `position` what
        these means alone explain; neither exists of a dictionary that knows no places. A side without variance has no
        R2, neither from its own codes nor from the other side's.
        """
        still = "the {side} activations of this split do not vary beyond rounding"
        result = self._result({side: meter.r2() for side, meter in self._meters.items()}, still)
        if not self._sae.reader.knows_places:
            return result
        alone = {side: meter.r2_of_position() for side, meter in self._meters.items()}
        beyond = {side: meter.r2_beyond_position() for side, meter in self._meters.items()}
        return result | {
            "position": {
                side: NotDefined(still.format(side=side)) if share is None else share
                for side, share in alone.items()
            },
            "positional": self._result(
                beyond,
                "the {side} activations of this split that are at one position do not vary beyond rounding",
            ),
        }

    def _result(self, found: Mapping[Side, dict[str, float]], still: str) -> dict[str, Any]:
        """Arrange each side's R2 by what it is of; where there is none, say why in the words of `still`."""
        result: dict[str, Any] = {}
        for side in SIDES:
            own, across = side, f"{other_side(side)}_to_{side}"
            r2 = found[side]
            if not r2:
                result |= dict.fromkeys((own, across), NotDefined(still.format(side=side)))
                continue
            for part in (own, across):
                start = f"{part}/"
                result[part] = {
                    name.removeprefix(start): value for name, value in r2.items() if name.startswith(start)
                }
            if self._sae.private_width:
                result[across]["leak"] = result[across]["full"] - result[across]["shared"]
        return {part: result[part] for part in (*SIDES, "text_to_vision", "vision_to_text")}
