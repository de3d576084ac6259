"""Scores, the choice and the tuning of alpha, against loops over single pictures and classes."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.backbone.model import Backbone
from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.classification.pictures import LabelledPicture
from pipeline.classification.scoring import ScoredPictures, best_alpha, concept_hits, hits, score_pictures
from pipeline.sae.registry import build_sae

from .scored import random_scored, scored

ALPHAS = (0.0, 0.05, 0.3, 1.0, 4.0)


def chosen_by_loop(pictures: ScoredPictures, row: int, alpha: float) -> int:
    best, highest = -1, -np.inf
    for label in range(pictures.embedding.shape[1]):
        score = float(pictures.embedding[row, label]) + alpha * float(pictures.concepts[row, label])
        if score > highest:
            best, highest = label, score
    return best


def accuracy_by_loop(pictures: ScoredPictures, alpha: float) -> float:
    right = sum(chosen_by_loop(pictures, row, alpha) == pictures.labels[row] for row in range(len(pictures)))
    return right / len(pictures)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_highest_sum_of_cosines_chooses_the_class(seed: int, alpha: float) -> None:
    pictures = random_scored(seed)
    expected = [chosen_by_loop(pictures, row, alpha) == pictures.labels[row] for row in range(len(pictures))]
    assert hits(pictures, alpha).tolist() == expected


def test_alpha_0_is_the_plain_cosine_whatever_the_concepts_say() -> None:
    rng = np.random.default_rng(0)
    embedding = (0.5 + 1e-7 * rng.standard_normal((500, 6))).astype(
        np.float32
    )  # float32 neighbours, and ties
    concepts = rng.uniform(-1, 1, embedding.shape)
    pictures = scored(rng.integers(6, size=500).tolist(), embedding, concepts)
    assert np.array_equal(hits(pictures, 0.0), embedding.argmax(axis=1) == pictures.labels)


@pytest.mark.parametrize("seed", range(8))
def test_tuning_finds_the_smallest_of_the_best_alphas(seed: int) -> None:
    pictures = random_scored(seed, pictures=12)
    accuracy = {alpha: accuracy_by_loop(pictures, alpha) for alpha in ALPHAS}
    best = [alpha for alpha in ALPHAS if accuracy[alpha] == max(accuracy.values())]
    assert best_alpha(pictures, ALPHAS[::-1]) == min(best)


def test_concepts_alone_ignore_the_embedding() -> None:
    pictures = scored([0, 1, 1], [[0, 1], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.3], [0.5, 0.5]])
    assert concept_hits(pictures).tolist() == [True, True, False]


def test_batches_of_pictures_are_scored_as_single_ones_are(backbone: Backbone) -> None:
    options = {"architecture": "vl_sae", "latents": 32, "k": 4}
    encoder = ConceptEncoder([build_sae(options, 8, 8, seed) for seed in (1, 2)], backbone)
    classes = encoder.classes([["a photo of a cat"], ["a photo of a boat"], ["a photo of a dog"]])
    shots = [Image.new("RGB", (8 + n, 9), (40 * n, 250 - 50 * n, 90)) for n in range(5)]
    taken: list[int] = []

    def pictures() -> Iterator[LabelledPicture]:
        for number, image in enumerate(shots):
            taken.append(number)
            yield LabelledPicture(str(number), number % 3, image)

    results = score_pictures(encoder, classes, pictures(), batch_size=2)
    assert taken == list(range(5)), "pictures are decoded once, however many dictionaries there are"
    for result in results:
        assert result.names == list("01234")
        assert result.labels.tolist() == [0, 1, 2, 0, 1]
        assert len(set(result.digests)) == 5
    for row, image in enumerate(shots):
        seen = encoder.images(backbone.preprocess(image)[None])
        for result, of_picture, of_classes in zip(results, seen, classes, strict=True):
            for label in range(3):
                for kind in ("embedding", "concepts"):
                    pair = (getattr(of_picture, kind)[0], getattr(of_classes, kind)[label])
                    cosine = torch.nn.functional.cosine_similarity(*pair, dim=0)
                    assert getattr(result, kind)[row, label] == pytest.approx(float(cosine), abs=1e-5)
