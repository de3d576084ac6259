"""Encodes a few small scenes with the `concord` command many times over, in processes that get a signal in between.

Usage: killed_encode.py FOLDER KILLS. Encodes in FOLDER/whole without interruption, then in FOLDER/RUN for every run:
there the command is killed (SIGKILL) and given again until it gets to its end, until there were KILLS kills in all. In
FOLDER/SIGNAL.RUN it is told to stop by SIGINT and SIGTERM and given once more. Prints as JSON, for each signal, which
shards were committed then, and the status and what was said.
"""

import json
import os
import random
import signal
import sys
from pathlib import Path

import pyarrow as pa
import yaml
from killing import Calls, in_child

from pipeline.backbone.loading import load_backbone
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.scenes.write import write_split
from pipeline.pretraining.tokenizer import write_tokenizer
from stages import cli, encode  # noqa: F401  (the command imports it when it is given)

ROOT = Path(__file__).parents[2]
CACHE = Path("data/cache/train.zarr")
SHARDS = 4
STOPS = 2


def write_model(folder: Path) -> None:
    """An open_clip folder without weights: 2 x 2 patches of 16 pixels."""
    folder.mkdir()
    tower = {"width": 16, "layers": 1}
    words = ["a", "the", "red", "blue", "small", "boat", "house", "cat", "on", "and", "two"]
    vocabulary = write_tokenizer(folder, words, 32)
    text = {"context_length": 32, "vocab_size": vocabulary, "heads": 2, "hf_tokenizer_name": "small", **tower}
    vision = {"image_size": 32, "patch_size": 16, "head_width": 8, **tower}
    model = {"embed_dim": 12, "custom_text": True, "vision_cfg": vision, "text_cfg": text}
    preprocessing = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {"model_cfg": model, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


class Work:
    """A folder in which scenes are encoded."""

    def __init__(self, folder: Path, params: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._params = params

    def encode(self, moment: int | None = None, sent: signal.Signals = signal.SIGKILL) -> tuple[int, int]:
        """Give the command, with a signal at a moment; returns its status and the moments there were."""
        ours, theirs = os.pipe()

        def command() -> None:
            os.chdir(self.folder)
            for stream, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            sys.argv = ["concord", "encode", "train", "--params", str(self._params)]
            try:
                with Calls(moment, sent) as calls:
                    cli.app()
            finally:
                os.write(theirs, str(calls.made).encode())

        status = in_child(command)
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            return status, int(pipe.read() or 0)

    def committed(self) -> list[int]:
        """The shards that are committed in an unfinished cache."""
        return sorted(int(file.stem) for file in (self.folder / CACHE / "ledger").glob("*.json"))


def main(folder: Path, kills: int) -> None:
    """See the module."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    write_split(folder / "scenes", "train", 3 * SHARDS, image_size=32)
    write_model(folder / "model")
    model = {"model": f"local-dir:{folder / 'model'}", "weights": "random"}
    load_backbone(BackboneOptions(**model))  # this, and Arrow, import more when they are first used
    pa.Table.from_pylist([{"a": 1}])
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"]["root"] = str(folder / "scenes")
    params |= {"backbone": model, "encode": {"batch_size": 3, "shard_images": 3, "decode_workers": 2}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")

    def work(name: str) -> Work:
        return Work(folder / name, folder / "params.yaml")

    status, calls = work("whole").encode()
    assert status == 0
    killed: list[list[int]] = []
    runs = 0
    while len(killed) < kills:
        moments = random.Random(runs)
        run = work(str(runs))
        while run.encode(moments.randrange(1, calls // moments.choice([1, 3])))[0] == -signal.SIGKILL:
            killed.append(run.committed())
        runs += 1
    stopped = []
    for sent in (signal.SIGINT, signal.SIGTERM):
        for number in range(STOPS):
            run = work(f"{sent.name}.{number}")
            moment = round((number + 1) / (STOPS + 1) * calls)
            status, _ = run.encode(moment, sent)
            out, err = ((run.folder / name).read_text().splitlines() for name in ("out", "err"))
            stopped.append(
                {"signal": sent.name, "status": status, "committed": run.committed(), "out": out, "err": err}
            )
            assert run.encode()[0] == 0
    print(json.dumps({"killed": killed, "runs": runs, "stopped": stopped}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
