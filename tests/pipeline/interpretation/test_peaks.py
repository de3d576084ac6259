import pytest
import torch

from pipeline.interpretation.peaks import TopPeaks, first_pairs, image_peaks, peaks
from pipeline.sparse.codes import SparseCodes

LATENTS, K = 6, 2


def draw(lengths: list[int]) -> tuple[SparseCodes, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    scores = torch.rand(sum(lengths), LATENTS, generator=generator).mul(8).round() / 8  # ties on purpose
    values, indices = scores.topk(K)
    return SparseCodes(values - 0.5, indices), torch.tensor([0, *lengths]).cumsum(0)


def test_peaks_are_the_largest_activations_of_each_item_and_their_first_places():
    codes, offsets = draw([4, 0, 1, 7])
    dense = codes.dense(LATENTS)
    found = peaks(codes, offsets, LATENTS)
    for item, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        for latent in range(LATENTS):
            column = dense[start:stop, latent].clamp(min=0)
            expected = column.max() if len(column) else torch.tensor(0.0)
            assert found.activation[item, latent] == expected
            if expected > 0:
                assert found.position[item, latent] == column.argmax()
    assert found.fired.tolist() == (dense > 0).sum(dim=0).tolist()
    assert found.elements == 12


def test_images_are_items_of_equally_many_patches():
    codes, offsets = draw([3, 3, 3])
    for one, other in zip(image_peaks(codes, 3, LATENTS), peaks(codes, offsets, LATENTS), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
    assert image_peaks(SparseCodes(codes.values[:0], codes.indices[:0]), 0, LATENTS).activation.shape == (
        0,
        LATENTS,
    )


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [2, 5, 2]])
def test_the_top_items_do_not_depend_on_how_items_are_batched(sizes):
    codes, offsets = draw([3] * 9)
    whole = peaks(codes, offsets, LATENTS)
    top = TopPeaks(LATENTS, 4, torch.device("cpu"))
    start = 0
    for size in sizes:
        rows = slice(3 * start, 3 * (start + size))
        part = SparseCodes(codes.values[rows], codes.indices[rows])
        top.add(image_peaks(part, size, LATENTS), 100 + torch.arange(start, start + size))
        start += size
    for latent in range(LATENTS):
        activation = whole.activation[:, latent].tolist()
        order = sorted(range(9), key=lambda item, activation=activation: (-activation[item], item))
        best = [item for item in order if activation[item] > 0][:4]
        assert [item for item, _, _ in top.ranked(latent)] == [100 + item for item in best]
        assert [place for _, place, _ in top.ranked(latent)] == whole.position[best, latent].tolist()
    assert top.frequency.tolist() == pytest.approx([count / 27 for count in whole.fired.tolist()])
    assert top.items == 9


def test_an_image_with_two_captions_is_taken_by_its_first_pair(cache):
    assert first_pairs(cache).tolist() == [0, *range(2, cache.pairs)]
