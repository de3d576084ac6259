import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.matching import ConceptIndex, count_hits
from pipeline.sae.codes import SparseCodes

LATENTS, CONCEPTS, IMAGES, PATCHES, K = 11, 7, 3, 5, 3


def draw(seed: int) -> tuple[ConceptCodes, SparseCodes]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(CONCEPTS, LATENTS, generator=generator) * (
        torch.rand(CONCEPTS, LATENTS, generator=generator) < 0.4
    )
    codes[2] = 0  # a concept without a code
    idf = torch.rand(LATENTS, generator=generator)
    idf[4] = 0
    values, indices = torch.rand(IMAGES * PATCHES, LATENTS, generator=generator).topk(K)
    values = values * (torch.rand(values.shape, generator=generator) < 0.8)  # fewer than k latents may fire
    return ConceptCodes(codes, idf, torch.zeros(CONCEPTS, 2)), SparseCodes(values, indices)


def by_hand(concepts: ConceptCodes, codes: SparseCodes) -> torch.Tensor:
    """min(z_p, z_c) idf, densely: [patch, concept, latent]."""
    dense = codes.dense(LATENTS)
    return torch.minimum(dense[:, None], concepts.codes[None]) * concepts.idf


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_activation_maps_and_matches_are_those_of_the_dense_formula(seed):
    concepts, codes = draw(seed)
    index = ConceptIndex(concepts)
    overlap = by_hand(concepts, codes)
    maps = overlap.sum(dim=2)
    torch.testing.assert_close(index.activation_maps(codes), maps)

    matches = index.match(codes, IMAGES)
    maps = maps.view(IMAGES, PATCHES, CONCEPTS)
    best = (concepts.codes * concepts.idf).sum(dim=1)
    for image in range(IMAGES):
        for concept in range(CONCEPTS):
            peak = maps[image, :, concept].max()
            patch = int(matches.patch[image, concept])
            torch.testing.assert_close(maps[image, patch, concept], peak)
            expected = peak / best[concept] if best[concept] > 0 else torch.tensor(0.0)
            torch.testing.assert_close(matches.confidence[image, concept], expected)
            contributions = overlap[image * PATCHES + patch, concept]
            torch.testing.assert_close(contributions[matches.latent[image, concept]], contributions.max())


def test_a_patch_that_holds_the_whole_concept_has_confidence_one_however_strong_it_is():
    concepts = ConceptCodes(torch.tensor([[0.5, 2.0, 0.0]]), torch.tensor([1.0, 0.3, 1.0]), torch.zeros(1, 2))
    for strength in (1.0, 7.0):
        codes = SparseCodes(torch.tensor([[0.5, 2.0]]) * strength, torch.tensor([[0, 1]]))
        assert ConceptIndex(concepts).match(codes, 1).confidence.item() == pytest.approx(1.0)


def test_the_first_of_equally_good_patches_is_the_peak():
    concepts = ConceptCodes(torch.tensor([[1.0]]), torch.tensor([1.0]), torch.zeros(1, 2))
    codes = SparseCodes(torch.tensor([[0.2], [0.9], [0.9]]), torch.zeros(3, 1, dtype=torch.int64))
    assert ConceptIndex(concepts).match(codes, 1).patch.item() == 1


def test_hits_are_the_confidences_beyond_the_threshold_by_latent_and_concept():
    concepts, codes = draw(3)
    matches = ConceptIndex(concepts).match(codes, IMAGES)
    threshold = float(matches.confidence.flatten().sort().values[-8])  # itself not beyond itself
    expected = torch.zeros(LATENTS, CONCEPTS, dtype=torch.int64)
    for image in range(IMAGES):
        for concept in range(CONCEPTS):
            if matches.confidence[image, concept] > threshold:
                expected[matches.latent[image, concept], concept] += 1
    hits = count_hits(matches, threshold, LATENTS)
    assert hits.equal(expected)
    assert 1 <= hits.sum() <= 7
    assert count_hits(matches, 0.0, LATENTS)[:, 2].sum() == 0  # the concept without a code


def test_no_images_give_no_matches():
    concepts, _ = draw(0)
    empty = SparseCodes(torch.zeros(0, K), torch.zeros(0, K, dtype=torch.int64))
    matches = ConceptIndex(concepts).match(empty, 0)
    assert matches.confidence.shape == (0, CONCEPTS)
    assert count_hits(matches, 0.1, LATENTS).sum() == 0
