"""How long the match of two sides takes, and how much memory: `python -m benchmarks.matching --json FILE`.

Synthetic codes of pairs, at each number of latents a side: a latent is active in a tenth of the pairs, and every latent
of text is one of vision, with noise and under another number. *co-activation* adds a batch of pairs to the moments;
*assignment* makes correlations of the moments and one assignment of these, once for a whole cache; *deranged* is that
of captions that belong to other pictures, where no latent has a partner. *encode* is what the codes of a pair cost
before: Top-K of 196 patches of 768 channels. The numbers that were planted must be found again before anything counts.
Memory is what the process needed at most, beyond what it had with the codes in it.
"""

import argparse
import resource
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.measurement import Spread, interleaved, paired_ratio, seconds, write_result
from pipeline.matching.assignment import Matching, assign
from pipeline.matching.coactivation import CoActivation
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

PATCHES, CHANNELS, BATCH = 196, 768, 64
ACTIVE = 0.1
NOISE = 0.2


def random_codes(pairs: int, order: Tensor) -> tuple[Tensor, Tensor]:
    """Codes [pair, latent] of vision and of text, whose latent i is the latent order[i] of vision."""
    generator = torch.Generator().manual_seed(0)
    shape = (pairs, len(order))
    vision = torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < ACTIVE)
    text = vision + NOISE * torch.rand(shape, generator=generator) * (vision > 0)
    return vision, text[:, order]


def co_activation(vision: Tensor, text: Tensor) -> CoActivation:
    """The moments of all pairs, batch by batch."""
    moments = CoActivation(vision.shape[1], text.shape[1], torch.device("cpu"))
    for some_vision, some_text in zip(vision.split(BATCH), text.split(BATCH), strict=True):
        moments.update(some_vision, some_text)
    return moments


def match(moments: CoActivation) -> Matching:
    """The assignment that the moments give."""
    return assign(moments.correlation(), *moments.fired())


def peak_mebibytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(latents: int, pairs: int, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of every part by round, those of pairs for one pair; and MiB that the match took in addition."""
    order = torch.randperm(latents, generator=torch.Generator().manual_seed(1))
    vision, text = random_codes(pairs, order)
    before = peak_mebibytes()
    moments = co_activation(vision, text)

    found = match(moments)
    grown = peak_mebibytes() - before
    if not np.array_equal(order.numpy()[found.text], found.vision):
        raise SystemExit("the numbers that were planted are not found again")
    deranged = co_activation(vision, text.roll(1, dims=0))
    sae = LucidSAE(LucidOptions(latents=latents), CHANNELS, CHANNELS)
    patches = torch.randn(PATCHES, CHANNELS)

    def encode() -> None:
        with torch.inference_mode():
            sae.encode("vision", patches)

    work = {
        "co-activation": lambda: seconds(partial(co_activation, vision, text)) / pairs,
        "encode": lambda: seconds(encode),
        "assignment": lambda: seconds(partial(match, moments)),
        "assignment, deranged": lambda: seconds(partial(match, deranged)),
    }
    return interleaved(work, rounds), grown


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latents", type=int, nargs="+", default=[1024, 6144], help="from few to many")
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(1)
    ratios, measured, memory = {}, {}, {}
    for latents in arguments.latents:
        times, memory[latents] = measure(latents, arguments.pairs, arguments.rounds)
        ratios[f"encode_over_co_activation_{latents}"] = paired_ratio(times["encode"], times["co-activation"])
        for part, scale, unit in (
            ("co-activation", 1e3, "ms per pair"),
            ("encode", 1e3, "ms per pair"),
            ("assignment", 1, "s"),
            ("assignment, deranged", 1, "s"),
        ):
            measured[f"{part}, {latents} latents"] = Spread.of([scale * t for t in times[part]], unit)
    write_result(
        arguments,
        "benchmarks.matching",
        ratios=ratios,
        measured=measured,
        conditions={
            "pairs": arguments.pairs,
            "batch_pairs": BATCH,
            "active": ACTIVE,
            "patches": PATCHES,
            "channels": CHANNELS,
            "memory_growth_mib": {str(latents): round(grown) for latents, grown in memory.items()},
            "rounds": arguments.rounds,
        },
        packages=("torch", "numpy", "scipy"),
    )


if __name__ == "__main__":
    main()
