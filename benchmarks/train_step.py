"""How long one training step takes, next to the steps of other libraries.

`python -m benchmarks.train_step --json FILE` times whole steps on random activations: losses, backward, projection
and clipping of gradients, AdamW, normalisation. *LUCID* trains both sides and their alignment. *dense* is the same step
with dense codes and text padded to the backbone's context. *single side* is one of LUCID's dictionaries alone, with one
Top-K over all of its latents, on the vision tokens: what the peers train. A thirty-second of our latents is dead,
so that caring for them costs what it does in training.

Memory is malloc's as it comes, for all alike. With `--keep-freed-memory` the process keeps what is freed, as every
command does: then the peers' steps profit, too, some of them more than ours.

`single_side_speed_over_sparsify` compares tokens per second, the others times. The dense step's loss and gradients are
compared with the sparse step's before anything is timed.
"""

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn

from benchmarks.dense_lucid import dense_losses
from benchmarks.measurement import Spread, interleaved, paired_ratio, seconds, write_result
from benchmarks.peers import PEERS, Step
from benchmarks.synthetic import CONTEXT_LENGTH, FEWEST_TOKENS, GRID, MOST_TOKENS
from pipeline.sae.auxiliary import LatentActivity, auxiliary_loss
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.dictionary import Dictionary
from pipeline.sae.losses import Losses, mean_squared_error, weighted_sum
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import AuxiliaryOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES
from pipeline.sparse.top_k import Group
from pipeline.training.options import TrainOptions
from pipeline.training.step import TrainingStep
from stages.freed_memory import keep_freed_memory

DEAD_SHARE = 1 / 32
AGREEMENT = 1e-5
"""Largest difference of the dense step's loss and gradients, relative to their largest entry."""


class Shape(NamedTuple):
    """Size of a step."""

    pairs: int
    channels: int
    latents: int
    k_shared: int = 16
    k_private: int = 32

    @property
    def k(self) -> int:
        """Active latents per token."""
        return self.k_shared + self.k_private

    @property
    def dead(self) -> int:
        """Latents of ours that never fire."""
        return int(self.latents * DEAD_SHARE)


SHAPES = {"small": Shape(16, 192, 1536), "real": Shape(4, 768, 6144)}
TINY = {name: Shape(2, 8, 64, 2, 4) for name in SHAPES}


class SingleSide(nn.Module):
    """One dictionary with the self reconstruction and the dead-latent care of LUCID, and nothing else."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.group = Group(0, shape.latents, shape.k)
        self.dictionary = Dictionary(
            shape.latents,
            shape.channels,
            relu=True,
            subtract_decoder_bias=True,
            generator=torch.Generator().manual_seed(0),
        )
        self.activity = LatentActivity(shape.latents, AuxiliaryOptions().dead_after_pairs)

    def losses(self, pairs: Pairs) -> Losses:
        """Squared error and AuxK of the patches."""
        options = AuxiliaryOptions()
        scaled = self.dictionary.scaled(pairs.rows("vision"))
        codes, reconstruction = self.dictionary.autoencode(scaled, [self.group])
        self.activity.record(codes, len(pairs))
        dead = self.activity.dead()
        terms = {
            "self": mean_squared_error(reconstruction, scaled),
            "auxiliary": auxiliary_loss(
                self.dictionary, scaled, reconstruction, dead, scaled.shape[1] // 2, int(dead.sum())
            ),
        }
        return weighted_sum(terms, {"self": 1.0, "auxiliary": options.coefficient})

    def after_backward(self) -> None:
        """As LUCID's."""
        self.dictionary.project_gradients()

    def after_step(self) -> None:
        """As LUCID's."""
        self.dictionary.normalise_weights()


class DenseLucid(LucidSAE):
    """LUCID with dense codes and padded text."""

    def losses(self, pairs: Pairs) -> Losses:
        """The same total as LUCID's; no terms."""
        return Losses(dense_losses(self, pairs, CONTEXT_LENGTH), {})


def random_pairs(shape: Shape) -> Pairs:
    """Normally distributed activations; captions of the lengths of real ones."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(FEWEST_TOKENS, MOST_TOKENS + 1, (shape.pairs,), generator=generator)
    return Pairs(
        torch.randn(shape.pairs, GRID[0] * GRID[1], shape.channels, generator=generator),
        torch.randn(int(lengths.sum()), shape.channels, generator=generator),
        torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
    )


def lucid(shape: Shape, kind: type[LucidSAE] = LucidSAE) -> LucidSAE:
    """A new model, some of whose latents are dead."""
    options = LucidOptions(latents=shape.latents, k_shared=shape.k_shared, k_private=shape.k_private)
    sae = kind(options, shape.channels, shape.channels)
    for side in SIDES:
        kill_latents(sae.dictionary(side), sae.activity[side], shape.dead)
    return sae


@torch.no_grad()
def kill_latents(dictionary: Dictionary, activity: nn.Module, count: int) -> None:
    """Make the last `count` latents too faint to be among the top, half of them above zero, and long silent."""
    dictionary.encoder[-count:] *= 0.1
    activity.pairs_since_fired[-count:] = AuxiliaryOptions().dead_after_pairs


def make_steps(shape: Shape, peers: Iterable[str]) -> tuple[dict[str, Step], dict[str, str]]:
    """The steps to be timed, by name, and why those that cannot be are left out."""
    pairs = random_pairs(shape)
    tokens = pairs.rows("vision")
    refuse_disagreement(lucid(shape), pairs)
    single = SingleSide(shape)
    kill_latents(single.dictionary, single.activity, shape.dead)
    ours = {"LUCID": lucid(shape), "dense": lucid(shape, DenseLucid), "single side": single}
    steps: dict[str, Step] = {
        name: partial(TrainingStep(cast(SparseAutoencoder, model), TrainOptions()), pairs)
        for name, model in ours.items()
    }
    left_out = {}
    for name in peers:
        try:
            steps[name] = PEERS[name].make_step(tokens, shape.latents, shape.k)
        except ImportError as error:
            left_out[name] = f"{error}; pip install -e '.[benchmarks]'"
    return steps, left_out


def refuse_disagreement(sae: LucidSAE, pairs: Pairs) -> None:
    """Make sure that the dense step computes what the sparse one does."""
    results = []
    clocks = {side: sae.activity[side].pairs_since_fired.clone() for side in SIDES}
    for loss in (lambda: sae.losses(pairs).total, lambda: dense_losses(sae, pairs, CONTEXT_LENGTH)):
        for side in SIDES:
            sae.activity[side].pairs_since_fired.copy_(clocks[side])
        total = loss()
        results.append([total, *torch.autograd.grad(total, list(sae.parameters()))])
    for ours, dense in zip(*results, strict=True):
        if (ours - dense).abs().max() > AGREEMENT * dense.abs().max():
            raise SystemExit("the dense step does not compute what the sparse step computes")


def measure(
    shapes: Mapping[str, Shape], peers: Iterable[str], rounds: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Seconds per step by shape, name and round, and what was left out."""
    times, left_out = {}, {}
    for name, shape in shapes.items():
        steps, left_out = make_steps(shape, peers)
        for step in steps.values():
            step()
        times[name] = interleaved(
            {step_name: partial(seconds, step) for step_name, step in steps.items()}, rounds
        )
    return times, left_out


def ratios(times: Mapping[str, Mapping[str, list[float]]]) -> dict[str, float]:
    """The claims, for every shape whose peers were there."""
    claims = {
        "lucid_over_overcomplete": ("LUCID", "overcomplete"),
        "single_side_speed_over_sparsify": ("sparsify", "single side"),
        "dense_over_sparse": ("dense", "LUCID"),
    }
    return {
        f"{claim}_{shape}": paired_ratio(of_shape[above], of_shape[below])
        for claim, (above, below) in claims.items()
        for shape, of_shape in times.items()
        if above in of_shape and below in of_shape
    }


def main(command_line: list[str] | None = None) -> None:
    """Measure all shapes; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--keep-freed-memory", action="store_true", help="from step to step")
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, to see whether it runs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    if arguments.keep_freed_memory:
        keep_freed_memory()
    shapes = TINY if arguments.tiny else SHAPES
    times, left_out = measure(shapes, arguments.peers, arguments.rounds)
    write_result(
        arguments,
        "benchmarks.train_step",
        ratios=ratios(times),
        measured={
            f"{name}, {shape}": Spread.of([1e3 * taken for taken in taken_by], "ms")
            for shape, of_shape in times.items()
            for name, taken_by in of_shape.items()
        },
        conditions={
            **{name: shape._asdict() | {"dead": shape.dead} for name, shape in shapes.items()},
            "patches": GRID[0] * GRID[1],
            "caption_tokens": f"{FEWEST_TOKENS} to {MOST_TOKENS}",
            "dense_caption_tokens": CONTEXT_LENGTH,
            "rounds": arguments.rounds,
            **({"left_out": left_out} if left_out else {}),
        },
        packages=("torch", *(peer.distribution for peer in PEERS.values())),
    )


if __name__ == "__main__":
    main()
