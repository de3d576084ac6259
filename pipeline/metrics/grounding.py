"""Grounding of categories in images: heat maps of each kind, scored on every (image, category) with boxes."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from pipeline.datasets.geometry import ResizeMode
from pipeline.metrics.category_maps import CategoryMaps, CategoryQuery
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.localisation import LocalisationMeter
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.prompts import PromptEncoder
from pipeline.metrics.targets import GroundingTarget, box_categories, grounding_targets

_WHY_NOT_SCORED = {
    "code": NotDefined("there is one category, and what all categories have in common has no weight"),
    "swapped": NotDefined("no image lacks a category that its caption does not name"),
}


_NO_BOX = "no image of this split has a box; boxes come from the instances file of the data set"
_NO_KNOWN_BOX = "no image of this split shows a box of a category that the tokenizer knows"


class GroundingMeter(Meter):
    """The `grounding` part of metrics.json (LUCID, arXiv 2602.07311, table 3), and its controls.

    `transport` is the plan's mass on the tokens that name the category, `code` the overlap of patch codes with the
    category's code. `uniform` is the floor, `backbone` what the frozen model knows by itself, and `swapped` the
    transport heat map of a category that the image does not show: what is left of its scores is saliency.

    Args:
        prompts: Encodes prompts; without it only `uniform` can be scored.
        samples: The cache's samples.
        grid: Rows and columns of the patch grid.
        resize_mode: How the backbone fits an image to its input.
    """

    def __init__(
        self, prompts: PromptEncoder | None, samples: pa.Table, grid: tuple[int, int], resize_mode: ResizeMode
    ) -> None:
        categories = box_categories(samples)
        self._has_boxes = bool(categories)
        self._maps = CategoryMaps(prompts, categories) if prompts else None
        known = list(self._maps.concepts) if self._maps else categories
        targets, self._counts = grounding_targets(samples, known, grid, resize_mode)
        self._counts["grounding_targets"] = len(targets)
        if prompts is None:
            self._counts["without_backbone"] = len(targets)
        self._targets: defaultdict[int, list[GroundingTarget]] = defaultdict(list)
        for target in targets:
            self._targets[target.pair].append(target)
        self._meter = LocalisationMeter()

    def update(self, encoded: EncodedBatch) -> None:
        """Score the targets of a batch's pairs."""
        located = [
            (position, target)
            for position, pair in enumerate(encoded.batch.pair.tolist())
            for target in self._targets[pair]
        ]
        if not located:
            return
        coverage = np.stack([target.coverage for _, target in located])
        self._meter.update("uniform", np.ones_like(coverage), coverage)
        if self._maps is None:
            return
        queries = [CategoryQuery(position, target.caption, target.category) for position, target in located]
        transport, by_caption = self._maps.transport(encoded, queries)
        self._score("transport", transport, coverage)
        if len(self._maps.concepts) > 1:
            self._score("code", self._maps.code(encoded, queries), coverage)
        self._score("backbone", self._maps.backbone(encoded, queries), coverage)
        swapped = [
            (row, CategoryQuery(position, target.caption, target.absent_category))
            for row, (position, target) in enumerate(located)
            if target.absent_category is not None
        ]
        if swapped:
            heat = self._maps.prompted_transport(encoded, [question for _, question in swapped])
            self._score("swapped", heat, coverage[[row for row, _ in swapped]])
        self._counts["grounded_by_caption"] += by_caption
        self._counts["grounded_by_prompt"] += len(queries) - by_caption
        self._counts["swapped"] += len(swapped)

    def result(self) -> dict[str, Any] | NotDefined:
        """Per kind of heat map the mean `mass_at_object`, `point_at_1` and `iou_at_10` over its targets."""
        scored = self._meter.result()
        if not scored:
            return NotDefined(_NO_KNOWN_BOX if self._has_boxes else _NO_BOX)
        missing = {kind: why for kind, why in _WHY_NOT_SCORED.items() if self._maps and kind not in scored}
        return scored | missing

    def counts(self) -> dict[str, int]:
        """Targets scored, how their category was named, and (image, category) items left out by reason."""
        return dict(self._counts)

    def _score(self, name: str, heat: Tensor, coverage: Float[np.ndarray, "target patch"]) -> None:
        self._meter.update(name, heat.cpu().numpy(), coverage)
