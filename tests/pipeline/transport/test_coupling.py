"""Cost, guidance and both barycentric maps against their definitions, written out with loops."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pipeline.sparse.codes import SparseCodes
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.coupling import Coupling, couple
from pipeline.transport.guidance import column_mass
from pipeline.transport.options import GuidanceOptions, TransportOptions
from pipeline.transport.plan import TransportPlan, token_places
from pipeline.transport.sinkhorn import sinkhorn

WIDTH, PATCHES, K = 8, 4, 3
UNGUIDED = GuidanceOptions(global_context=False)


def random_codes(tokens: int, generator: torch.Generator) -> SparseCodes:
    """Non-negative codes, about a third of their entries and some whole codes inactive."""
    scores = torch.rand(tokens, WIDTH, generator=generator, dtype=torch.float64)
    values, indices = scores.topk(K, dim=1)
    active = torch.rand(tokens, K, generator=generator) > 0.3
    silent = torch.rand(tokens, 1, generator=generator) < 0.2
    return SparseCodes(values * active * ~silent, indices)


def problem(lengths: list[int], seed: int) -> tuple[SparseCodes, SparseCodes, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    return random_codes(PATCHES * len(lengths), generator), random_codes(sum(lengths), generator), offsets


def coupled(lengths: list[int], seed: int, guidance: GuidanceOptions) -> Coupling:
    vision, text, offsets = problem(lengths, seed)
    return couple(
        vision,
        text,
        token_places(offsets, len(text.values)),
        PATCHES,
        WIDTH,
        TransportOptions(0.1, 10, guidance),
        detach_plan=True,
    )


ragged = st.lists(st.integers(0, 5), min_size=1, max_size=4)
seeds = st.integers(0, 10_000)


@given(lengths=ragged, seed=seeds)
@settings(max_examples=25)
def test_cost_is_one_minus_the_cosine_of_dense_codes(lengths: list[int], seed: int) -> None:
    vision, text, offsets = problem(lengths, seed)
    cost = coupled(lengths, seed, UNGUIDED).cost
    z_a, z_b = vision.dense(WIDTH).view(-1, PATCHES, WIDTH), text.dense(WIDTH)
    for n, (start, stop) in enumerate(pairwise(offsets.tolist())):
        for j in range(stop - start):
            expected = 1 - cosine_similarity(
                z_a[n], z_b[start + j][None]
            )  # 0 for a zero code in torch as well
            torch.testing.assert_close(cost[n, :, j], expected)


@given(lengths=ragged, seed=seeds)
@settings(max_examples=25)
def test_guided_plan_is_that_of_the_weights_of_the_dense_mean_code(lengths: list[int], seed: int) -> None:
    vision, text, offsets = problem(lengths, seed)
    coupling = coupled(lengths, seed, GuidanceOptions(lambda_global=0.7))
    z_a, z_b = vision.dense(WIDTH).view(-1, PATCHES, WIDTH), text.dense(WIDTH)
    for n, (start, stop) in enumerate(pairwise(offsets.tolist())):
        length = stop - start
        if not length:
            assert not coupling.plan.plan[n].any()
            continue
        w = cosine_similarity(z_a[n].mean(0)[None], z_b[start:stop]).clamp_min(0)
        c = w / w.sum() if w.sum() > 0 else torch.full_like(w, 1 / length)
        cost = coupling.cost[n : n + 1, :, :length] + 0.7 * (1 - w)
        r = torch.full((1, PATCHES), 1 / PATCHES, dtype=torch.float64)
        expected = sinkhorn(cost, torch.ones(1, length, dtype=torch.bool), r, c[None], 0.1, 10)[0]
        torch.testing.assert_close(coupling.plan.plan[n, :, :length], expected)


def test_null_mass_is_left_out_of_the_guided_plan() -> None:
    tokens = coupled([4, 0, 2], 1, GuidanceOptions()).plan.plan.sum(dim=1)
    left = coupled([4, 0, 2], 1, GuidanceOptions(null_mass=0.8)).plan.plan.sum(dim=1)
    torch.testing.assert_close(left, 0.2 * tokens)
    assert torch.equal(
        coupled([4, 0, 2], 1, GuidanceOptions(null_mass=0.0)).plan.plan,
        coupled([4, 0, 2], 1, GuidanceOptions()).plan.plan,
    )


def test_all_guided_weights_zero_keep_the_uniform_marginal() -> None:
    uniform = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    weights = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.6]])
    assert column_mass(weights, uniform).tolist() == [[0.5, 0.5, 0.0], [0.25, 0.0, 0.75]]


def test_weights_below_zero_count_as_none() -> None:
    vision = SparseCodes(torch.tensor([[1.0]]), torch.tensor([[0]]))
    text = SparseCodes(torch.tensor([[-1.0], [2.0]]), torch.tensor([[0], [0]]))
    plan = couple(
        vision,
        text,
        token_places(torch.tensor([0, 2]), 2),
        1,
        1,
        TransportOptions(0.1, 10, GuidanceOptions()),
        detach_plan=True,
    ).plan
    assert plan.plan.tolist() == [[[0.0, 1.0]]]


def test_the_tilt_of_the_cost_does_not_move_the_converged_plan() -> None:
    plans = []
    for tilt in (0.0, 2.0):
        vision, text, offsets = problem([4, 2], 1)
        plans.append(
            couple(
                vision,
                text,
                token_places(offsets, len(text.values)),
                PATCHES,
                WIDTH,
                TransportOptions(0.5, 2000, GuidanceOptions(lambda_global=tilt)),
                detach_plan=True,
            ).plan.plan
        )
    torch.testing.assert_close(*plans)


@given(lengths=ragged, seed=seeds)
@settings(max_examples=25)
def test_both_cross_maps_are_the_plan_weighted_means(lengths: list[int], seed: int) -> None:
    vision, _, offsets = problem(lengths, seed)
    plan = coupled(lengths, seed, GuidanceOptions()).plan
    rows = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    to_patches = mix_text_to_patches(plan, rows).view(len(lengths), PATCHES, 3)
    to_text = mix_codes_to_text(plan, vision, WIDTH)
    z_a = vision.dense(WIDTH).view(-1, PATCHES, WIDTH)
    for n, (start, stop) in enumerate(pairwise(offsets.tolist())):
        p = plan.plan[n, :, : stop - start]
        for i in range(PATCHES):
            total = p[i].sum()
            expected = sum((p[i, j] / total * rows[start + j] for j in range(stop - start)), torch.zeros(3))
            torch.testing.assert_close(to_patches[n, i], expected.double())
        for j in range(stop - start):
            total = p[:, j].sum()
            weights = p[:, j] / total if total > 0 else torch.zeros(PATCHES, dtype=torch.float64)
            torch.testing.assert_close(to_text[start + j], weights @ z_a[n])


def test_row_error_is_the_largest_relative_error_of_a_patchs_mass() -> None:
    matrix = torch.tensor([[[0.5, 0.1], [0.2, 0.2]], [[0.0, 0.0], [0.0, 0.0]]])
    plan = TransportPlan(matrix, token_places(torch.tensor([0, 2, 2]), 2))
    torch.testing.assert_close(plan.row_error(), torch.tensor([0.2, 0.0]))


def test_captions_are_padded_to_the_longest() -> None:
    assert token_places(torch.tensor([0, 2, 2, 3]), 3).valid.tolist() == [
        [True, True],
        [False, False],
        [True, False],
    ]
    assert token_places(torch.tensor([0, 0]), 0).valid.tolist() == [[False]]


@given(lengths=ragged, seed=seeds, more_rows=st.integers(0, 3), more_places=st.integers(0, 2))
@settings(max_examples=25)
def test_rows_go_to_their_places_and_come_back(
    lengths: list[int], seed: int, more_rows: int, more_places: int
) -> None:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    tokens, longest = sum(lengths), max(1, *lengths) + more_places
    rows = torch.randn(tokens + more_rows, 3, generator=torch.Generator().manual_seed(seed))
    places = token_places(offsets, len(rows), longest)
    padded = places.padded(rows)
    assert padded.shape == (len(lengths), longest, 3)
    assert torch.equal(padded[places.pair, places.place][:tokens], rows[:tokens])
    assert torch.equal(padded[places.valid], rows[:tokens])
    assert not padded[~places.valid].any()
    means = [rows[start:stop].sum(0) / max(stop - start, 1) for start, stop in pairwise(offsets.tolist())]
    torch.testing.assert_close(places.mean(rows), torch.stack(means))
