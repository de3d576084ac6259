"""Whether what this machine runs is right: every operation of the step, small, against dense float64."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.sparse.availability import triton_reason
from pipeline.sparse.encode import sparse_encode
from pipeline.sparse.products import gather_sum
from pipeline.sparse.top_k import Group
from pipeline.transport.sinkhorn import sinkhorn

Path = Literal["Triton kernel", "eager"]

_TOKENS, _LATENTS, _CHANNELS, _K = 12, 45, 40, 6
_PAIRS, _PATCHES, _LONGEST = 3, 9, 5
_EPSILON, _ITERATIONS = 0.1, 10


class Agreement(NamedTuple):
    """How far an operation, on the path that is active on a device, is from dense float64."""

    operation: str
    path: Path
    error: float
    """Largest of the relative errors in the Euclidean norm of its results."""
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


def active_path(device: torch.device) -> Path:
    """Tell what float32 and bfloat16 tensors of `device` take."""
    return "Triton kernel" if triton_reason(device) is None else "eager"


def agreements(device: torch.device) -> list[Agreement]:
    """Run every operation once, in float32, on `device`.

    The tolerances are those of the rest of the project: exact for Top-K, 1e-5 for sums, 2e-6 for a plan.
    """
    checks: dict[str, tuple[Callable[[torch.device], float], float]] = {
        "Top-K": (_top_k_error, 0.0),
        "sparse decode": (_decode_error, 1e-5),
        "weight gradient": (_gradient_error, 1e-5),
        "Sinkhorn": (_sinkhorn_error, 2e-6),
    }
    return [
        Agreement(operation, active_path(device), error(device), tolerance)
        for operation, (error, tolerance) in checks.items()
    ]


def _top_k_error(device: torch.device) -> float:
    # Eighths, encoded by the identity, are exact in every number format, also tf32; and they tie often.
    scores = (torch.randn(_TOKENS, _LATENTS, generator=_generator()) * 8).round() / 8
    groups = [Group(0, 14, 3), Group(14, _LATENTS, _K)]
    identity = torch.eye(_LATENTS, device=device)
    nothing = torch.zeros(_LATENTS, device=device)
    codes = sparse_encode(scores.to(device), nothing, identity, nothing, groups, relu=True)
    wanted = torch.zeros(_TOKENS, _LATENTS, dtype=torch.float64)
    for start, stop, k in groups:
        part = scores[:, start:stop].double()
        columns = part.argsort(dim=1, descending=True, stable=True)[:, :k]
        wanted[:, start:stop].scatter_(1, columns, part.gather(1, columns).relu())
    return _relative(codes.dense(_LATENTS), wanted)


def _decode_error(device: torch.device) -> float:
    values, indices, table, _ = _sparse_product()
    found = gather_sum(values.to(device), indices.to(device), table.to(device))
    return _relative(found, _dense(values, indices) @ table.double())


def _gradient_error(device: torch.device) -> float:
    values, indices, table, upstream = _sparse_product()
    inputs = [tensor.detach().to(device).requires_grad_() for tensor in (values, table)]
    product = gather_sum(inputs[0], indices.to(device), inputs[1])
    of_values, of_table = torch.autograd.grad(product, inputs, upstream.to(device))
    wanted_of_values = (upstream.double() @ table.double().T).gather(1, indices)
    wanted_of_table = _dense(values, indices).T @ upstream.double()
    return max(_relative(of_values, wanted_of_values), _relative(of_table, wanted_of_table))


def _sinkhorn_error(device: torch.device) -> float:
    cost = 2 * torch.rand(_PAIRS, _PATCHES, _LONGEST, generator=_generator())
    lengths = torch.tensor([_LONGEST, 3, 1])
    valid = torch.arange(_LONGEST) < lengths[:, None]
    rows = torch.full((_PAIRS, _PATCHES), 1 / _PATCHES)
    columns = valid / lengths[:, None]
    plan = sinkhorn(
        cost.to(device), valid.to(device), rows.to(device), columns.to(device), _EPSILON, _ITERATIONS
    )
    return _relative(plan, _reference_plan(cost.double(), valid, rows.double(), columns.double()))


def _reference_plan(cost: Tensor, valid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """LUCID (arXiv 2602.07311) corollary A.2 as printed."""
    kernel = (-cost / _EPSILON).exp() * valid[:, None, :]
    column_scale = torch.ones_like(columns)
    for _ in range(_ITERATIONS):
        row_scale = rows / torch.einsum("prc,pc->pr", kernel, column_scale)
        column_scale = columns / torch.einsum("prc,pr->pc", kernel, row_scale).where(valid, 1)
    return row_scale[:, :, None] * kernel * column_scale[:, None, :]


def _sparse_product() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = _generator()
    values = torch.randn(_TOKENS, _K, generator=generator)
    indices = torch.rand(_TOKENS, _LATENTS, generator=generator).argsort(dim=1)[:, :_K]
    table = torch.randn(_LATENTS, _CHANNELS, generator=generator)
    return values, indices, table, torch.randn(_TOKENS, _CHANNELS, generator=generator)


def _dense(values: Tensor, indices: Tensor) -> Tensor:
    zeros = torch.zeros(len(values), _LATENTS, dtype=torch.float64)
    return zeros.scatter_add(1, indices, values.double())


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.detach().cpu().double() - wanted).norm() / wanted.norm())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
