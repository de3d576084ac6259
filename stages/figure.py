"""Draw figures for papers from trained variants."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cache import ActivationCache
from pipeline.errors import ConfigError, RunError
from pipeline.figures.heatmap import heatmap_figure
from pipeline.figures.latent import latent_figure
from pipeline.figures.source import FigureSource
from pipeline.figures.style import WIDTHS, check_outputs
from pipeline.params import Params
from pipeline.results.markup import Markup
from pipeline.results.run import read_run
from pipeline.results.tables import choose_tables, tables_text
from pipeline.runs.config import refuse_other_backbone
from pipeline.runs.files import replace_file
from stages.drawing import write_drawing
from stages.paths import cache_path
from stages.progress import note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKUPS: Mapping[str, Markup] = {".tex": "latex", ".md": "markdown"}
"""How tables are set, by the suffix of their file."""


def open_source(params: Params, run: Path, split: str) -> FigureSource:
    """A run, and the cache and pictures of a split.

    Raises:
        ConfigError: there is no such split.
        CacheError: its cache is missing or damaged.
        RunError: the run is not trained, is damaged, or was trained on activations of another backbone.
    """
    if split not in params.dataset.splits:
        raise ConfigError(
            f"--split {split}: no such split; params.yaml has {', '.join(params.dataset.splits)}"
        )
    cache = ActivationCache.open(cache_path(split))
    refuse_other_backbone(run, cache.manifest.backbone, f"that of {cache}")
    return FigureSource(run, cache, params.dataset.root)


def draw_heatmap(
    source: FigureSource,
    images: Sequence[str],
    latents: Sequence[str],
    columns: int,
    rows: int,
    width: str,
    outputs: Sequence[Path],
) -> None:
    """Draw where latents fire in pictures, chosen or picked: at most `rows` latents and `columns` pictures.

    Raises:
        ConfigError: a latent, an image or a file's suffix is not known, or the dictionary knows no places.
        RunError: the run is not trained or not interpreted.
        DatasetError: a picture cannot be read.
    """
    check_outputs(outputs)
    chosen = source.choose_latents(latents, rows)
    pairs = source.choose_pairs(images, chosen, columns)
    maps = source.heat_maps([latent.number for latent in chosen], pairs)
    _save(heatmap_figure(source.pictures(pairs), chosen, maps, WIDTHS[width]), outputs)


def draw_latent(
    source: FigureSource, latent: str, images: int, captions: int, width: str, outputs: Sequence[Path]
) -> None:
    """Draw the pictures and the captions that fire one latent most.

    Raises:
        ConfigError: the latent or a file's suffix is not known.
        RunError: the run is not trained or not interpreted.
        DatasetError: a picture cannot be read.
    """
    check_outputs(outputs)
    (shown,) = source.choose_latents([latent], 1)
    sightings = source.strongest(shown.number, images)
    pictures = [source.picture(sighting.row) for sighting in sightings]
    grid, units = source.cache.manifest.grid, source.sightings.units
    _save(latent_figure(shown, sightings, pictures, captions, grid, units, WIDTHS[width]), outputs)


def write_tables(runs: Sequence[Path], sections: Sequence[str], outputs: Sequence[Path]) -> None:
    """Write the figures of runs beside the paper's; `sections` by title, else those that the paper has.

    Raises:
        ConfigError: a section or a file's suffix is not known.
        RunError: a run was not evaluated, or a file cannot be written.
    """
    check_outputs(outputs, [*_MARKUPS])
    found = [read_run(folder) for folder in runs]
    for run in found:
        if not run.metrics:
            raise RunError(
                f"{run.folder}/metrics.json: no such file; run `concord evaluate {run.name}` first"
            )
    tables = choose_tables(found, sections)
    for output in outputs:
        replace_file(output, tables_text(tables, _MARKUPS[output.suffix]).encode())
        note(f"written to {output}")


def _save(figure: "Figure", outputs: Sequence[Path]) -> None:
    for output in outputs:
        write_drawing(figure, output)
