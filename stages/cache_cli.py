"""The `concord cache` commands. Imports are inside so that each starts only what it needs."""

# ruff: noqa: PLC0415
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import RenderableType

from cache import StorageCodec, StorageDtype
from stages.paths import PARAMS
from stages.terminal import Terminal

cache_app = typer.Typer(
    no_args_is_help=True, help="Describe, verify, repair, select, merge, convert, export caches."
)

SourceArgument = Annotated[str, typer.Argument(help="A finished cache: its folder, or a URL.")]
FolderArgument = Annotated[str, typer.Argument(help="The cache's folder.")]
TargetArgument = Annotated[
    Path,
    typer.Argument(help="Folder of the new cache, customarily NAME.zarr; an interrupted one is resumed."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]


@cache_app.command("info")
def show_info(
    cache: Annotated[str, typer.Argument(help="A cache, finished or not: its folder, or a URL.")],
    as_json: JsonOption = False,
) -> None:
    """Tell what a cache is and how much of it is there, from its metadata alone."""
    from cache.operations import cache_info
    from stages.cache_tables import info_table

    found = cache_info(cache)
    _show(found.to_json() if as_json else info_table(found))


@cache_app.command("verify")
def verify_cache(cache: FolderArgument, as_json: JsonOption = False) -> None:
    """Compare every file with what was written; name what is damaged, missing or foreign, and the pairs it touches.

    Ends with status 1 if something is wrong with the cache, or if it is unfinished.
    """
    from cache.operations import verify
    from stages.cache_tables import verification_text
    from stages.progress import progress_bar

    with progress_bar(f"verify {Path(cache).name}", "files") as advance:
        found = verify(cache, advance)
    _show(found.to_json() if as_json else verification_text(cache, found))
    if not found.sound:
        raise typer.Exit(1)


@cache_app.command("repair")
def repair_cache(
    cache: FolderArgument,
    params: Annotated[
        Path, typer.Option("--params", help="The file of options it was encoded with.")
    ] = PARAMS,
    split: Annotated[
        str | None, typer.Option(help="A key of dataset.splits; by default the cache's name without .zarr.")
    ] = None,
) -> None:
    """Encode again what is lost, and only that; make everything else anew from the shards; verify.

    The data set and the backbone of the options are needed only if a shard is lost.
    """
    from pipeline.params import load_params
    from stages.cache_repair import repair

    found = repair(cache, load_params(params), split or Path(cache).name.removesuffix(".zarr"))
    if not found.sound:
        raise typer.Exit(1)


@cache_app.command("stats")
def show_statistics(cache: SourceArgument, as_json: JsonOption = False) -> None:
    """Show moments, norms and clipped values of both sides; in JSON, of every channel."""
    from cache import ActivationCache
    from stages.cache_tables import statistics_json, statistics_table

    with ActivationCache.open(cache) as opened:
        _show(statistics_json(opened) if as_json else statistics_table(opened))


@cache_app.command("subset")
def write_subset(
    source: SourceArgument,
    target: TargetArgument,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST:END:STEP", help="Pairs by number, like a slice in Python: :1000, 500:600, ::10."
        ),
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pairs by number, one on each line of a text file.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Pairs by a column of samples.parquet; of a list, by what it contains: categories=boat.",
        ),
    ] = None,
) -> None:
    """Write some pairs as a cache of their own: those that meet all options; --where may be repeated."""
    from cache import ActivationCache
    from cache.operations import select_pairs, subset
    from stages.progress import progress_bar

    if pairs is None and pairs_file is None and not where:
        raise typer.BadParameter("say which pairs: --pairs, --pairs-file or --where")
    with ActivationCache.open(source) as opened:
        selected = select_pairs(opened, pairs, pairs_file, where or [])
        with progress_bar(f"write {target.name}", "shards") as advance:
            subset(opened, target, selected, advance)
    show_info(str(target))


@cache_app.command("merge")
def write_merged(
    sources: Annotated[list[str], typer.Argument(help="Finished caches of one backbone: folders or URLs.")],
    target: TargetArgument,
) -> None:
    """Write several caches, one after another, as one. An image id may be in one of them only."""
    from contextlib import ExitStack

    from cache import ActivationCache
    from cache.operations import merge
    from stages.progress import progress_bar

    with ExitStack() as opened, progress_bar(f"write {target.name}", "shards") as advance:
        merge([opened.enter_context(ActivationCache.open(source)) for source in sources], target, advance)
    show_info(str(target))


@cache_app.command("convert")
def write_converted(
    source: SourceArgument,
    target: TargetArgument,
    dtype: Annotated[StorageDtype | None, typer.Option(help="The new storage dtype.")] = None,
    codec: Annotated[
        StorageCodec | None,
        typer.Option(help="What makes tokens smaller; bitround loses some of each, see docs/storage.md."),
    ] = None,
    shard_images: Annotated[
        int | None, typer.Option(min=1, help="The new number of images in a shard.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also say which part of the tokens' variance is lost.")
    ] = False,
) -> None:
    """Write a cache in another storage dtype, with another codec, or in shards of another size."""
    from cache import ActivationCache
    from cache.operations import convert
    from cache.operations.lost_variance import lost_variance
    from stages.progress import progress_bar

    if dtype is None and codec is None and shard_images is None:
        raise typer.BadParameter("say what to change: --dtype, --codec or --shard-images")
    with ActivationCache.open(source) as opened, progress_bar(f"write {target.name}", "shards") as advance:
        convert(opened, target, dtype, codec, shard_images, advance)
    show_info(str(target))
    if measure:
        with ActivationCache.open(source) as original, ActivationCache.open(target) as made:
            for side, lost in lost_variance(made, original).items():
                Terminal().print(
                    f"{side}: {lost.all:.1e} of the variance is lost, {lost.worst:.1e} in the worst channel"
                )


@cache_app.command("export")
def export_files(
    source: SourceArgument,
    folder: Annotated[Path, typer.Argument(help="Where the files go; missing or empty.")],
    file_format: Annotated[
        Literal["safetensors", "parquet"], typer.Option("--format", help="The format of the files.")
    ] = "safetensors",
) -> None:
    """Write the pairs as plain files, one for each shard, with a description of what is in them."""
    from cache import ActivationCache
    from cache.operations import export
    from stages.progress import progress_bar

    with ActivationCache.open(source) as opened, progress_bar(f"write {folder}", "shards") as advance:
        export(opened, folder, file_format, advance)
    Terminal().print(f"{folder}/description.json tells what is there")


def _show(what: dict[str, Any] | RenderableType) -> None:
    if isinstance(what, dict):
        typer.echo(json.dumps(what, indent=2))
    else:
        Terminal().print(what, soft_wrap=isinstance(what, str))
