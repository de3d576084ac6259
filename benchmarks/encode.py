"""What encoding costs beyond the backbone's own forward pass: `python -m benchmarks.encode --json FILE`.

`wall_over_forward` is the wall time of encoding a split (reading and decoding the pictures, preprocessing,
tokenizing, forward pass, checks, statistics, durable writing) over that of the bare forward pass on tensors that
are in memory already, batch for batch the same. 1 would mean that everything else hides behind the forward pass.
The embedded tiny backbone is measured, and ViT-B/16 SigLIP with random weights, whose speed is that of the real ones.
Both sides profit alike from keeping freed memory, as every command does. They run in two processes,
of which one is stopped while the other runs, for two seconds in turn: a machine that grows slower or faster meanwhile
favours neither. What a process does only once, such as importing, is not part of either.

`decoding_speedup` is how many times faster a thread on every core decodes and preprocesses pictures than one thread.
"""

import argparse
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.measurement import Spread, file_system, interleaved, paired_ratio, seconds, write_result
from benchmarks.turns import in_turns
from pipeline.ahead import Ahead
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.decoding import Decoded, decode
from pipeline.encoding.options import EncodeOptions
from pipeline.encoding.split import encode_split
from pipeline.world.scenes.write import write_split
from stages.freed_memory import keep_freed_memory

TINY = f"local-dir:{Path(__file__).parents[1] / 'models/tiny-siglip'}"
BACKBONES = {
    "tiny": BackboneOptions(model=TINY),
    "vit_b16": BackboneOptions(model="ViT-B-16-SigLIP", weights="random", tokenizer=TINY),
}


def measure(
    dataset: CocoDataset,
    backbone: BackboneOptions,
    options: EncodeOptions,
    arguments: argparse.Namespace,
    folder: Path,
) -> dict[str, list[float]]:
    """Seconds of encoding `dataset` into new caches below `folder`, and of the bare forward pass, by round."""
    common = (dataset, backbone, options, arguments.torch_threads)
    candidates = {"wall": partial(encoding, *common, folder), "forward": partial(forward_pass, *common)}
    return in_turns(candidates, arguments.rounds)


def encoding(
    dataset: CocoDataset, backbone: BackboneOptions, options: EncodeOptions, threads: int, folder: Path
) -> Callable[[], object]:
    """What encodes `dataset` into a new cache every time; once it has encoded a batch."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    loaded = load_backbone(backbone)

    def encode(pictures: CocoDataset = dataset) -> None:
        encode_split(pictures, loaded, Path(tempfile.mkdtemp(dir=folder)) / "cache.zarr", options)

    encode(replace(dataset, images=dataset.images[: options.batch_size]))
    return encode


def forward_pass(
    dataset: CocoDataset, backbone: BackboneOptions, options: EncodeOptions, threads: int
) -> Callable[[], object]:
    """What runs the backbone over tensors in memory, in the batches that encoding makes; once it has run over one."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    loaded = load_backbone(backbone)
    images = torch.split(preprocessed(dataset, loaded), options.batch_size)
    token_ids, _ = loaded.tokenize([caption.text for image in dataset.images for caption in image.captions])
    captions = torch.split(token_ids, options.batch_size)

    def forward(batches: int | None = None) -> None:
        for pixels in images[:batches]:
            loaded.encode_images(pixels)
        for ids in captions[:batches]:
            loaded.encode_texts(ids)

    forward(batches=1)
    return forward


def main(command_line: list[str] | None = None) -> None:
    """Measure both backbones; print, and write to the file asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--tiny-images", type=int, default=2048)
    parser.add_argument("--vit-b16-images", type=int, default=16)
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
            taken[name] = measure(dataset, BACKBONES[name], options, arguments, folder)
        decoding = measure_decoding(folder, arguments.decoded_images, arguments.rounds)
    write_result(
        arguments,
        "benchmarks.encode",
        ratios={
            f"wall_over_forward_{name}": paired_ratio(rounds["wall"], rounds["forward"])
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


if __name__ == "__main__":
    main()
