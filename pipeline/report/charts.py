"""Training curves as small line charts, laid out here and drawn as inline SVG by the page's template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.results.run import Run, Series

WIDTH, HEIGHT = 320.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 10.0, 22.0
POINTS_AT_MOST = 160
LOGARITHMIC_RATIO = 20.0


@dataclass(frozen=True)
class Tick:
    """A labelled position along an axis, in the chart's units."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One variant's curve.

    Attributes:
        variant: whose curve.
        colour: number of the variant's colour, the same in every chart.
        points: the value of an SVG `points` attribute.
        last: the curve's last value.
    """

    variant: str
    colour: int
    points: str
    last: float


@dataclass(frozen=True)
class Chart:
    """One term of the loss over the steps, for every variant that has it; `logarithmic` tells about the value axis."""

    title: str
    logarithmic: bool
    lines: tuple[Line, ...]
    steps: tuple[Tick, ...]
    values: tuple[Tick, ...]

    @property
    def flat(self) -> bool:
        """Whether the term has one and the same value all along, which a chart says less well than a number."""
        return len(self.values) == 1


@dataclass(frozen=True)
class Axis:
    """Maps numbers from `low` .. `high` to positions `start` .. `stop`, by their logarithm if `logarithmic`."""

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Position of `value`, clamped to the axis."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)

    def ticks(self, count: int) -> tuple[Tick, ...]:
        """`count` evenly spaced positions with their values, the ends included."""
        if self.high <= self.low:
            return (Tick(self.place(self.low), _label(self.low)),)
        low, high = self._scaled(self.low), self._scaled(self.high)
        numbers = (low + (high - low) * index / (count - 1) for index in range(count))
        values = (math.exp(number) if self.logarithmic else number for number in numbers)
        return tuple(Tick(self.place(value), _label(value)) for value in values)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def training_charts(runs: Sequence[Run]) -> tuple[Chart, ...]:
    """One chart per logged term, the total loss first; terms that were never logged give none."""
    terms = dict.fromkeys(term for run in runs for term in run.curves)
    ordered = sorted(terms, key=lambda term: term != "total")
    charts = (
        _chart(term, [(run.name, i, run.curves.get(term, ())) for i, run in enumerate(runs)])
        for term in ordered
    )
    return tuple(chart for chart in charts if chart is not None)


def _chart(term: str, curves: Sequence[tuple[str, int, Series]]) -> Chart | None:
    thinned = [(name, colour, _thinned(curve)) for name, colour, curve in curves]
    drawn = [(name, colour, curve) for name, colour, curve in thinned if curve]
    if not drawn:
        return None
    steps = [step for _, _, curve in drawn for step, _ in curve]
    values = [value for _, _, curve in drawn for _, value in curve]
    logarithmic = min(values) > 0 and max(values) / min(values) > LOGARITHMIC_RATIO
    across = Axis(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    up = Axis(min(values), max(values), HEIGHT - BOTTOM, TOP, logarithmic)
    lines = tuple(
        Line(
            name, colour, " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in curve), curve[-1][1]
        )
        for name, colour, curve in drawn
    )
    return Chart(term.replace("_", " "), logarithmic, lines, across.ticks(3), up.ticks(4))


def _thinned(curve: Series) -> Series:
    """At most `POINTS_AT_MOST` points, the last one kept; points that are not finite left out."""
    finite = [point for point in curve if all(map(math.isfinite, point))]
    stride = max(1, math.ceil(len(finite) / POINTS_AT_MOST))
    return tuple(finite[::-1][::stride][::-1])


def _label(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
