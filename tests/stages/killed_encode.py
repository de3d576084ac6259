"""Encodes a few small scenes with the `concord` command many times over, in processes that get a signal in between."""

import random
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from killing import command_in_child
from micro_project import write_model

from pipeline.backbone.loading import load_backbone
from pipeline.params import load_params
from pipeline.world.scenes.write import write_split
from stages import check, cli, encode  # noqa: F401  (the command imports them when it is given)

ROOT = Path(__file__).parents[2]
CACHE = Path("data/cache/train.zarr")
SHARDS = 4
PARTS = 6
STOPS = {signal.SIGINT: 1 / 3, signal.SIGTERM: 2 / 3}


class Work:
    """A folder in which scenes are encoded."""

    def __init__(self, folder: Path, params: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._params = params

    def encode(self, moment: int | None = None, sent: signal.Signals = signal.SIGKILL) -> tuple[int, int]:
        """Give the command, with a signal at a moment; returns its status and the moments there were."""
        arguments = ["concord", "encode", "train", "--params", str(self._params)]
        return command_in_child(cli.app, arguments, self.folder, moment, sent)

    def committed(self) -> list[int]:
        """The shards that are committed in an unfinished cache."""
        return sorted(int(file.stem) for file in (self.folder / CACHE / "ledger").glob("*.json"))


def interrupt_encoding(folder: Path, kills: int) -> dict[str, Any]:
    """Encode in FOLDER/whole without interruption, and interrupted in other folders.

    In FOLDER/RUN, for every run, the command is killed (SIGKILL) and given again until it gets to its end: first at a
    moment in another part of its work than in the run before, then anywhere; until there were `kills` kills in all. In
    FOLDER/SIGNAL it is told to stop by SIGINT and SIGTERM and given once more.

    Returns:
        For each kill which shards were committed then, the number of runs, and for each signal which shards were
        committed, the status and what was said.
    """
    folder.mkdir()
    write_split(folder / "scenes", "train", 3 * SHARDS, image_size=32)
    write_model(folder / "model")
    model = {"model": f"local-dir:{folder / 'model'}", "weights": "random"}
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"]["root"] = str(folder / "scenes")
    params |= {"backbone": model, "encode": {"batch_size": 3, "shard_images": 3, "decode_workers": 2}}
    params["variants"] = {"lucid": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    load_backbone(
        load_params(folder / "params.yaml").backbone
    )  # both, and Arrow, import more when first used
    pa.Table.from_pylist([{"a": 1}])

    def work(name: str) -> Work:
        return Work(folder / name, folder / "params.yaml")

    status, calls = work("whole").encode()
    assert status == 0
    killed: list[list[int]] = []
    runs = 0
    while len(killed) < kills:
        chosen = random.Random(runs)
        run = work(str(runs))
        done = (
            (runs % PARTS + chosen.random()) / PARTS
        ) ** 2  # closer where shards are committed, which is early
        for moment in (1 + int(done * calls), chosen.randrange(1, calls // 3), None):
            if run.encode(moment)[0] != -signal.SIGKILL:
                break
            killed.append(run.committed())
        runs += 1
    stopped = []
    for sent, done in STOPS.items():
        run = work(sent.name)
        status, _ = run.encode(round(done * calls), sent)
        out, err = ((run.folder / name).read_text().splitlines() for name in ("out", "err"))
        stopped.append(
            {"signal": sent.name, "status": status, "committed": run.committed(), "out": out, "err": err}
        )
        assert run.encode()[0] == 0
    return {"killed": killed, "runs": runs, "stopped": stopped}
