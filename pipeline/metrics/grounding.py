"""Grounding of categories in images: heat maps of each kind, scored on every (image, category) with boxes."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.datasets.geometry import ResizeMode
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.heat_maps import (
    Speaker,
    code_maps,
    cosine_maps,
    inverse_document_frequency,
    transport_maps,
)
from pipeline.metrics.localisation import LocalisationMeter
from pipeline.metrics.naming import naming_tokens
from pipeline.metrics.targets import GroundingTarget, box_categories, grounding_targets


class GroundingMeter:
    """The `grounding` part of metrics.json (LUCID, arXiv 2602.07311, table 3), and its controls.

    `transport` is the plan's mass on the tokens that name the category, `code` the overlap of patch codes with the
    category's code. `uniform` is the floor, `backbone` what the frozen model knows by itself, and `swapped` the
    transport heat map of a category that the image does not show: what is left of its scores is saliency.

    Args:
        speaker: Encodes prompts; without one only `uniform` can be scored.
        samples: The cache's samples.
        grid: Rows and columns of the patch grid.
        resize_mode: How the backbone fits an image to its input.
    """

    def __init__(
        self, speaker: Speaker | None, samples: pa.Table, grid: tuple[int, int], resize_mode: ResizeMode
    ) -> None:
        categories = box_categories(samples)
        self._speaker = speaker
        self._concepts = speaker.concepts(categories) if speaker else {}
        speakable = list(self._concepts) if speaker else categories
        targets, left_out = grounding_targets(samples, speakable, grid, resize_mode)
        self._targets: defaultdict[int, list[GroundingTarget]] = defaultdict(list)
        for target in targets:
            self._targets[target.pair].append(target)
        self._counts = Counter({"grounding_targets": len(targets)}) + left_out
        self._meter = LocalisationMeter()
        if self._concepts:
            codes = [concept.code for concept in self._concepts.values()]
            self._idf = inverse_document_frequency(torch.stack(codes))

    def update(self, encoded: EncodedBatch) -> None:
        """Add the targets of a batch's pairs."""
        located = [
            (position, target)
            for position, pair in enumerate(encoded.batch.pair.tolist())
            for target in self._targets[pair]
        ]
        if not located:
            return
        positions = [position for position, _ in located]
        targets = [target for _, target in located]
        coverage = np.stack([target.coverage for target in targets])
        self._meter.update("uniform", np.ones_like(coverage), coverage)
        if self._speaker is None:
            return
        self._score("transport", self._transport(self._speaker, encoded, positions, targets), coverage)
        self._score("code", self._code(encoded, positions, targets), coverage)
        self._score("backbone", self._backbone(self._speaker, encoded, positions, targets), coverage)
        self._score_swapped(self._speaker, encoded, located, coverage)

    def result(self) -> dict[str, dict[str, float]]:
        """Per kind of heat map the mean `mass_at_object`, `point_at_1` and `iou_at_10` over its targets."""
        return self._meter.result()

    def counts(self) -> dict[str, int]:
        """Targets scored, how their category was named, and (image, category) items left out by reason."""
        return dict(self._counts)

    def _score(self, name: str, heat: Tensor, coverage: Float[np.ndarray, "target patch"]) -> None:
        self._meter.update(name, heat.cpu().numpy(), coverage)

    def _transport(
        self, speaker: Speaker, encoded: EncodedBatch, positions: list[int], targets: list[GroundingTarget]
    ) -> Float[Tensor, "target patch"]:
        pieces = {position: self._pieces(speaker, encoded, position) for position in set(positions)}
        named = [
            naming_tokens(pieces[at], target.category) for at, target in zip(positions, targets, strict=True)
        ]
        heat = transport_maps(encoded.plan.plan, positions, named)
        prompted = [row for row, tokens in enumerate(named) if not tokens]
        requests = [(positions[row], targets[row].caption, targets[row].category) for row in prompted]
        if requests:
            shared = encoded.codes["vision"]["shared"]
            heat[prompted] = speaker.prompted_maps(shared, encoded.patches, requests)
        self._counts["grounded_by_caption"] += len(targets) - len(prompted)
        self._counts["grounded_by_prompt"] += len(prompted)
        return heat

    def _pieces(self, speaker: Speaker, encoded: EncodedBatch, position: int) -> list[str]:
        start, stop = encoded.batch.text_offsets[position : position + 2].tolist()
        return speaker.pieces(encoded.batch.token_ids[start:stop])

    def _code(
        self, encoded: EncodedBatch, positions: list[int], targets: list[GroundingTarget]
    ) -> Float[Tensor, "target patch"]:
        codes = torch.stack([self._concepts[target.category].code for target in targets])
        pairs = torch.tensor(positions, device=codes.device)
        return code_maps(encoded.codes["vision"]["shared"], encoded.patches, pairs, codes, self._idf)

    def _backbone(
        self, speaker: Speaker, encoded: EncodedBatch, positions: list[int], targets: list[GroundingTarget]
    ) -> Float[Tensor, "target patch"]:
        shown = sorted(set(positions))
        patches = speaker.patch_embeddings(encoded.batch.vision_tokens[shown])
        maps = [
            cosine_maps(patches[shown.index(position)], self._concepts[target.category].embedding)
            for position, target in zip(positions, targets, strict=True)
        ]
        return torch.stack(maps)

    def _score_swapped(
        self,
        speaker: Speaker,
        encoded: EncodedBatch,
        located: list[tuple[int, GroundingTarget]],
        coverage: Float[np.ndarray, "target patch"],
    ) -> None:
        rows, requests = [], []
        for row, (position, target) in enumerate(located):
            if target.absent_category is not None:
                rows.append(row)
                requests.append((position, target.caption, target.absent_category))
        self._counts["swapped"] += len(rows)
        if rows:
            heat = speaker.prompted_maps(encoded.codes["vision"]["shared"], encoded.patches, requests)
            self._score("swapped", heat, coverage[rows])
