"""Heat maps against dense arithmetic."""

import numpy as np
import torch

from pipeline.metrics.heat_maps import code_maps, cosine_maps, inverse_document_frequency, transport_maps
from pipeline.metrics.pooling import pool
from pipeline.sparse.codes import SparseCodes

PAIRS, PATCHES, WIDTH, K = 3, 5, 11, 4


def random_codes(tokens: int, seed: int) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.stack([torch.randperm(WIDTH, generator=generator)[:K] for _ in range(tokens)])
    values = torch.rand(tokens, K, generator=generator)
    return SparseCodes(values * (values > 0.3), indices)


def test_transport_maps_sum_the_plan_over_the_naming_tokens() -> None:
    plan = torch.rand(2, 3, 4)
    maps = transport_maps(plan, [1, 0], [[0, 3], [2]])
    torch.testing.assert_close(maps, torch.stack([plan[1, :, 0] + plan[1, :, 3], plan[0, :, 2]]))


def test_code_maps_are_the_weighted_overlap_of_dense_codes() -> None:
    codes = random_codes(PAIRS * PATCHES, seed=0)
    concepts = random_codes(2, seed=1).dense(WIDTH)
    weights = torch.rand(WIDTH)
    pairs = torch.tensor([2, 0])
    dense = codes.dense(WIDTH).view(PAIRS, PATCHES, WIDTH)[pairs]
    expected = (torch.minimum(dense, concepts[:, None]) * weights).sum(dim=2)
    torch.testing.assert_close(code_maps(codes, PATCHES, pairs, concepts, weights), expected)


def test_idf_is_the_log_of_how_rare_a_latent_is_among_concepts() -> None:
    codes = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    expected = torch.tensor([0.0, np.log(2), 0.0])
    torch.testing.assert_close(inverse_document_frequency(codes), expected, check_dtype=False)


def test_cosine_maps_keep_the_order_of_the_cosines_and_start_at_zero() -> None:
    patches, text = torch.randn(PATCHES, 6), torch.randn(6)
    cosine = torch.cosine_similarity(patches, text[None], dim=1)
    torch.testing.assert_close(cosine_maps(3 * patches, 7 * text), cosine - cosine.min())


def test_pooling_is_the_mean_or_the_maximum_of_dense_codes() -> None:
    offsets = torch.tensor([0, 4, 4, 9])
    codes = random_codes(9, seed=2)
    parts = codes.dense(WIDTH).tensor_split(offsets[1:-1])
    for pooling, of_part in (("mean", lambda part: part.mean(dim=0)), ("max", lambda part: part.amax(dim=0))):
        expected = torch.stack([of_part(part) if len(part) else torch.zeros(WIDTH) for part in parts])
        torch.testing.assert_close(pool(codes, offsets, WIDTH, pooling), expected)
