"""What a dictionary begins with: the exact moments of what it reads."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class SideMoments(Protocol):
    """What a dictionary needs of a cache's statistics: exact float64 moments per channel."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean activation [channel], raw cache units."""

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of the activations [channel], raw cache units squared."""


class Moments(NamedTuple):
    """Moments of one side that were computed; see `SideMoments`."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
