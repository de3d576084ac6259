"""How long the transport plans of a batch take: `python -m benchmarks.sinkhorn --json FILE`.

Random costs between the patches of an image and the tokens of its caption, captions of random lengths. *Padded* is a
batch as tokenizers give it, 64 tokens wide; *trimmed* is cut to its longest caption, as training builds it. All run
the same number of iterations in float32. `speedup_over_pot_trimmed` gives both the trimmed batch;
`speedup_over_pot_padded` and `speedup_over_geomloss` compare them on the padded batch, which is what they need without
masks, with ours on the trimmed one. Ours given the padded batch is measured too: `concord, padded`.

Before anything is timed, POT's plans and gradients are compared with ours: the algorithm is the same. geomloss averages
both half steps, which is another algorithm: it is timed only.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.measurement import Spread, interleaved, paired_ratio, seconds, write_result
from pipeline.transport.sinkhorn import sinkhorn

SEED = 0
EPSILON, ITERATIONS = 0.1, 10
SHORTEST, LONGEST, PADDED = 8, 20, 64
PADDING_COST = 4.0
"""Of padded columns: exp(-4 / epsilon) is far below float32's resolution, so POT, which knows no mask, gets the
plans of the trimmed problems, and neither infinities nor denormal numbers slow it down."""
CALLS = 5
"""Calls per turn; their mean counts, after one that does not."""

Solver = Callable[[], Tensor]
"""Computes the plans of its batch [pair, patch, token]."""


class Batch(NamedTuple):
    """Transport problems, tokens without mass at the end."""

    cost: Tensor
    valid: Tensor
    row_mass: Tensor
    column_mass: Tensor

    def trimmed(self) -> "Batch":
        """Without the columns that no pair uses."""
        longest = int(self.valid.sum(dim=1).max())
        cost, valid = self.cost[:, :, :longest].contiguous(), self.valid[:, :longest].contiguous()
        return Batch(cost, valid, self.row_mass, self.column_mass[:, :longest].contiguous())


def random_batch(pairs: int, patches: int) -> Batch:
    """Costs in [0, 2] and uniform masses."""
    generator = torch.Generator().manual_seed(SEED)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (pairs,), generator=generator)
    lengths[0] = LONGEST
    valid = torch.arange(PADDED) < lengths[:, None]
    cost = 2 * torch.rand(pairs, patches, PADDED, generator=generator)
    cost = cost.masked_fill(~valid[:, None, :], PADDING_COST)
    return Batch(cost, valid, torch.full((pairs, patches), 1 / patches), valid / lengths[:, None])


def solve_ours(batch: Batch) -> Tensor:
    """As training calls it."""
    return sinkhorn(*batch, EPSILON, ITERATIONS)


def solve_pot(batch: Batch, gradient: str) -> Tensor:
    """POT's batched kernel itself, without the losses and entropies that `ot.solve_batch` adds."""
    from ot.batch import bregman_projection_batch  # noqa: PLC0415 - a peer that may be missing

    kernel = (batch.cost / -EPSILON).exp()
    result = bregman_projection_batch(
        kernel, batch.row_mass, batch.column_mass, max_iter=ITERATIONS, tol=0, grad=gradient
    )
    plan: Tensor = result["T"]
    return plan


def solve_geomloss(batch: Batch) -> Tensor:
    """The nearest that geomloss offers."""
    from geomloss import ot  # noqa: PLC0415 - a peer that may be missing

    plan: Tensor = ot.solve_batch(
        batch.cost, reg=EPSILON, a=batch.row_mass, b=batch.column_mass, max_iter=ITERATIONS
    ).plan
    return plan


def with_backward(solve: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """The gradient of the cost through all iterations, of the sum of squares."""
    cost = batch.cost.clone().requires_grad_()
    solve(batch._replace(cost=cost)).square().sum().backward()
    assert cost.grad is not None
    return cost.grad


def candidates_for(padded: Batch) -> tuple[dict[str, Solver], dict[str, str]]:
    """What is timed, by name, and why peers that are not installed are left out."""
    batches = {"padded": padded, "trimmed": padded.trimmed()}
    chosen: dict[str, Solver] = {}
    left_out: dict[str, str] = {}
    for name, batch in batches.items():
        solvers = {
            "concord": partial(solve_ours, batch),
            "POT": partial(solve_pot, batch, "detach"),
            "geomloss": partial(solve_geomloss, batch),
            "concord, with backward": partial(with_backward, solve_ours, batch),
            "POT, with backward": partial(with_backward, partial(solve_pot, gradient="autodiff"), batch),
        }
        for solver, solve in solvers.items():
            try:
                solve()
            except ModuleNotFoundError as missing:
                left_out[solver] = f"{missing.name}: not installed, pip install -e '.[benchmarks]'"
            else:
                chosen[f"{solver}, {name}"] = solve
    return chosen, left_out


def refuse_different_results(candidates: dict[str, Solver]) -> None:
    """Make sure that POT computes the same plans and gradients, so that the times can be compared."""
    for name, solve in candidates.items():
        if not name.startswith("POT"):
            continue
        theirs, ours = solve(), candidates[name.replace("POT", "concord")]()
        if (error := (theirs - ours).abs().max() / theirs.abs().max()) > 1e-5:
            raise SystemExit(f"{name}: differs from ours by {error:.1e} relative")


def time_of(solve: Solver) -> float:
    """Milliseconds of a call."""
    solve()
    return 1e3 * seconds(lambda: [solve() for _ in range(CALLS)]) / CALLS


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--patches", type=int, default=196)
    parser.add_argument("--rounds", type=int, default=51)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    candidates, left_out = candidates_for(random_batch(arguments.pairs, arguments.patches))
    refuse_different_results(candidates)
    times = interleaved(
        {name: partial(time_of, solve) for name, solve in candidates.items()}, arguments.rounds
    )
    forward, both = "concord, trimmed", "concord, with backward, trimmed"
    compared = {
        "speedup_over_pot_padded": ("POT, padded", forward),
        "speedup_over_pot_trimmed": ("POT, trimmed", forward),
        "speedup_over_geomloss": ("geomloss, padded", forward),
        "speedup_with_backward_over_pot_padded": ("POT, with backward, padded", both),
        "speedup_with_backward_over_pot_trimmed": ("POT, with backward, trimmed", both),
    }
    write_result(
        arguments,
        "benchmarks.sinkhorn",
        ratios={
            ratio: paired_ratio(times[peer], times[ours])
            for ratio, (peer, ours) in compared.items()
            if peer in times
        },
        measured={name: Spread.of(values, "ms") for name, values in times.items()},
        conditions={
            "pairs": arguments.pairs,
            "patches": arguments.patches,
            "tokens": f"{SHORTEST} to {LONGEST}, padded to {PADDED} or trimmed to {LONGEST}",
            "epsilon": EPSILON,
            "iterations": ITERATIONS,
            "rounds": arguments.rounds,
            "calls_per_round": CALLS,
            "left_out": left_out,
        },
        packages=("torch", "POT", "geomloss"),
    )


if __name__ == "__main__":
    main()
