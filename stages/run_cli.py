"""The commands for trained runs that are no stage of the main graph: match, compare and explain them."""

# ruff: noqa: PLC0415 - imports are inside, so that each command starts only what it needs
from pathlib import Path
from typing import Annotated

import typer

from pipeline.sae.options import MatchedBy
from stages.paths import PARAMS, SAME_SIDE, TRAINING_SPLIT, cache_path, run_folder

run_app = typer.Typer()


@run_app.command()
def match(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    output: Annotated[Path, typer.Option(help="Folder of the new run, which must not exist.")],
    text_run: Annotated[
        Path | None, typer.Argument(help="Folder of another, whose text side stands in for the first one's.")
    ] = None,
    cache: Annotated[
        str, typer.Option(help="The cache that the run was trained on: its folder, or a URL.")
    ] = str(cache_path(TRAINING_SPLIT)),
    by: Annotated[
        MatchedBy,
        typer.Option(
            help="What fires together: picture and caption, or patch and token by the run's own plan."
        ),
    ] = "pair",
) -> None:
    """Number the latents of a run's sides anew, so that those which fire together on training pairs have one number."""
    from stages.match import match_trained

    match_trained(run, text_run, cache, output, by)


@run_app.command()
def stability(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs of one variant, each from a seed of its own.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The JSON file to write; by default the first run's stability.json.")
    ] = None,
) -> None:
    """Measure how many latents of each of several trainings of a variant the others find again."""
    from stages.stability import measure_stability

    measure_stability(runs, output)


@run_app.command()
def same_side(
    runs: Annotated[
        tuple[Path, Path], typer.Argument(help="Folders of two runs, each from a seed of its own.")
    ],
    output: Annotated[Path, typer.Option(help="The file of results.")] = SAME_SIDE,
    params: Annotated[Path, typer.Option("--params", help="The file of options.")] = PARAMS,
) -> None:
    """Measure how well the latents of two trainings of a variant match where both read the same side."""
    from stages.same_side import measure_same_side
    from stages.stage_options import stage_options

    measure_same_side(stage_options(params), runs, output)


@run_app.command()
def explain(
    image: Annotated[Path, typer.Argument(help="A picture of any size.")],
    text: Annotated[str, typer.Option(help="Words about it: which latents do they share?")] = "",
    variant: Annotated[str, typer.Option(help="The trained variant to ask.")] = "matched",
    count: Annotated[int, typer.Option(min=1, help="Latents to show at most.")] = 8,
    output: Annotated[Path, typer.Option(help="Where the drawing goes: .png, .pdf or .svg.")] = Path(
        "explanation.png"
    ),
    params: Annotated[Path, typer.Option("--params", help="The file of options.")] = PARAMS,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/VARIANT by default.")] = None,
) -> None:
    """Show which shared latents fire where in a picture, and which words share them."""
    from pipeline.params import load_params
    from stages.explain import explain_picture

    explain_picture(load_params(params), run or run_folder(variant), image, text, count, output)
