"""Write docs/storage.md from benchmarks/results/storage.json and codecs.json: `python -m benchmarks.storage_page`."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/results/storage.json"
CODECS = ROOT / "benchmarks/results/codecs.json"
PAGE = ROOT / "docs/storage.md"
INTRODUCTION = """# Storage

Written by `python -m benchmarks.storage_page` from `benchmarks/results/storage.json` and `codecs.json`; no number
here is typed.

## Dtypes

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


CODEC_INTRODUCTION = """## Codecs

`encode.codec` makes tokens smaller on disk, and `concord cache convert --codec` changes it later. Whatever it is,
readers get the same numbers (with `bitround`, rounded ones), any number of threads decodes, and every chunk has its
CRC32C. All are codecs of [numcodecs](https://numcodecs.readthedocs.io), so plain zarr-python reads them.

- `none`: the default. Activations are close to noise: what a lossless codec saves is little, and reading gets slower.
- `zstd`: bytes that repeat, which hardly any do.
- `pcodec`: numbers of similar size. Saves most without losing anything, and takes longest to write.
- `bitround`: 6 of the mantissa's bits are kept, then zstd. Loses less than `int8`, and saves less.

[The format's page](cache-format.md#the-large-arrays) has their settings.
"""
CODEC_COLUMNS = (
    "codec",
    "dtype",
    "bytes per pair",
    "encoding, MB/s",
    "decoding, MB/s",
    "streaming, pairs/s",
    "unexplained, vision",
    "unexplained, text",
)


def storage_page(result: dict[str, Any]) -> str:
    """The part of the page about dtypes, as Markdown.

    Args:
        result: what `benchmarks.storage` wrote.
    """
    rows = _table(COLUMNS, [_row(dtype, measured) for dtype, measured in result["dtypes"].items()])
    return "\n".join([INTRODUCTION, rows, "", _conditions(result)])


def codec_page(result: dict[str, Any]) -> str:
    """The part of the page about codecs, as Markdown.

    Args:
        result: what `benchmarks.codecs` wrote.
    """
    conditions, machine = result["conditions"], result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"""{CODEC_INTRODUCTION}
{_table(CODEC_COLUMNS, [_codec_row(measured) for measured in result["codecs"]], named=2)}

Of the validation split, {conditions["pairs"]} pairs, encoded in float32 and converted. Encoding and decoding are
those of one thread, in seconds of its processor, and count the values as stored; streaming is a shuffled epoch from the
page cache. Medians of {conditions["rounds"]} rounds.

    {result["command"]}

{machine["processor"]}, {machine["cores"]} cores, load average {conditions["load_average_at_end"]:g}; {versions}.
"""


def whole_page() -> str:
    """All of docs/storage.md, from the committed results."""
    dtypes, codecs = (json.loads(file.read_text(encoding="utf-8")) for file in (RESULT, CODECS))
    return f"{storage_page(dtypes)}\n{codec_page(codecs)}"


def _codec_row(measured: dict[str, Any]) -> list[str]:
    lost = measured["unexplained_variance"]
    return [
        f"`{measured['codec']}`",
        f"`{measured['dtype']}`",
        f"{measured['bytes_per_pair']:,.0f}",
        *(f"{measured[what]:,.0f}" if what in measured else "" for what in ("encode", "decode", "stream")),
        *(_fraction(lost[side]) for side in ("vision", "text")),
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], named: int = 1) -> str:
    """A table; all columns but the first `named` hold numbers."""
    lines = [columns, ["---"] * named + ["---:"] * (len(columns) - named), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fraction(lost: float) -> str:
    return f"{lost:.1e}" if lost else "0"


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
        *map(_fraction, lost),
        *(
            _spread([run[name] for run in measured["runs"]])
            for name in ("r2_vision", "r2_text", "point_at_1")
        ),
    ]


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    PAGE.write_text(whole_page(), encoding="utf-8")
    print(PAGE)
