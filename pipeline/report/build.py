"""Write the report: a folder of static pages that work from a disk, without a server and without a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cache import ActivationCache
from pipeline.interpretation.latent_table import LATENTS_FILE
from pipeline.progress import Advance
from pipeline.report.dictionaries import DictionaryPages, read_dictionaries
from pipeline.report.folder import replacing_report
from pipeline.report.options import ReportOptions
from pipeline.report.pages import assets, list_pages, overview, templates
from pipeline.report.pictures import PictureShelf
from pipeline.report.side_by_side import SideBySide, compare_variants
from pipeline.results.run import Run, read_run
from pipeline.sae.reader import READERS


def build_report(
    output: Path,
    runs: Sequence[Path],
    caches: Mapping[str, ActivationCache],
    dataset_root: Path,
    options: ReportOptions,
    progress: Advance | None = None,
) -> Path:
    """Write `index.html`, `compare.html`, and for each interpreted variant its `VARIANT/concepts.html` and one page
    per latent, `VARIANT/0012.html`, with pictures, into `output`.

    What is missing (a variant's metrics, names, a split) is said on the pages and is no error. An earlier report in
    `output` is replaced once the new one is whole; whatever fails before, it stays as it was.

    Args:
        output: The report's folder; new, empty, or an earlier report.
        runs: Run folders in the order in which the tables show them.
        caches: The caches to describe by split; top images come from the split that was interpreted and from
            `options.ood_split`.
        dataset_root: The folder that the samples' files are relative to.
        options: See ReportOptions.
        progress: Receives (pages written, pages in all).

    Returns:
        The path of the first page.

    Raises:
        RunError: `output` holds something else than a report or cannot be written, a run's file is damaged, or a
            variant is named twice.
        DatasetError: a picture cannot be read.
    """
    found = [read_run(folder) for folder in runs]
    with replacing_report(output) as folder:
        _write_report(folder, found, caches, dataset_root, options, progress)
    return output / "index.html"


def _write_report(
    folder: Path,
    found: Sequence[Run],
    caches: Mapping[str, ActivationCache],
    dataset_root: Path,
    options: ReportOptions,
    progress: Advance | None,
) -> None:
    shelf = PictureShelf(folder, dataset_root, options.picture_pixels, options.picture_quality)
    dictionaries = read_dictionaries(found, caches, shelf, options)
    comparison = _comparison(found, caches, dictionaries, shelf, options)
    pages = list_pages(dictionaries, comparison, overview(found, caches, dictionaries, options))
    environment = templates()
    for number, page in enumerate(pages, start=1):
        shared = {"options": options, "dictionaries": dictionaries, "page": page.path, "root": page.root}
        shared |= {"unusable": shelf.unusable}
        _write(folder / page.path, environment.get_template(page.template).render(shared | page.values))
        if progress is not None:
            progress(number, len(pages))
    for path, text in assets(dictionaries):
        _write(folder / path, text)


def _comparison(
    runs: Sequence[Run],
    caches: Mapping[str, ActivationCache],
    dictionaries: Sequence[DictionaryPages],
    shelf: PictureShelf,
    options: ReportOptions,
) -> SideBySide | None:
    """All variants on pairs of an interpreted split; None if no captions were spelled, or their cache is missing."""
    folders = {run.name: run.folder for run in runs}
    for dictionary in dictionaries:
        if READERS[dictionary.inputs].knows_places and dictionary.split is not None:
            table = folders[dictionary.variant] / LATENTS_FILE
            cache = caches[dictionary.split]
            return compare_variants(runs, dictionary.split, cache, table, shelf, options.compared_pairs)
    return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
