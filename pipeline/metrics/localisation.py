"""Object-level grounding: how well heat maps over patches agree with boxes (LUCID, arXiv 2602.07311, 4.4 and A.1)."""

import numpy as np
from jaxtyping import Bool, Float

TOP_SHARE = 0.1


def inside_boxes(coverage: Float[np.ndarray, "target patch"]) -> Bool[np.ndarray, "target patch"]:
    """The patches that count as inside a target's boxes: those at least half covered.

    An object too small to cover half of any patch still has the patch it covers most.
    """
    return np.asarray(coverage >= np.minimum(0.5, coverage.max(axis=1, keepdims=True)))


def mass_at_object(
    heat: Float[np.ndarray, "target patch"], coverage: Float[np.ndarray, "target patch"]
) -> Float[np.ndarray, "target"]:
    """Share of each heat map's mass inside the boxes, a patch's mass spread evenly over the patch.

    A heat map that is zero everywhere says nothing about the place and counts as uniform.
    """
    total = heat.sum(axis=1, keepdims=True)
    uniform = np.full_like(heat, 1.0 / heat.shape[1])
    share = np.divide(heat, total, out=uniform, where=total > 0)
    return np.asarray((share * coverage).sum(axis=1))


def point_at_1(
    heat: Float[np.ndarray, "target patch"], inside: Bool[np.ndarray, "target patch"]
) -> Float[np.ndarray, "target"]:
    """The pointing game: 1 where the peak patch lies inside a box, else 0.

    Patches that tie for the peak share the point, which is its expected value for a peak drawn among them: a code
    heat map saturates and a uniform one is all ties, so taking the first would score the top left corner.
    """
    peak = heat == heat.max(axis=1, keepdims=True)
    return np.asarray((peak & inside).sum(axis=1) / peak.sum(axis=1))


def iou_at_10(
    heat: Float[np.ndarray, "target patch"], inside: Bool[np.ndarray, "target patch"]
) -> Float[np.ndarray, "target"]:
    """Intersection over union of the hottest tenth of the patches and the patches inside the boxes.

    A tenth is rounded to whole patches (20 of 196). Patches that tie for the last places share them evenly.
    """
    size = max(1, round(TOP_SHARE * heat.shape[1]))
    last = np.partition(heat, -size, axis=1)[:, -size, None]
    above, tied = heat > last, heat == last
    places = (size - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
    membership = above + places * tied
    intersection = (membership * inside).sum(axis=1)
    return np.asarray(intersection / (size + inside.sum(axis=1) - intersection))


class LocalisationMeter:
    """Means of the three scores over targets, for any number of named kinds of heat map."""

    def __init__(self) -> None:
        self._sums: dict[str, Float[np.ndarray, "3"]] = {}
        self._targets: dict[str, int] = {}

    def update(
        self, name: str, heat: Float[np.ndarray, "target patch"], coverage: Float[np.ndarray, "target patch"]
    ) -> None:
        """Score heat maps, which must not be negative, against the share of each patch inside the boxes."""
        heat, coverage = heat.astype(np.float64), coverage.astype(np.float64)
        inside = inside_boxes(coverage)
        scores = (mass_at_object(heat, coverage), point_at_1(heat, inside), iou_at_10(heat, inside))
        self._sums[name] = self._sums.get(name, np.zeros(3)) + np.stack(scores).sum(axis=1)
        self._targets[name] = self._targets.get(name, 0) + len(heat)

    def result(self) -> dict[str, dict[str, float]]:
        """Per kind of heat map `mass_at_object`, `point_at_1` and `iou_at_10`; a kind never scored is absent."""
        keys = ("mass_at_object", "point_at_1", "iou_at_10")
        return {
            name: dict(zip(keys, (sums / self._targets[name]).tolist(), strict=True))
            for name, sums in self._sums.items()
            if self._targets[name]
        }
