"""The Triton kernels against dense float64 and the eager operations; on a GPU where there is one, else interpreted.

Started by `test_kernels.py` in a process of its own, since Triton decides once per process how it runs kernels.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks import gpu
from cache import PairBatch
from pipeline.sae.auxiliary import LatentActivity
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.registry import build_sae
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.sparse.availability import runs_on_triton, triton_reason
from pipeline.sparse.products import gather_sum, order_by_latent, sampled_dot, scatter_sum
from pipeline.sparse.top_k import Group, fits_kernel, top_k
from pipeline.training.agreement import agreements
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep

DEVICE = torch.device("cuda" if triton_reason(torch.device("cuda")) is None else "cpu")
SHAPES = {  # tokens, k, latents, channels
    "ragged": (5, 3, 11, 37),
    "one entry": (4, 1, 7, 16),
    "several blocks of entries and channels": (2, 19, 50, 300),
    "no tokens": (0, 3, 5, 8),
    "every latent": (9, 7, 7, 5),
}
FLOAT32, BFLOAT16 = (torch.float32, 1e-6), (torch.bfloat16, 1e-2)
CASES = [(name, FLOAT32) for name in SHAPES] + [("ragged", BFLOAT16)]
each_case = pytest.mark.parametrize(("shape", "dtype"), CASES, ids=[f"{n}-{d[0]}" for n, d in CASES])


def draw(shape: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values, indices, table, rows. Some latents are named twice by a token, with value 0, as ReLU leaves them."""
    tokens, k, latents, channels = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(tokens, k, generator=generator).relu().to(DEVICE, dtype)
    indices = torch.rand(tokens, latents, generator=generator).argsort(dim=1)[:, :k].to(DEVICE)
    indices[:, -1] = indices[:, -1].where(values[:, -1] != 0, indices[:, 0])
    table = torch.randn(latents, channels, generator=generator).to(DEVICE, dtype)
    rows = torch.randn(tokens, channels, generator=generator).to(DEVICE, dtype)
    return values, indices, table, rows


def dense(values: Tensor, indices: Tensor, width: int) -> Tensor:
    zeros = torch.zeros(len(values), width, dtype=torch.float64, device=values.device)
    return zeros.scatter_add(1, indices, values.double())


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert found.shape == wanted.shape
    assert not torch.isnan(found).any()
    error = (found.double() - wanted).norm() / wanted.norm().clamp_min(1e-30)
    assert error <= tolerance, float(error)


def test_the_kernels_are_what_runs() -> None:
    assert triton_reason(DEVICE) is None
    assert runs_on_triton(torch.zeros(1, device=DEVICE), torch.zeros(1, device=DEVICE, dtype=torch.bfloat16))
    assert not runs_on_triton(torch.zeros(1, device=DEVICE, dtype=torch.float64))


@each_case
def test_gather_sum(shape: str, dtype: tuple[torch.dtype, float]) -> None:
    values, indices, table, _ = draw(shape, dtype[0])
    found = gather_sum(values, indices, table)
    assert found.dtype == dtype[0]
    assert_close(found, dense(values, indices, len(table)) @ table.double(), dtype[1])


@each_case
def test_scatter_sum(shape: str, dtype: tuple[torch.dtype, float]) -> None:
    values, indices, table, rows = draw(shape, dtype[0])
    found = scatter_sum(values, indices, rows, len(table))
    assert found.dtype == dtype[0]
    assert_close(found, dense(values, indices, len(table)).T @ rows.double(), dtype[1])


@each_case
def test_sampled_dot(shape: str, dtype: tuple[torch.dtype, float]) -> None:
    _, indices, table, rows = draw(shape, dtype[0])
    found = sampled_dot(table, indices, rows)
    assert found.dtype == dtype[0]
    assert_close(found, (rows.double() @ table.double().T).gather(1, indices), dtype[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the kernels do not take float64
def test_gradients_of_kernels_and_of_eager_operations_are_those_of_dense_products(dtype: torch.dtype) -> None:
    drawn = draw("ragged", torch.float32)
    values, table, rows = (drawn[place].to(dtype).requires_grad_() for place in (0, 2, 3))
    indices, upstream = drawn[1], torch.randn(11, 37, device=DEVICE, dtype=dtype)
    gathered = (gather_sum(values, indices, table) * rows).sum()
    scattered = (scatter_sum(values, indices, rows, len(table)) * upstream).sum()
    found = torch.autograd.grad(gathered + scattered, (values, table, rows))
    leaves = [leaf.detach().double().requires_grad_() for leaf in (values, table, rows)]
    matrix = torch.zeros(len(indices), len(table), dtype=torch.float64, device=DEVICE)
    matrix = matrix.scatter_add(1, indices, leaves[0])
    total = ((matrix @ leaves[1]) * leaves[2]).sum() + ((matrix.T @ leaves[2]) * upstream.double()).sum()
    for one, wanted in zip(found, torch.autograd.grad(total, leaves), strict=True):
        assert_close(one, wanted, 1e-6)


def test_a_mixture_of_types_is_added_and_returned_in_float32() -> None:
    values, indices, table, rows = draw("ragged", torch.bfloat16)
    wide = values.float() / 3
    found = gather_sum(wide, indices, table)
    assert found.dtype == torch.float32
    assert_close(found, dense(wide, indices, len(table)) @ table.double(), 1e-6)
    found = scatter_sum(wide, indices, rows, len(table))
    assert found.dtype == torch.float32
    assert_close(found, dense(wide, indices, len(table)).T @ rows.double(), 1e-6)


def test_a_latent_that_fires_more_often_than_a_part_holds_is_summed_whole() -> None:
    tokens, channels = 530, 4  # parts hold 512 entries
    values = torch.rand(tokens, 1, device=DEVICE) + 1
    indices = torch.full((tokens, 1), 2, device=DEVICE)
    indices[::50] = 0
    rows = torch.rand(tokens, channels, device=DEVICE)
    found = scatter_sum(values, indices, rows, 4)
    assert_close(found, dense(values, indices, 4).T @ rows.double(), 1e-6)
    assert not found[[1, 3]].any()


GROUPS = {
    "two groups, not powers of two": (36, [Group(0, 13, 4), Group(13, 36, 9)]),
    "one latent each": (9, [Group(0, 9, 1)]),
    "everything": (6, [Group(0, 2, 2), Group(2, 6, 4)]),
    "a part": (24, [Group(8, 24, 5)]),
    "all but one, and one of one": (13, [Group(0, 12, 11), Group(12, 13, 1)]),
}


def rows_with_ties(latents: int) -> Tensor:
    """Rows of random scores, of few distinct ones, of one, of both zeros, of infinities, of tiny and huge ones."""
    random = torch.randn(8, latents, generator=torch.Generator().manual_seed(1))
    random[1] = random[1].round()
    random[2] = 0.5
    random[3] = torch.tensor([0.0, -0.0]).repeat(latents)[:latents]
    random[4] = -random[4].abs()
    random[5, ::3] = torch.inf
    random[6] = -torch.inf
    random[7] *= 10 ** (10 * random[7])
    return random.to(DEVICE)


@pytest.mark.parametrize(
    ("latents", "groups", "dtype"),
    [(*groups, torch.float32) for groups in GROUPS.values()]
    + [(*next(iter(GROUPS.values())), torch.bfloat16)],
    ids=[*GROUPS, "bfloat16"],
)
def test_top_k_takes_the_very_latents_of_the_eager_one(
    latents: int, groups: list[Group], dtype: torch.dtype
) -> None:
    scores = rows_with_ties(latents).to(dtype)
    values, indices = top_k(scores, groups)
    assert fits_kernel(groups) and values.dtype == dtype
    first = 0
    for start, stop, k in groups:
        part = scores[:, start:stop].float()
        stable_values, stable_indices = part.sort(dim=1, descending=True, stable=True)
        kept = slice(first, first + k)
        assert torch.equal(values[:, kept].float(), stable_values[:, :k])
        assert torch.equal(indices[:, kept] - start, stable_indices[:, :k])
        eager_values, eager_indices = top_k(part.double(), [Group(0, stop - start, k)])
        assert torch.equal(values[:, kept].double(), eager_values)
        assert torch.equal((indices[:, kept] - start).sort()[0], eager_indices.sort()[0])
        first += k


def test_top_k_of_no_tokens_is_empty() -> None:
    values, indices = top_k(torch.zeros(0, 5, device=DEVICE), [Group(0, 5, 2)])
    assert values.shape == indices.shape == (0, 2)


def test_top_k_shows_nan_instead_of_dropping_it() -> None:
    scores = torch.randn(2, 20, device=DEVICE)
    scores[0, 7] = scores[1, 3] = torch.nan
    values, indices = top_k(scores, [Group(0, 20, 2)])
    assert indices[:, 0].tolist() == [7, 3]
    assert values.isnan().tolist() == [[True, False], [True, False]]


def test_groups_that_no_kernel_holds_are_told_apart() -> None:
    assert not fits_kernel([Group(0, 8, 2), Group(8, 100_000, 2)])
    assert not fits_kernel([Group(0, 20_000, 5_000)])


def test_the_operators_keep_the_rules_of_torch() -> None:
    values, indices, table, rows = draw("ragged", torch.float32)
    order = order_by_latent(indices, len(table))
    calls = [
        ("gather_sum", (values, indices, table)),
        ("sampled_dot", (table, indices, rows, *order)),
        ("sampled_dot", (table, indices, rows, None, None, None)),
        ("scatter_sum", (values, indices, rows, *order)),
        ("top_k", (rows, [0, 20], [20, 37], [2, 3])),
    ]
    for name, arguments in calls:
        operator = getattr(torch.ops.concord, name).default
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


def test_the_kernels_hold_what_the_benchmark_of_the_gpu_demands_of_them() -> None:
    shape = gpu.Shape(pairs=2, patches=3, channels=8, latents=16, k_shared=2, k_private=3)
    checked = gpu.kernel_agreements(shape, 5, DEVICE)
    assert len(checked) == 8 and all(check.holds for check in checked), checked


@pytest.mark.parametrize(
    "options",
    [
        LucidOptions.model_validate(
            {
                "latents": 48,
                "k_shared": 2,
                "k_private": 2,
                "contrast": {"weight": 1},
                "balance": {"weight": 1},
            }
        ),
        LucidOptions(
            latents=48, k_shared=2, k_private=2, alignment="transport_cost", plan_gradient="unrolled"
        ),
        VLSAEOptions(latents=24, k=4),
        VLSAEOptions(latents=24, k=4, inputs="tokens"),
    ],
    ids=["lucid", "transport cost", "pooled", "tokens"],
)
def test_a_step_of_given_extents_asks_the_gpu_for_nothing(options: LucidOptions | VLSAEOptions) -> None:
    """Tensors without content refuse whatever depends on it: a number, a truth, a size."""
    shape = gpu.Shape(pairs=2, patches=3, channels=8)
    drawn = gpu.random_batch(shape, torch.device("cpu"))
    with FakeTensorMode() as without_content:
        step = TrainingStep(build_sae(options, shape.channels, shape.channels, 0), TrainOptions())
        pairs = step.sae.reader.pairs(PairBatch(*map(without_content.from_tensor, drawn)))
        if options.architecture == "lucid":
            with pytest.raises(DataDependentOutputException):
                step(pairs)
        for module in step.sae.modules():
            if isinstance(module, LatentActivity):
                module.most_dead = 64
        assert step(replace(pairs, longest_caption=32))["total"].shape == ()


def test_every_operation_of_the_step_agrees_with_float64() -> None:
    checked = agreements(DEVICE)
    assert all(check.holds and check.path == "Triton kernel" for check in checked), checked


def test_a_whole_step_of_lucid_has_the_losses_and_gradients_of_eager_float64() -> None:
    shape = gpu.Shape(pairs=2, patches=4, channels=12, latents=32, k_shared=3, k_private=4)
    batch = gpu.random_batch(shape, DEVICE)
    losses, gradients = {}, {}
    for dtype in (torch.float32, torch.float64):  # the kernels do not take float64
        sae = LucidSAE(shape.options, shape.channels, shape.channels).to(DEVICE, dtype)
        pairs = Pairs(batch.vision_tokens.to(dtype), batch.text_tokens.to(dtype), batch.text_offsets)
        loss = sae.losses(pairs).total
        loss.backward()
        losses[dtype] = float(loss.detach())
        gradients[dtype] = {name: weight.grad for name, weight in sae.named_parameters()}
    assert losses[torch.float32] == pytest.approx(losses[torch.float64], rel=1e-5)
    for name, wanted in gradients[torch.float64].items():
        assert_close(gradients[torch.float32][name], wanted, 1e-5)
