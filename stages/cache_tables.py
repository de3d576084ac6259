"""How the terminal shows what a cache is, what is wrong with it, and its statistics."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal
from rich.table import Table

from cache import ActivationCache, shown_text
from cache.operations import CacheInfo, Verification


def info_table(info: CacheInfo) -> Table:
    """One line for each thing to know about a cache."""
    manifest, totals = info.manifest, info.totals
    state = "complete"
    if not info.complete:
        committed = "some" if info.committed is None else info.committed
        state = f"unfinished: {committed} of {manifest.shards} shards are written"
    derived = manifest.dataset.get("derived")
    lines = {
        "cache": info.location,
        "state": state,
        "backbone": f"{manifest.backbone.get('model')}, layer {_layer(manifest.backbone.get('layer'))}",
        "weights": str(manifest.backbone.get("weights_sha256")),
        "data set": f"{manifest.dataset.get('name')}, split {manifest.dataset.get('split')}",
        "derived by": str(derived.get("operation")) if isinstance(derived, dict) else None,
        "images": f"{manifest.images:,} in {manifest.shards} shards of up to {manifest.shard_images:,}",
        "captions": f"{manifest.captions:,}, up to {manifest.context_length} tokens each",
        "pairs": f"{totals['pairs']:,}; {totals['skipped']:,} rows skipped" if totals else None,
        "patches": f"{manifest.grid[0]} x {manifest.grid[1]}, {manifest.vision_channels} channels",
        "text": (f"{totals['tokens']:,} tokens, " if totals else "") + f"{manifest.text_channels} channels",
        "embedding": f"{manifest.embedding} channels",
        "dtype": ", ".join(manifest.storage.values()),
        "on disk": decimal(info.total_bytes) if info.bytes else None,
        **{f"  {name}": decimal(size) for name, size in info.bytes.items()},
        "manifest": manifest.sha256,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines.items():
        if value is not None:
            table.add_row(name, value if name == "cache" else shown_text(value))
    return table


def _layer(layer: Any) -> str:
    """One number, or one for each side."""
    return ", ".join(f"{layer[side]} ({side})" for side in layer) if isinstance(layer, dict) else str(layer)


def verification_text(cache: Path | str, found: Verification) -> str:
    """One line for each problem, and what to do."""
    lines = [str(problem) for problem in found.problems]
    if found.problems:
        lines.append(
            f"{cache}: {len(found.problems)} problems; concord cache repair {cache} repairs what it can"
        )
    if not found.finished:
        missing = (
            f"{len(found.unwritten)} shards are not written"
            if found.unwritten
            else "though all shards are written"
        )
        lines.append(
            f"{cache}: unfinished, {missing}; run the command that writes it again, which continues where it stopped, "
            f"or concord cache repair {cache}"
        )
    if found.sound:
        lines.append(f"{cache}: all {found.files} files are what was written")
    return "\n".join(lines)


def statistics_json(cache: ActivationCache) -> dict[str, Any]:
    """Statistics of both sides with the moments of every channel, plain JSON."""
    return {"storage_dtype": cache.manifest.storage_dtype} | {
        side: {
            "count": statistics.count,
            "overflow": statistics.overflow,
            "mean": statistics.mean.tolist(),
            "variance": statistics.variance.tolist(),
            "norm_quantiles": {str(q): norm for q, norm in statistics.norm_quantiles.items()},
            "explained_by_position": _explained_by_position(cache, side),
        }
        for side, statistics in cache.statistics.items()
    }


def statistics_table(cache: ActivationCache) -> Table:
    """A column for each side."""
    columns = {side: _summary(cache, side) for side in cache.statistics}
    table = Table(title=f"{cache}, {cache.manifest.storage_dtype}", title_justify="left", box=None)
    table.add_column("")
    for side in columns:
        table.add_column(side, justify="right")
    for name in columns["vision"]:
        table.add_row(name, *(column.get(name, "") for column in columns.values()))
    return table


def _summary(cache: ActivationCache, side: str) -> dict[str, str]:
    statistics, explained = cache.statistics[side], _explained_by_position(cache, side)
    deviation = np.sqrt(statistics.variance)
    return {
        "tokens": f"{statistics.count:,}",
        "channels": f"{len(statistics.mean):,}",
        "mean of a channel: smallest": f"{statistics.mean.min():.4g}",
        "  median": f"{np.median(statistics.mean):.4g}",
        "  largest": f"{statistics.mean.max():.4g}",
        "standard deviation of a channel: smallest": f"{deviation.min():.4g}",
        "  median ": f"{np.median(deviation):.4g}",
        "  largest ": f"{deviation.max():.4g}",
        "variance of all channels together": f"{statistics.variance.sum():.4g}",
        "  explained by position alone": "" if explained is None else f"{explained:.1%}",
        **{
            f"norm of a token, quantile {q:g}": f"{norm:.4g}" for q, norm in statistics.norm_quantiles.items()
        },
        "values clipped": f"{statistics.overflow:,}",
    }


def _explained_by_position(cache: ActivationCache, side: str) -> float | None:
    """Find what share of a side's variance the position of a token alone explains; None without variance."""
    statistics = cache.statistics[side]
    total = float(statistics.squared_deviation.sum())
    return float(cache.position_means[side].between(statistics.mean).sum()) / total if total else None
