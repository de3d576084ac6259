"""Write docs/storage.md from benchmarks/results/storage.json: `python -m benchmarks.storage_page`."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/results/storage.json"
PAGE = ROOT / "docs/storage.md"
INTRODUCTION = """# Storage dtypes

Written by `python -m benchmarks.storage_page` from `benchmarks/results/storage.json`; no number here is typed.

`encode.storage_dtype` in `params.yaml` decides how activations are stored; `concord cache convert` changes it later.
Whatever it is, readers get float32, and the cache's statistics are those of the values that readers get.

- `float16`: eleven significant bits, values up to 65504. Larger ones are clipped, and counted
  as `overflow` in the statistics.
- `bfloat16`: eight significant bits, the range of float32. For backbones whose outlier channels exceed float16.
- `float32`: as computed.
- `int8`: every channel is normalised over its shard, every token has its own scale; pooled embeddings are float16.
  Half the size of float16. Writing it takes more passes over a shard.

[The format's page](cache-format.md#values) has the arithmetic.
"""
COLUMNS = (
    "dtype",
    "bytes per pair",
    "unexplained, vision",
    "worst channel",
    "unexplained, text",
    "worst channel",
    "R², vision",
    "R², text",
    "point@1",
)


def storage_page(result: dict[str, Any]) -> str:
    """The page as Markdown.

    Args:
        result: what `benchmarks.storage` wrote.
    """
    table = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)]]
    table += [_row(dtype, measured) for dtype, measured in result["dtypes"].items()]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return "\n".join([INTRODUCTION, rows, "", _conditions(result)])


def _conditions(result: dict[str, Any]) -> str:
    conditions, machine = result["conditions"], result["machine"]
    seeds = ", ".join(str(run["seed"]) for run in result["dtypes"]["float32"]["runs"])
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"""*Unexplained* is the fraction of the variance of the validation split's tokens that is lost, over all
channels and in the channel that loses most. R² and point@1 are those of `{conditions["variant"]}`, trained for
{conditions["epochs"]} epochs on {conditions["pairs"]:,} pairs stored in the dtype and measured on the validation
split in float32: mean ± standard deviation over seeds {seeds}. An image has {conditions["patches"]} patches of
{conditions["vision_channels"]} channels, a text token has {conditions["text_channels"]}; the backbone is
`{conditions["backbone"]}`.

    {result["command"]}

{machine["processor"]}, {machine["cores"]} cores, {machine["threads"]} thread(s), {machine["seconds"]} s; {versions}.
"""


def _row(dtype: str, measured: dict[str, Any]) -> list[str]:
    lost = [
        measured["unexplained_variance"][side][over]
        for side in ("vision", "text")
        for over in ("all", "worst")
    ]
    return [
        f"`{dtype}`",
        f"{measured['bytes_per_pair']:,.0f}",
        *(f"{fraction:.1e}" if fraction else "0" for fraction in lost),
        *(
            _spread([run[name] for run in measured["runs"]])
            for name in ("r2_vision", "r2_text", "point_at_1")
        ),
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    PAGE.write_text(storage_page(json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8")
    print(PAGE)
