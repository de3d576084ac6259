"""What measures a part of metrics.json, and what of."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cache import ActivationCache
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items, read_items
from pipeline.metrics.judge import CachedJudge, Judge
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.truth import Truth, read_truth
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


class Meter(ABC):
    """A part of metrics.json that collects what it needs batch by batch."""

    @abstractmethod
    def update(self, encoded: EncodedBatch) -> None:
        """Add a batch."""

    @abstractmethod
    def result(self) -> dict[str, Any] | NotDefined:
        """Give the part, as JSON values; a figure without a value is `NotDefined`, never NaN."""

    def counts(self) -> dict[str, int]:
        """Give what it adds to the part `counts`; by default nothing."""
        return {}


@dataclass(frozen=True)
class Measured:
    """What is measured.

    Attributes:
        sae: the dictionary.
        cache: the split that it is measured on.
        backbone: the model that made the cache; None if it is not at hand.
        options: how.
        training: the split that the dictionary was trained on; None if it is not at hand.
    """

    sae: SparseAutoencoder
    cache: ActivationCache
    backbone: "Backbone | None"
    options: EvaluateOptions
    training: ActivationCache | None = None

    @cached_property
    def items(self) -> Items:
        """The images and captions that the pairs are made of."""
        return read_items(self.cache)

    @cached_property
    def truth(self) -> Truth:
        """What the samples state of their true concepts."""
        return read_truth(self.cache.samples)

    @cached_property
    def judge(self) -> Judge:
        """Who says how alike images and captions are: the backbone, or that of the cache `evaluate.judge`."""
        judging = ActivationCache.open(self.options.judge) if self.options.judge else self.cache
        return CachedJudge(judging, self.cache, self.options.batch_pairs)
