"""How figures are written."""

from collections.abc import Sequence
from statistics import fmean, stdev


def decimals_text(value: float, places: int = 2) -> str:
    """A figure to so many decimals, with a real minus sign, and none before what rounds to zero."""
    return f"{value:z.{places}f}".replace("-", "\N{MINUS SIGN}")


def figure_text(value: float) -> str:
    """A figure as tables show it: whole counts whole, anything else to four decimals."""
    return f"{value:,}" if isinstance(value, int) else decimals_text(value, 4)


def spread_text(values: Sequence[float], places: int) -> str:
    """The mean, and of several values ± their standard deviation, to so many decimals."""
    mean = f"{fmean(values):.{places}f}"
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):.{places}f}"
