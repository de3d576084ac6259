"""How long one LUCID training step takes, part by part: `python -m benchmarks.train_step --json FILE`.

Random activations, so the figures say nothing about quality. Every configuration is timed in turn, round after round,
and the median is reported, because machines are noisy.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

from cache import PairBatch
from pipeline.sae.lucid import LucidOptions, LucidSAE

SHAPES = {
    "small": {"pairs": 64, "channels": 128, "latents": 1024, "k_shared": 8, "k_private": 8},
    "real": {"pairs": 4, "channels": 768, "latents": 6144, "k_shared": 16, "k_private": 32},
}
PATCHES, TOKENS = 196, 12
RECIPES = {
    "full": {},
    "no_alignment": {"alignment": "none", "gamma": 0.0},
}


def random_batch(pairs: int, channels: int) -> PairBatch:
    """A batch of random activations with captions of `TOKENS` tokens."""
    generator = torch.Generator().manual_seed(0)
    return PairBatch(
        pair=torch.arange(pairs),
        vision_tokens=torch.randn(pairs, PATCHES, channels, generator=generator),
        text_tokens=torch.randn(pairs * TOKENS, channels, generator=generator),
        text_offsets=torch.arange(pairs + 1) * TOKENS,
        token_ids=torch.zeros(pairs * TOKENS, dtype=torch.int64),
        vision_pooled=torch.zeros(pairs, channels),
        text_pooled=torch.zeros(pairs, channels),
    )


def step_time(sae: LucidSAE, optimizer: torch.optim.Optimizer, batch: PairBatch) -> float:
    """Seconds of one whole step: losses, backward, projection, AdamW, normalisation."""
    started = time.perf_counter()
    optimizer.zero_grad()
    torch.autograd.backward(sae.losses(batch).total)
    sae.project_gradients()
    optimizer.step()
    sae.normalise_weights()
    return time.perf_counter() - started


def measure(shape: dict[str, int], rounds: int) -> dict[str, float]:
    """Median milliseconds of a step for every recipe, interleaved."""
    options = {key: value for key, value in shape.items() if key not in {"pairs", "channels"}}
    batch = random_batch(shape["pairs"], shape["channels"])
    trained = {}
    for name, recipe in RECIPES.items():
        sae = LucidSAE(LucidOptions(**options, **recipe), shape["channels"], shape["channels"])
        trained[name] = (sae, torch.optim.AdamW(sae.parameters(), fused=True))
        step_time(*trained[name], batch)
    times: dict[str, list[float]] = {name: [] for name in RECIPES}
    for _ in range(rounds):
        for name, (sae, optimizer) in trained.items():
            times[name].append(step_time(sae, optimizer, batch))
    return {name: round(statistics.median(seconds) * 1e3, 2) for name, seconds in times.items()}


def main() -> None:
    """Measure all shapes; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    milliseconds = {name: measure(shape, arguments.rounds) for name, shape in SHAPES.items()}
    result = {
        "milliseconds": milliseconds,
        "ratios": {
            f"alignment_{name}": round(row["full"] / row["no_alignment"], 3)
            for name, row in milliseconds.items()
        },
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
