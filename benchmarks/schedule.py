"""What a whole training costs with a cache and without: `python -m benchmarks.schedule --json FILE`.

A batch of pairs is encoded once into a cache, then both ways of training take turns: `cached` reads the batch from the
cache on disk and takes one step of LUCID; `re-encoded` runs the frozen backbone over the batch, whose pictures are
decoded and in memory already, and takes the same step. `reencoding_over_cached` is the ratio of the two times, `hours`
what the paper's schedule (118,287 pairs, 200 epochs) would then take on this machine, encoding once included.
The backbone is ViT-B/16 SigLIP with random weights, whose speed is that of the real ones.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.encode import BACKBONES, preprocessed
from benchmarks.measurement import Spread, interleaved, paired_ratio, seconds, write_result
from cache import ActivationCache, PairBatch
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.datasets.coco import CocoDataset
from pipeline.encoding.options import EncodeOptions
from pipeline.encoding.split import encode_split
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.training.loop import Trainee
from pipeline.training.options import TrainOptions
from pipeline.world.scenes.write import write_split
from stages.freed_memory import keep_freed_memory

PAPER_PAIRS, PAPER_EPOCHS = 118_287, 200
STEPS_PER_EPOCH = PAPER_PAIRS // 256


class Reencoding:
    """A batch that is made anew by the backbone each time it is asked for."""

    def __init__(self, dataset: CocoDataset, backbone: Backbone) -> None:
        self._backbone = backbone
        self._pixels = preprocessed(dataset, backbone)
        self._token_ids, self._valid = backbone.tokenize([image.captions[0].text for image in dataset.images])

    def batch(self) -> PairBatch:
        """All pairs of the data set."""
        images = self._backbone.encode_images(self._pixels)
        texts = self._backbone.encode_texts(self._token_ids)
        return PairBatch(
            torch.arange(len(self._pixels)),
            images.tokens.clone(),  # of inference mode, which autograd refuses
            texts.tokens[self._valid],
            torch.nn.functional.pad(self._valid.sum(dim=1).cumsum(0), (1, 0)),
            self._token_ids[self._valid],
            images.pooled,
            texts.pooled,
        )


def trainee(cache: ActivationCache, latents: int, folder: Path) -> Trainee:
    """LUCID at the paper's widths on this backbone's activations, ready to learn."""
    manifest = cache.manifest
    sae = LucidSAE(LucidOptions(latents=latents), manifest.vision_channels, manifest.text_channels)
    sae.initialise(cache.statistics)
    options = TrainOptions(batch_pairs=cache.pairs, checkpoint_every=1_000_000)
    started = Trainee(sae, options, folder / "checkpoint", {}, lambda record: None)
    started.resume(STEPS_PER_EPOCH)
    return started


def main(command_line: list[str] | None = None) -> None:
    """Measure; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", choices=list(BACKBONES), default="vit_b16")
    parser.add_argument("--pairs", type=int, default=16, help="pairs of a batch")
    parser.add_argument("--latents", type=int, default=6144)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a disk, not in memory")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    keep_freed_memory()
    torch.set_num_threads(1)
    backbone = load_backbone(BACKBONES[arguments.backbone])
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        write_split(folder, "train", arguments.pairs)
        dataset = CocoDataset.open(folder, "train")
        options = EncodeOptions(batch_size=arguments.pairs)

        def encode_again() -> float:
            taken = seconds(partial(encode_split, dataset, backbone, folder / "again.zarr", options))
            shutil.rmtree(folder / "again.zarr")
            return taken

        encode_split(dataset, backbone, folder / "cache.zarr", options)
        with ActivationCache.open(folder / "cache.zarr") as cache:
            sae, reencoding = trainee(cache, arguments.latents, folder), Reencoding(dataset, backbone)
            pairs = np.arange(cache.pairs)
            sae.learn(cache.read_pairs(pairs))
            candidates: dict[str, Callable[[], float]] = {
                "cached": partial(seconds, lambda: sae.learn(cache.read_pairs(pairs))),
                "re-encoded": partial(seconds, lambda: sae.learn(reencoding.batch())),
                "encoding": encode_again,
            }
            taken = interleaved(candidates, arguments.rounds)
    per_pair = {
        name: Spread.of([arguments.pairs / value for value in values], "pairs/s")
        for name, values in taken.items()
    }
    write_result(
        arguments,
        "benchmarks.schedule",
        ratios={"reencoding_over_cached": paired_ratio(taken["re-encoded"], taken["cached"])},
        measured=per_pair,
        conditions={
            "backbone": arguments.backbone,
            "pairs_per_step": arguments.pairs,
            "latents_per_side": arguments.latents,
            "hours": _hours({name: spread.median for name, spread in per_pair.items()}),
        },
        packages=("open_clip_torch", "torch"),
    )


def _hours(speed: dict[str, float]) -> dict[str, float]:
    """Hours of the paper's schedule, by the way of training, from pairs per second."""
    steps = PAPER_PAIRS * PAPER_EPOCHS / 3600
    return {
        "cached": round(steps / speed["cached"] + PAPER_PAIRS / speed["encoding"] / 3600, 1),
        "re-encoded": round(steps / speed["re-encoded"], 1),
    }


if __name__ == "__main__":
    main()
