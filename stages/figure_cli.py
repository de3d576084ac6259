"""The `concord figure` commands. Imports are inside so that `concord --help` does not wait for matplotlib."""

# ruff: noqa: PLC0415
from pathlib import Path
from typing import Annotated, Literal

import typer

from stages.paths import PARAMS, RUNS

figure_app = typer.Typer(
    no_args_is_help=True, help="Figures for papers: PDF with vector text, PNG, tables in LaTeX."
)

Width = Literal["column", "text", "page"]
ParamsOption = Annotated[Path, typer.Option("--params", help="The file of options.")]
RunOption = Annotated[Path | None, typer.Option(help="The run's folder; runs/VARIANT by default.")]
SplitOption = Annotated[str, typer.Option(help="The split whose pictures are shown.")]
WidthOption = Annotated[
    Width, typer.Option(help="3.25 inches (one of two columns), 5.5 (a page of one column) or 6.875 (both).")
]
OutputOption = Annotated[
    list[Path] | None, typer.Option("--output", help="A file; its suffix is its format. May be repeated.")
]


@figure_app.command("heatmap")
def heatmap(
    variant: Annotated[str, typer.Argument(help="A trained and interpreted variant.")],
    image: Annotated[
        list[str] | None, typer.Option(help="A file, or a pair's number; may be repeated. Else picked.")
    ] = None,
    latent: Annotated[
        list[str] | None,
        typer.Option(help="A name, or a number; may be repeated. Else named ones are picked."),
    ] = None,
    columns: Annotated[int, typer.Option(min=1, help="Pictures to pick.")] = 6,
    rows: Annotated[int, typer.Option(min=1, help="Latents to pick.")] = 5,
    split: SplitOption = "val",
    width: WidthOption = "page",
    output: OutputOption = None,
    params: ParamsOption = PARAMS,
    run: RunOption = None,
) -> None:
    """Pictures in columns, latents in rows, and where each fires (LUCID's figures 3, 5 and 7)."""
    from pipeline.params import load_params
    from stages.figure import draw_heatmap, open_source

    source = open_source(load_params(params), run or RUNS / variant, split)
    draw_heatmap(source, image or (), latent or (), columns, rows, width, output or [Path("heatmap.pdf")])


@figure_app.command("latent")
def latent(
    variant: Annotated[str, typer.Argument(help="A trained and interpreted variant.")],
    which: Annotated[str, typer.Argument(metavar="LATENT", help="A name, or a number.")],
    images: Annotated[int, typer.Option(min=1, help="Pictures to show.")] = 6,
    captions: Annotated[int, typer.Option(min=0, help="Captions to show.")] = 6,
    split: SplitOption = "val",
    width: WidthOption = "text",
    output: OutputOption = None,
    params: ParamsOption = PARAMS,
    run: RunOption = None,
) -> None:
    """One latent's pictures with the peak patch boxed and cropped, and its captions (LUCID's figures 4 and 6)."""
    from pipeline.params import load_params
    from stages.figure import draw_latent, open_source

    source = open_source(load_params(params), run or RUNS / variant, split)
    draw_latent(source, which, images, captions, width, output or [Path("latent.pdf")])


@figure_app.command("table")
def table(
    variants: Annotated[list[str], typer.Argument(help="Evaluated variants, one column each.")],
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="A table of the report, such as 'grounding'; may be repeated. Else those of the paper."
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Write the variants' figures beside the paper's numbers: LaTeX with booktabs as .tex, Markdown as .md."""
    from stages.figure import write_tables

    write_tables([RUNS / name for name in variants], section or (), output or [Path("table.tex")])
