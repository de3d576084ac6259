"""Write the report: a folder of static pages that work from a disk, without a server and without a network."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cache import ActivationCache
from pipeline.errors import RunError
from pipeline.interpretation import read_latents
from pipeline.report.charts import training_charts
from pipeline.report.claims import judge
from pipeline.report.headline import headlines
from pipeline.report.heat import SCALE
from pipeline.report.latents import TABLE, Dictionary, LatentPage, read_dictionary
from pipeline.report.options import ReportOptions
from pipeline.report.paper import paper
from pipeline.report.pictures import PictureShelf
from pipeline.report.runs import Run, read_run
from pipeline.report.side_by_side import SideBySide, compare_variants
from pipeline.report.skips import skipped_samples
from pipeline.report.tables import all_figures, metric_tables

MARKER = "report.json"
"""Lists the report's files; a folder without it was not written by `build_report`."""

Advance = Callable[[int, int], None]


def build_report(
    output: Path,
    runs: Sequence[Path],
    caches: Mapping[str, ActivationCache],
    dataset_root: Path,
    options: ReportOptions,
    progress: Advance | None = None,
) -> Path:
    """Write `index.html`, `concepts.html`, `compare.html` and one page per latent, with pictures, into `output`.

    What is missing (a variant's metrics, names, a split) is said on the pages and is no error. An earlier report in
    `output` is replaced.

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
        RunError: `output` holds something else than a report, or a run's file is damaged.
        DatasetError: a picture cannot be read.
    """
    found = [read_run(folder) for folder in runs]
    _make_room(output)
    shelf = PictureShelf(output, dataset_root, options.picture_pixels, options.picture_quality)
    dictionary = _dictionary(found, caches, shelf, options)
    comparison = _comparison(found, caches, dictionary, shelf, options)
    pages = _pages(dictionary, comparison, _overview(found, caches, dictionary, options))
    templates = _templates()
    for number, (name, template, values) in enumerate(pages, start=1):
        root = "../" * name.count("/")
        text = templates.get_template(template).render(
            options=options, dictionary=dictionary, root=root, page=name, **values
        )
        _write(output / name, text)
        if progress is not None:
            progress(number, len(pages))
    for path, text in _assets(dictionary):
        _write(output / path, text)
    files = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    _write(output / MARKER, json.dumps({"files": files}, indent=1) + "\n")
    return output / "index.html"


def _make_room(output: Path) -> None:
    """Remove an earlier report, and refuse to remove anything else."""
    if output.exists() and not output.is_dir():
        raise RunError(f"{output}: is a file; name a folder for the report")
    if output.is_dir() and any(output.iterdir()):
        if not (output / MARKER).is_file():
            raise RunError(f"{output}: not empty and not a report (no {MARKER} in it); name another folder")
        shutil.rmtree(output)
    _write(output / MARKER, '{"files": []}\n')  # first of all, so that an interrupted report can be replaced


def _dictionary(
    runs: Sequence[Run], caches: Mapping[str, ActivationCache], shelf: PictureShelf, options: ReportOptions
) -> Dictionary | None:
    for run in runs:
        if run.name == options.variant and (run.folder / TABLE).exists():
            return read_dictionary(run, caches, shelf, options)
    return None


def _comparison(
    runs: Sequence[Run],
    caches: Mapping[str, ActivationCache],
    dictionary: Dictionary | None,
    shelf: PictureShelf,
    options: ReportOptions,
) -> SideBySide | None:
    """All variants on pairs of the interpreted split; None if that split's cache is not at hand."""
    shown = next((run for run in runs if dictionary and run.name == dictionary.variant), None)
    if shown is None or dictionary is None or dictionary.split is None:
        return None
    latents, _ = read_latents(shown.folder / TABLE)
    cache = caches[dictionary.split]
    return compare_variants(runs, dictionary.split, cache, latents, shelf, options.compared_pairs)


def _pages(
    dictionary: Dictionary | None, comparison: SideBySide | None, overview: dict[str, Any]
) -> list[tuple[str, str, dict[str, Any]]]:
    """(path, template, the template's own values) of every page."""
    latents = dictionary.pages if dictionary else ()
    pages: list[tuple[str, str, dict[str, Any]]] = [
        ("index.html", "index.html.jinja", overview | {"comparison": comparison}),
        ("concepts.html", "concepts.html.jinja", {}),
        ("compare.html", "compare.html.jinja", {"comparison": comparison, "scale": SCALE}),
    ]
    for number, latent in enumerate(latents):
        values = {
            "latent": latent,
            "previous": latents[number - 1] if number else None,
            "next": latents[number + 1] if number + 1 < len(latents) else None,
        }
        pages.append((latent.page, "latent.html.jinja", values))
    return pages


def _assets(dictionary: Dictionary | None) -> Iterator[tuple[str, str]]:
    """(path, text) of the style sheet, the scripts, and what the search field looks in."""
    package = resources.files("pipeline.report")
    yield "style.css", (package / "style.css").read_text(encoding="utf-8")
    for script in sorted((package / "scripts").iterdir(), key=lambda script: script.name):
        if script.name.endswith(".js"):
            yield f"scripts/{script.name}", script.read_text(encoding="utf-8")
    entries = [
        {"title": latent.title, "page": latent.page, "search": search_text(latent)}
        for latent in (dictionary.pages if dictionary else ())
    ]
    # A script and not JSON: pages from a disk may run scripts but not read files.
    yield "scripts/entries.js", f"const ENTRIES = {json.dumps(entries, separators=(',', ':'))};\n"


def search_text(latent: LatentPage) -> str:
    """What a search finds a latent by, in lower case: its number, its terms, and the words that fire it, by line."""
    name = [latent.row["name"]] if latent.row["name"] is not None else []
    words = dict.fromkeys([*name, *latent.terms, *(word for word, _ in latent.words), str(latent.number)])
    return "\n".join(words).lower()


def _overview(
    runs: Sequence[Run],
    caches: Mapping[str, ActivationCache],
    dictionary: Dictionary | None,
    options: ReportOptions,
) -> dict[str, Any]:
    measured = [run for run in runs if run.metrics]
    return {
        "runs": runs,
        "headlines": headlines(runs, options.variant, dictionary),
        "unmeasured": [run.name for run in runs if not run.metrics],
        "tables": metric_tables(measured),
        "every_figure": all_figures(measured),
        "paper": paper(),
        "verdicts": judge(measured),
        "charts": training_charts(runs),
        "caches": caches,
        "skips": skipped_samples(caches),
        "shown_variant_exists": any(run.name == options.variant for run in runs),
    }


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": _figure,
        "percent": _percent,
        "thousands": _thousands,
        "search_text": search_text,
    }
    return environment


def _figure(value: float) -> str:
    """A metric as tables print it: whole counts whole, anything else to four decimals, with a real minus sign."""
    return (_thousands(value) if isinstance(value, int) else f"{value:.4f}").replace("-", "\N{MINUS SIGN}")


def _percent(share: float) -> str:
    """A share as percent: whole from ten percent on, else to a tenth, and never 0 for what is more than that."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _thousands(count: int) -> str:
    return f"{count:,}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
