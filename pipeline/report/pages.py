"""Which pages the report has, what each of them shows, and the scripts and styles beside them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from cache import ActivationCache, visible
from pipeline.report.charts import training_charts
from pipeline.report.dictionaries import DictionaryPages
from pipeline.report.headline import headlines
from pipeline.report.heat import SCALE
from pipeline.report.options import ReportOptions
from pipeline.report.side_by_side import SideBySide
from pipeline.results.catalogue import PAPER
from pipeline.results.claims import judge
from pipeline.results.decimals import decimals_text, figure_text
from pipeline.results.intervals import share_interval
from pipeline.results.names import name_table
from pipeline.results.run import Run
from pipeline.results.skips import skipped_samples
from pipeline.results.tables import all_figures, metric_tables
from pipeline.results.training import trainings
from pipeline.unknown_tokens import count_unknown_tokens


class Page(NamedTuple):
    """One page: its path in the report, its template, and the values that only it has.

    `dictionary` is among them: that which the page is about, and which a search looks in first.
    """

    path: str
    template: str
    values: dict[str, Any]

    @property
    def root(self) -> str:
        """The report's root, seen from the page."""
        return "../" * self.path.count("/")


def list_pages(
    dictionaries: Sequence[DictionaryPages], comparison: SideBySide | None, overview: dict[str, Any]
) -> list[Page]:
    """Every page of the report, the first one first."""
    first = dictionaries[0] if dictionaries else None
    pages = [
        Page("index.html", "index.html.jinja", overview | {"dictionary": first, "comparison": comparison}),
        Page(
            "compare.html",
            "compare.html.jinja",
            {"dictionary": first, "comparison": comparison, "scale": SCALE},
        ),
    ]
    for dictionary in dictionaries:
        pages += _pages_of(dictionary, dictionaries)
    return pages


def _pages_of(dictionary: DictionaryPages, dictionaries: Sequence[DictionaryPages]) -> Iterator[Page]:
    """The gallery of one dictionary, and its latents."""
    yield Page(dictionary.gallery, "concepts.html.jinja", {"dictionary": dictionary})
    latents = dictionary.pages
    for number, latent in enumerate(latents):
        others = [other for other in dictionaries if other is not dictionary] if latent.row["named"] else []
        values = {
            "dictionary": dictionary,
            "latent": latent,
            "previous": latents[number - 1] if number else None,
            "next": latents[number + 1] if number + 1 < len(latents) else None,
            "namesakes": [(other, named) for other in others if (named := other.called(latent.title))],
        }
        yield Page(latent.page, "latent.html.jinja", values)


def overview(
    runs: Sequence[Run],
    caches: Mapping[str, ActivationCache],
    dictionaries: Sequence[DictionaryPages],
    options: ReportOptions,
) -> dict[str, Any]:
    """What the first page shows; the dictionary at its top is the first one."""
    measured = [run for run in runs if run.metrics]
    scores = [(one.variant, one.score) for one in dictionaries if one.score and one.score["named"]]
    first = dictionaries[0] if dictionaries else None
    return {
        "runs": runs,
        "headlines": headlines(runs, first.variant if first else options.variant, first),
        "unmeasured": [run.name for run in runs if not run.metrics],
        "uninterpreted": [run.name for run in runs if run.name not in {one.variant for one in dictionaries}],
        "tables": metric_tables(measured),
        "names": name_table(scores),
        "every_figure": all_figures(measured),
        "paper": PAPER,
        "verdicts": judge(measured),
        "charts": training_charts(runs),
        "trainings": trainings(runs),
        "unknown_tokens": {split: count_unknown_tokens(cache) for split, cache in caches.items()},
        "caches": caches,
        "skips": skipped_samples(caches),
        "shown_variant_exists": any(run.name == options.variant for run in runs),
    }


def assets(dictionaries: Sequence[DictionaryPages]) -> Iterator[tuple[str, str]]:
    """(path, text) of the style sheet, the scripts, and what the search field looks in."""
    package = resources.files("pipeline.report")
    yield "style.css", (package / "style.css").read_text(encoding="utf-8")
    for script in sorted((package / "scripts").iterdir(), key=lambda script: script.name):
        if script.name.endswith(".js"):
            yield f"scripts/{script.name}", script.read_text(encoding="utf-8")
    entries = [
        {
            "title": visible(latent.title),
            "variant": visible(dictionary.variant),
            "page": latent.page,
            "search": visible(latent.search_text),
        }
        for dictionary in dictionaries
        for latent in dictionary.pages
    ]
    # A script and not JSON: pages from a disk may run scripts but not read files.
    yield "scripts/entries.js", f"const ENTRIES = {json.dumps(entries, separators=(',', ':'))};\n"


def templates() -> Environment:
    """The pages' templates, which escape everything they are given, and write out what would turn text around."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "decimals": decimals_text,
        "figure": figure_text,
        "interval": interval_text,
        "percent": _percent,
        "thousands": _thousands,
    }
    return environment


def _shown(value: Any) -> Any:
    """A value as a page shows it: text of captions, files and lists without control and bidirectional characters."""
    return visible(value) if type(value) is str else value


def interval_text(counts: tuple[int, int]) -> str:
    """The 95 % interval of a share given as (part, whole), in percent."""
    low, high = share_interval(*counts)
    return f"{100 * low:.0f}\N{EN DASH}{100 * high:.0f} %"


def _percent(share: float) -> str:
    """A share as percent: whole from ten percent on, else to a tenth, and never 0 for what is more than that."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"


def _thousands(count: int) -> str:
    return f"{count:,}"
