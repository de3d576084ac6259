import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.interpretation import matching
from pipeline.interpretation.concept_codes import ConceptCodes
from pipeline.interpretation.matching import ConceptIndex, Hits, count_hits, reference_weights
from pipeline.interpretation.peaks import image_peaks
from pipeline.sparse.codes import SparseCodes

LATENTS, CONCEPTS, IMAGES, PATCHES, K = 11, 7, 3, 5, 3


def draw(seed: int) -> tuple[ConceptCodes, SparseCodes]:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.rand(CONCEPTS, LATENTS, generator=generator) * (
        torch.rand(CONCEPTS, LATENTS, generator=generator) < 0.4
    )
    codes[2] = 0  # a concept without a code
    idf = 3 * torch.rand(LATENTS, generator=generator)
    idf[4] = 0
    values, indices = torch.rand(IMAGES * PATCHES, LATENTS, generator=generator).topk(K)
    values = values * (torch.rand(values.shape, generator=generator) < 0.8)  # fewer than k latents may fire
    return ConceptCodes(codes, idf), SparseCodes(values, indices)


def matched(
    concepts: ConceptCodes, codes: SparseCodes, images: int, threshold: float, reference: str = "own"
) -> Hits:
    largest = image_peaks(codes, images, concepts.codes.shape[1]).activation
    return ConceptIndex(concepts, reference).match(codes, largest, threshold)


def by_hand(concepts: ConceptCodes, codes: SparseCodes) -> torch.Tensor:
    """min(z_p, z_c) idf, densely: [image, patch, concept, latent]."""
    dense = codes.dense(LATENTS)
    overlap = torch.minimum(dense[:, None], concepts.codes[None]) * concepts.idf
    return overlap.view(IMAGES, PATCHES, CONCEPTS, LATENTS)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.5, 0.8]), st.sampled_from(["own", "typical"]))
def test_the_hits_are_those_of_the_dense_formula(seed, threshold, reference):
    concepts, codes = draw(seed)
    overlap = by_hand(concepts, codes)
    maps = overlap.sum(dim=3)
    confidence = maps.amax(dim=1) / reference_weights(concepts, reference)
    clear = (confidence - threshold).abs() > 1e-5  # at the threshold itself rounding decides
    hits = matched(concepts, codes, IMAGES, threshold, reference)
    found = torch.zeros(IMAGES, CONCEPTS, dtype=torch.bool)
    found[hits.image, hits.concept] = True
    assert found[clear].equal((confidence > threshold)[clear])
    torch.testing.assert_close(hits.confidence, confidence[hits.image, hits.concept])
    peaks = maps[hits.image, hits.patch, hits.concept]
    torch.testing.assert_close(peaks, maps.amax(dim=1)[hits.image, hits.concept])
    contributions = overlap[hits.image, hits.patch, hits.concept]
    dominant = contributions.gather(1, hits.latent[:, None]).squeeze(1)
    torch.testing.assert_close(dominant, contributions.amax(dim=1))


@pytest.mark.parametrize("budget", [1, 60, 200])
def test_hits_do_not_depend_on_how_much_is_held_at_once(budget, monkeypatch):
    concepts, codes = draw(1)
    whole = matched(concepts, codes, IMAGES, 0.1)
    monkeypatch.setattr(matching, "_ELEMENTS_AT_ONCE", {"cpu": budget})
    assert all(map(torch.equal, matched(concepts, codes, IMAGES, 0.1), whole))
    assert len(whole.image) > IMAGES


def test_a_patch_that_holds_the_whole_concept_has_confidence_one_however_strong_it_is():
    concepts = ConceptCodes(torch.tensor([[0.5, 2.0, 0.0]]), torch.tensor([1.0, 0.3, 1.0]))
    for strength in (1.0, 7.0):
        codes = SparseCodes(torch.tensor([[0.5, 2.0]]) * strength, torch.tensor([[0, 1]]))
        assert matched(concepts, codes, 1, 0.5).confidence.item() == pytest.approx(1.0)


def test_a_concept_that_the_latents_hardly_express_hits_by_its_own_measure_and_not_by_the_lists():
    concepts = ConceptCodes(torch.diag(torch.tensor([2.0, 2.0, 0.5, 0.0])), torch.ones(4))
    codes = SparseCodes(torch.full((1, 4), 3.0), torch.arange(4)[None])
    assert matched(concepts, codes, 1, 0.5, "own").concept.tolist() == [0, 1, 2]
    assert matched(concepts, codes, 1, 0.5, "typical").concept.tolist() == [0, 1]
    assert reference_weights(concepts, "typical").tolist() == [2, 2, 2, torch.inf]


def test_the_first_of_equally_good_patches_is_the_peak_and_the_lowest_of_equal_latents_dominates():
    concepts = ConceptCodes(torch.tensor([[1.0, 1.0]]), torch.tensor([1.0, 1.0]))
    codes = SparseCodes(torch.tensor([[0.2, 0.1], [0.9, 0.9], [0.9, 0.9]]), torch.tensor([[1, 0]] * 3))
    hits = matched(concepts, codes, 1, 0.0)
    assert (hits.patch.item(), hits.latent.item()) == (1, 0)


def test_an_inactive_entry_that_names_an_active_latent_takes_nothing_from_it():
    concepts = ConceptCodes(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0, 1.0]))
    codes = SparseCodes(torch.tensor([[1.0, 0.0]]), torch.tensor([[0, 0]]))
    assert matched(concepts, codes, 1, 0.5).confidence.tolist() == [1.0]


def test_negative_activations_share_nothing_with_a_concept():
    concepts = ConceptCodes(torch.tensor([[1.0, 1.0]]), torch.tensor([1.0, 1.0]))
    codes = SparseCodes(torch.tensor([[1.0, -5.0]]), torch.tensor([[0, 1]]))
    assert matched(concepts, codes, 1, 0.1).confidence.tolist() == [0.5]


def test_hits_are_counted_by_latent_and_concept():
    concepts, codes = draw(3)
    hits = matched(concepts, codes, IMAGES, 0.0)
    counts = count_hits(hits, LATENTS, CONCEPTS)
    expected = torch.zeros(LATENTS, CONCEPTS, dtype=torch.int64)
    for latent, concept in zip(hits.latent.tolist(), hits.concept.tolist(), strict=True):
        expected[latent, concept] += 1
    assert counts.equal(expected)
    assert counts[:, 2].sum() == 0  # the concept without a code


def test_no_images_give_no_hits():
    concepts, _ = draw(0)
    empty = SparseCodes(torch.zeros(0, K), torch.zeros(0, K, dtype=torch.int64))
    hits = matched(concepts, empty, 0, 0.1)
    assert len(hits.image) == 0
    assert count_hits(hits, LATENTS, CONCEPTS).sum() == 0
