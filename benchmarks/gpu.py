"""LUCID's training step on a GPU, at the paper's shapes: `make bench-gpu`, or `python -m benchmarks.gpu --json FILE`.

256 pairs a step, 196 patches and about 12 tokens a pair, 768 channels, 6144 latents a side; random activations that lie
on the device. First every kernel is compared with dense float64 on the card, and steps replayed from a CUDA graph with
single ones; if one is wrong, none is timed. Times are between CUDA events, one call after another, warm. A ratio is a
time over what `BARS` asks of one H200: "pass", "target" and "stretch". `schedule` is the paper's whole training, 92,400
steps.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measurement import Spread, write_result
from cache import PairBatch
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sparse.availability import triton_reason
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import LatentOrder, gather_sum, order_by_latent, sampled_dot, scatter_sum
from pipeline.sparse.top_k import Group, top_k
from pipeline.training.agreement import Agreement, agreements
from pipeline.training.loop import Trainee
from pipeline.training.options import TrainOptions
from pipeline.training.replay import CudaGraphs, Recorder, ReplayedStep
from pipeline.training.step import TrainingStep
from pipeline.transport.coupling import couple
from pipeline.transport.options import TransportOptions
from pipeline.transport.plan import token_places

BARS = {
    "step_bf16": (8, 5, 4),
    "schedule": (12.3 * 60e3, 7.7 * 60e3, 6.2 * 60e3),
    "transport_forward": (0.100, 0.060, 0.030),
    "transport_with_backward": (0.250, 0.150, 0.090),
    "top_k": (1.5, 0.8, 0.4),
}
"""Milliseconds on one H200, by what is measured: pass, target, stretch."""

STEPS_PER_EPOCH, EPOCHS = 462, 200
FLOAT32_TOLERANCE, BFLOAT16_TOLERANCE = 1e-5, 1e-2
WARM_UP = 5


class Shape(NamedTuple):
    """How large a step is; the defaults are the paper's."""

    pairs: int = 256
    patches: int = 196
    channels: int = 768
    latents: int = 6144
    k_shared: int = 16
    k_private: int = 32

    @property
    def groups(self) -> list[Group]:
        """The shared latents and the private ones."""
        shared = self.latents // 4
        return [Group(0, shared, self.k_shared), Group(shared, self.latents, self.k_private)]

    @property
    def options(self) -> LucidOptions:
        """LUCID of this size."""
        return LucidOptions(latents=self.latents, k_shared=self.k_shared, k_private=self.k_private)


class Products(NamedTuple):
    """What the sparse products of a step are made of."""

    values: Tensor
    indices: Tensor
    table: Tensor
    rows: Tensor
    order: LatentOrder

    @classmethod
    def draw(cls, shape: Shape, tokens: int, dtype: torch.dtype, device: torch.device) -> "Products":
        """Random codes whose latents are about equally often active."""
        k = shape.k_shared + shape.k_private
        values = torch.rand(tokens, k, device=device).to(dtype)
        indices = torch.rand(tokens, shape.latents, device=device).topk(k, dim=1)[1]
        table = torch.randn(shape.latents, shape.channels, device=device).to(dtype)
        rows = torch.randn(tokens, shape.channels, device=device).to(dtype)
        return cls(values, indices, table, rows, order_by_latent(indices, shape.latents))

    @property
    def works(self) -> dict[str, Callable[[], Tensor]]:
        """Every kernel on these, by name."""
        values, indices, table, rows, order = self
        return {
            "gather_sum": partial(gather_sum, values, indices, table),
            "scatter_sum": partial(scatter_sum, values, indices, rows, len(table), order),
            "sampled_dot": partial(sampled_dot, table, indices, rows),
        }

    @property
    def wanted(self) -> dict[str, Tensor]:
        """The results of `works`, in the same order, by dense float64."""
        table, rows = self.table.double(), self.rows.double()
        dense = torch.zeros(len(rows), len(table), dtype=torch.float64, device=rows.device)
        dense.scatter_(1, self.indices, self.values.double())
        return {
            "gather_sum": dense @ table,
            "scatter_sum": dense.T @ rows,
            "sampled_dot": (rows @ table.T).gather(1, self.indices),
        }


def kernel_agreements(shape: Shape, tokens: int, device: torch.device) -> list[Agreement]:
    """Every kernel against dense float64, in both number formats, at the widths of a step but fewer tokens."""
    found = []
    for dtype, tolerance in ((torch.float32, FLOAT32_TOLERANCE), (torch.bfloat16, BFLOAT16_TOLERANCE)):
        products = Products.draw(shape, tokens, dtype, device)
        name = str(dtype).removeprefix("torch.")
        for (kernel, work), wanted in zip(products.works.items(), products.wanted.values(), strict=True):
            error = float((work().double() - wanted).norm() / wanted.norm())
            found.append(Agreement(f"{kernel} {name}", "Triton kernel", error, tolerance))
        scores = torch.randn(tokens, shape.latents, device=device).to(dtype)
        found.append(Agreement(f"top_k {name}", "Triton kernel", _top_k_error(scores, shape), 0.0))
    return found


def _top_k_error(scores: Tensor, shape: Shape) -> float:
    """Share of the entries that differ from a stable sort."""
    _, indices = top_k(scores, shape.groups)
    columns = [
        scores[:, start:stop].float().sort(dim=1, descending=True, stable=True)[1][:, :k] + start
        for start, stop, k in shape.groups
    ]
    return float((indices != torch.cat(columns, dim=1)).double().mean())


def replay_agreement(shape: Shape, device: torch.device, record: Recorder) -> Agreement:
    """Weights after a few recorded steps against those after the same steps taken one by one."""
    batches = [random_batch(shape, device) for _ in range(4)]
    weights = []
    for recorded in (True, False):
        sae = LucidSAE(shape.options, shape.channels, shape.channels).to(device)
        step = TrainingStep(sae, TrainOptions())
        take = ReplayedStep(step, record) if recorded else step
        for batch in batches:
            take(sae.reader.pairs(batch))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in sae.parameters()]))
    error = float((weights[0] - weights[1]).norm() / weights[1].norm())
    return Agreement("recorded step", "Triton kernel", error, FLOAT32_TOLERANCE)


def caption_offsets(pairs: int) -> Tensor:
    """Where the captions of a batch start: 4 to 20 tokens each, 12 in the mean."""
    lengths = torch.randint(4, 21, (pairs,), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


def random_batch(shape: Shape, device: torch.device) -> PairBatch:
    """A batch of random activations on the device."""
    offsets = caption_offsets(shape.pairs).to(device)
    tokens = int(offsets[-1])
    return PairBatch(
        pair=torch.arange(shape.pairs, device=device),
        vision_tokens=torch.randn(shape.pairs, shape.patches, shape.channels, device=device),
        text_tokens=torch.randn(tokens, shape.channels, device=device),
        text_offsets=offsets,
        token_ids=torch.zeros(tokens, dtype=torch.int64, device=device),
        vision_pooled=torch.zeros(shape.pairs, shape.channels, device=device),
        text_pooled=torch.zeros(shape.pairs, shape.channels, device=device),
    )


def training_step(shape: Shape, precision: str, folder: Path, device: torch.device) -> Callable[[], object]:
    """One step as `concord train` takes it, each on another of a few batches."""
    options = TrainOptions.model_validate(
        {"precision": precision, "batch_pairs": shape.pairs, "epochs": EPOCHS, "checkpoint_every": 1_000_000}
    )
    sae = LucidSAE(shape.options, shape.channels, shape.channels).to(device)
    trainee = Trainee(sae, options, folder / precision, "benchmark", lambda record: None)
    trainee.resume(STEPS_PER_EPOCH)
    batches = cycle([random_batch(shape, device) for _ in range(4)])
    return lambda: trainee.learn(next(batches))


def transport(shape: Shape, device: torch.device, backward: bool) -> Callable[[], object]:
    """Cost, guidance and Sinkhorn of a batch from its codes, and their gradient."""
    offsets = caption_offsets(shape.pairs).to(device)
    width = shape.groups[0][1]
    vision, text = (
        SparseCodes(
            torch.rand(tokens, shape.k_shared, device=device).requires_grad_(backward),
            torch.rand(tokens, width, device=device).topk(shape.k_shared, dim=1)[1],
        )
        for tokens in (shape.pairs * shape.patches, int(offsets[-1]))
    )
    tokens = token_places(offsets, int(offsets[-1]))
    lucid = shape.options
    options = TransportOptions(lucid.epsilon, lucid.iterations, lucid.guidance)

    def work() -> None:
        coupling = couple(vision, text, tokens, shape.patches, width, options, detach_plan=False)
        if backward:
            loss = (coupling.cost * coupling.plan.plan).sum()
            torch.autograd.grad(loss, (vision.values, text.values))

    return work


def works(shape: Shape, folder: Path, device: torch.device) -> dict[str, Callable[[], object]]:
    """Everything that is timed, by name."""
    tokens = shape.pairs * shape.patches + int(caption_offsets(shape.pairs)[-1])
    scores = torch.randn(tokens, shape.latents, device=device)
    return {
        "step_bf16": training_step(shape, "bfloat16", folder, device),
        "step_tf32": training_step(shape, "float32", folder, device),
        "transport_forward": transport(shape, device, backward=False),
        "transport_with_backward": transport(shape, device, backward=True),
        "top_k": lambda: top_k(scores, shape.groups),
        "top_k_of_torch": lambda: [scores[:, start:stop].topk(k, dim=1) for start, stop, k in shape.groups],
        **Products.draw(shape, tokens, torch.bfloat16, device).works,
    }


def device_times(work: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each of `rounds` calls on the current CUDA device, after a few that are not counted."""
    for _ in range(WARM_UP):
        work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in pairwise(events)]


def ratios_to_bars(milliseconds: Mapping[str, float]) -> dict[str, float]:
    """Each figure over each of its bars, to three decimals; below 1 the bar is met."""
    return {
        f"{figure}_over_{bar}": round(milliseconds[figure] / limit, 3)
        for figure, limits in BARS.items()
        for bar, limit in zip(("pass", "target", "stretch"), limits, strict=True)
    }


def main(command_line: list[str] | None = None) -> None:
    """Check, measure, print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    device = torch.device("cuda")
    if reason := triton_reason(device):
        print(f"error: this benchmark needs a GPU that the kernels run on: {reason}", file=sys.stderr)
        raise SystemExit(1)
    torch.manual_seed(0)
    shape = Shape()
    checked = [
        *agreements(device),
        *kernel_agreements(shape, 4096, device),
        replay_agreement(shape._replace(pairs=16), device, CudaGraphs()),
    ]
    if wrong := [agreement for agreement in checked if not agreement.holds]:
        print("error: not timed, because wrong: " + "; ".join(map(str, wrong)), file=sys.stderr)
        raise SystemExit(1)
    torch.set_float32_matmul_precision("high")  # tf32, for what is not bfloat16
    with tempfile.TemporaryDirectory() as folder:
        candidates = works(shape, Path(folder), device)
        taken = {name: device_times(work, arguments.rounds) for name, work in candidates.items()}
    measured = {name: Spread.of(times, "ms") for name, times in taken.items()}
    medians = {name: spread.median for name, spread in measured.items()}
    medians["schedule"] = medians["step_bf16"] * STEPS_PER_EPOCH * EPOCHS
    write_result(
        arguments,
        "benchmarks.gpu",
        ratios=ratios_to_bars(medians),
        measured=measured,
        conditions={
            "GPU": torch.cuda.get_device_name(device),
            "shape": shape._asdict(),
            "rounds": arguments.rounds,
            "minutes of the schedule in bf16": round(medians["schedule"] / 60e3, 2),
            "relative error": {check.operation: float(f"{check.error:.2g}") for check in checked},
        },
        packages=("torch", "triton"),
    )


if __name__ == "__main__":
    main()
