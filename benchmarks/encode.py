"""What encoding costs beyond the backbone's own forward pass: `python -m benchmarks.encode --json FILE`.

`wall_over_forward` is the wall time of encoding a split (reading and decoding the pictures, preprocessing,
tokenizing, forward pass, checks, statistics, durable writing) over that of the bare forward pass on tensors that
are in memory already, batch for batch the same. 1 would mean that everything else hides behind the forward pass.
The embedded tiny backbone is measured, and ViT-B/16 SigLIP with random weights, whose speed is that of the real ones.
Both sides profit alike from keeping freed memory, as `load_backbone` arranges it on a CPU. Encoding takes turns with
the forward pass, and is compared with the mean of the one before it and the one after it: a machine that grows slower
or faster meanwhile favours neither.

`decoding_speedup` is how many times faster a thread on every core decodes and preprocesses pictures than one thread.
"""

import argparse
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.measurement import Spread, file_system, interleaved, paired_ratio, seconds, write_result
from pipeline.ahead import Ahead
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.decoding import Decoded, decode
from pipeline.datasets.scenes.write import write_split
from pipeline.encoding import EncodeOptions, encode_split

TINY = f"local-dir:{Path(__file__).parents[1] / 'models/tiny-siglip'}"
BACKBONES = {
    "tiny": BackboneOptions(model=TINY),
    "vit_b16": BackboneOptions(model="ViT-B-16-SigLIP", weights="random", tokenizer=TINY),
}


def measure(
    dataset: CocoDataset, backbone: Backbone, options: EncodeOptions, folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Seconds of encoding `dataset`, by round, and of the bare forward pass, before the first round and after each."""
    images, captions = _batches(dataset, backbone, options.batch_size)

    def forward(batches: int | None = None) -> None:
        for pixels in images[:batches]:
            backbone.encode_images(pixels)
        for token_ids in captions[:batches]:
            backbone.encode_texts(token_ids)

    def encode() -> float:
        taken = seconds(partial(encode_split, dataset, backbone, folder / "cache.zarr", options))
        shutil.rmtree(folder / "cache.zarr")
        return taken

    forward(batches=2)  # as much memory as the process will keep
    before = seconds(forward)
    measured = interleaved({"wall": encode, "forward": partial(seconds, forward)}, rounds)
    return {**measured, "forward": [before, *measured["forward"]]}


def main(command_line: list[str] | None = None) -> None:
    """Measure both backbones; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--tiny-images", type=int, default=2048)
    parser.add_argument("--vit-b16-images", type=int, default=8)
    parser.add_argument("--decoded-images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--torch-threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a disk, not in memory")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(command_line)
    torch.set_num_threads(arguments.torch_threads)
    counts = {"tiny": arguments.tiny_images, "vit_b16": arguments.vit_b16_images}
    taken: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        for name in arguments.backbones:
            write_split(folder, "train", counts[name], workers=os.cpu_count() or 1)
            options = EncodeOptions(batch_size=min(64, counts[name] // 4), shard_images=counts[name] // 4)
            dataset = CocoDataset.open(folder, "train")
            taken[name] = measure(dataset, load_backbone(BACKBONES[name]), options, folder, arguments.rounds)
        decoding = measure_decoding(folder, arguments.decoded_images, arguments.rounds)
    write_result(
        arguments,
        "benchmarks.encode",
        ratios={
            f"wall_over_forward_{name}": paired_ratio(rounds["wall"], map(fmean, pairwise(rounds["forward"])))
            for name, rounds in taken.items()
        }
        | {"decoding_speedup": paired_ratio(*decoding.values())},
        measured={
            f"{name}, {what}": Spread.of([counts[name] / value for value in values], "images/s")
            for name, rounds in taken.items()
            for what, values in rounds.items()
        }
        | {
            f"decoding, {what}": Spread.of([arguments.decoded_images / value for value in values], "images/s")
            for what, values in decoding.items()
        },
        conditions={
            "images": {name: counts[name] for name in taken},
            "shards": 4,
            "rounds": arguments.rounds,
            "file_system": file_system(arguments.folder),
        },
        packages=("open_clip_torch", "pillow", "torch"),
    )


def measure_decoding(folder: Path, images: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of decoding and preprocessing `images` pictures for the tiny backbone, by round."""
    write_split(folder, "val", images, workers=os.cpu_count() or 1)
    dataset, backbone = CocoDataset.open(folder, "val"), load_backbone(BACKBONES["tiny"])

    def taken(workers: int) -> float:
        return seconds(lambda: deque(decoded(dataset, backbone, workers), maxlen=0))

    candidates = {
        "one thread": partial(taken, 1),
        "a thread on every core": partial(taken, os.cpu_count() or 1),
    }
    return interleaved(candidates, rounds)


def decoded(dataset: CocoDataset, backbone: Backbone, workers: int = 1) -> Iterator[Decoded]:
    """Every picture of the data set as the backbone wants it."""
    preprocess = partial(decode, root=dataset.root, preprocess=backbone.preprocess)
    return Ahead(preprocess, dataset.images, workers=workers, ahead=128)


def preprocessed(dataset: CocoDataset, backbone: Backbone) -> Float[Tensor, "image 3 height width"]:
    """Every picture of the data set, all of which are usable, as the backbone wants them."""
    return torch.stack([pixels for pixels in decoded(dataset, backbone) if isinstance(pixels, Tensor)])


def _batches(dataset: CocoDataset, backbone: Backbone, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Pixels and token ids of the data set, in the batches that encoding makes of one shard after the other."""
    pixels = preprocessed(dataset, backbone)
    token_ids, _ = backbone.tokenize([caption.text for image in dataset.images for caption in image.captions])
    return list(torch.split(pixels, size)), list(torch.split(token_ids, size))


if __name__ == "__main__":
    main()
