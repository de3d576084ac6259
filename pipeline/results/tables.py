"""The tables of the first page: figures of every variant, with the paper's number under each where it has one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.results.paper import paper
from pipeline.results.run import Run

Better = Literal["higher", "lower", ""]


@dataclass(frozen=True)
class Metric:
    """One row: a figure of `metrics.json` by its dotted key, and which way is better."""

    label: str
    key: str
    better: Better = "higher"


@dataclass(frozen=True)
class Section:
    """One table: what it shows, in words, and its rows."""

    title: str
    text: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Cell:
    """One figure, and the paper's; None where there is none.

    No figure is marked as the best of its row: of every variant there is one run, and nothing says how far its figures
    would move with another seed.
    """

    value: float | None
    paper: float | None


@dataclass(frozen=True)
class Row:
    """One metric over all variants."""

    metric: Metric
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A section filled in; rows that no variant and not the paper has are left out."""

    section: Section
    variants: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def in_paper(self) -> tuple[bool, ...]:
        """Of which variants the paper has any of its figures."""
        columns = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(any(cell.paper is not None for cell in column) for column in columns)

    @property
    def has_paper(self) -> bool:
        """Whether the paper has any of its figures."""
        return any(self.in_paper)


def _grounding(kind: str, name: str, better: Better) -> tuple[Metric, ...]:
    return (
        Metric(f"mass@obj, {name}", f"grounding.{kind}.mass_at_object", better),
        Metric(f"point@1, {name}", f"grounding.{kind}.point_at_1", better),
        Metric(f"IoU@10, {name}", f"grounding.{kind}.iou_at_10", better),
    )


SECTIONS = (
    Section(
        "Reconstruction",
        "R² on the pairs that were evaluated: the share of the activations' variance that the codes give back (paper's "
        "tables 2 and 6); 0 is as good as the activations' mean, below 0 is worse. Cross means that one side is "
        "rebuilt from the other side's shared codes through the transport plan; leak is what full codes add to that.",
        (
            Metric("Vision, shared + private", "reconstruction.vision.full_joint"),
            Metric("Vision, one global Top-K", "reconstruction.vision.full_global"),
            Metric("Vision, shared only", "reconstruction.vision.shared"),
            Metric("Vision, private only", "reconstruction.vision.private", ""),
            Metric("Text, shared + private", "reconstruction.text.full_joint"),
            Metric("Text, one global Top-K", "reconstruction.text.full_global"),
            Metric("Text, shared only", "reconstruction.text.shared"),
            Metric("Text, private only", "reconstruction.text.private", ""),
            Metric("Vision from text, shared", "reconstruction.text_to_vision.shared"),
            Metric("Vision from text, full", "reconstruction.text_to_vision.full", ""),
            Metric("Vision from text, leak", "reconstruction.text_to_vision.leak", ""),
            Metric("Text from vision, shared", "reconstruction.vision_to_text.shared"),
            Metric("Text from vision, full", "reconstruction.vision_to_text.full", ""),
            Metric("Text from vision, leak", "reconstruction.vision_to_text.leak", ""),
        ),
    ),
    Section(
        "Grounding",
        "Does the heat map of a named object lie on that object? (Paper's table 3.) Mass@obj is the share of the heat "
        "inside the object's box, point@1 how often the hottest patch is, IoU@10 the overlap of the hottest tenth. Two "
        "heat maps are measured, the transport plan's and the codes'.",
        (
            *_grounding("transport", "transport", "higher"),
            *_grounding("code", "code", "higher"),
        ),
    ),
    Section(
        "Grounding controls",
        "What the same measures give without a dictionary's knowledge: a uniform map, the frozen backbone's own "
        "patch-to-text cosine, and the map of an object that the picture does not show (swapped). Point@1 that is left "
        "under swapped is saliency, not grounding.",
        (
            *_grounding("uniform", "uniform", ""),
            *_grounding("backbone", "backbone", ""),
            *_grounding("swapped", "swapped", ""),
        ),
    ),
    Section(
        "Degeneracy",
        "How often the busiest shared latent fires (maxfreq; paper's table 4). A latent that fires for everything "
        "means nothing; where nothing fires, it is 0. Dead latents never fire on the pairs that were evaluated.",
        (
            Metric("maxfreq, text to image", "degeneracy.text_to_image", "lower"),
            Metric("maxfreq, image to text", "degeneracy.image_to_text", "lower"),
            Metric("Dead shared latents, vision", "degeneracy.dead_shared.vision", "lower"),
            Metric("Dead shared latents, text", "degeneracy.dead_shared.text", "lower"),
            Metric("Dead private latents, vision", "degeneracy.dead_private.vision", "lower"),
            Metric("Dead private latents, text", "degeneracy.dead_private.text", "lower"),
        ),
    ),
    Section(
        "Alignment of the sides",
        "As VL-SAE measures it: do the images and the captions that fire a latent most mean the same to a judge "
        "(intra), and different things for different latents (inter)? And do the codes of a pair's two sides look "
        "more alike than those of two pairs? AUC is how often they do.",
        (
            Metric("Same latent, images to captions", "alignment.intra_similarity"),
            Metric("Different latents, images to captions", "alignment.inter_similarity", "lower"),
            Metric("Latents alive on both sides", "alignment.alive", ""),
            Metric("Pairs told from non-pairs, AUC", "consistency.auc"),
            Metric("Cosine of a pair's codes", "consistency.matched", ""),
            Metric("Cosine of other codes", "consistency.mismatched", ""),
        ),
    ),
    Section(
        "Concept recovery",
        "The samples state their true concepts, so recovery can be measured: how well the best single latent tells the "
        "pictures (or captions) that have a concept from those that do not, as average precision beside the best that "
        "shuffled labels give (chance); how well the latent that is best on one side does on the other (transfer); "
        "and how well latents find the concept's own patches. This is not in the paper.",
        (
            Metric("Recovery in pictures", "concepts.recovery.vision"),
            Metric("Recovery in pictures, chance", "concepts.chance.vision", ""),
            Metric("Recovery in captions", "concepts.recovery.text"),
            Metric("Recovery in captions, chance", "concepts.chance.text", ""),
            Metric("Same latent on both sides, share", "concepts.same_latent.share"),
            Metric("Same latent on both sides, concepts", "concepts.same_latent.count"),
            Metric("Concepts asked for", "concepts.concepts", ""),
            Metric("Best in captions, used in pictures", "concepts.transfer.text_to_vision"),
            Metric("Best in pictures, used in captions", "concepts.transfer.vision_to_text"),
            Metric("Patches of the concept", "concepts.patch_ap.mean"),
            Metric("Patches of the concept, prevalence", "concepts.patch_ap.prevalence", ""),
        ),
    ),
)


def metric_tables(runs: Sequence[Run]) -> tuple[Table, ...]:
    """Every section that has a figure."""
    tables = (_table(section, runs) for section in SECTIONS)
    return tuple(table for table in tables if table.rows)


def all_figures(runs: Sequence[Run]) -> Table:
    """Every number of every `metrics.json`, by its key."""
    keys = dict.fromkeys(key for run in runs for key in run.metrics)
    section = Section(
        "Every figure", "All numbers of metrics.json by their keys.", tuple(Metric(k, k, "") for k in keys)
    )
    return _table(section, runs)


def _table(section: Section, runs: Sequence[Run]) -> Table:
    published = paper().by_cell()
    rows = []
    for metric in section.metrics:
        values = [run.metrics.get(metric.key) for run in runs]
        if all(value is None for value in values):
            continue
        cells = (
            Cell(value, published.get((run.name, metric.key)))
            for run, value in zip(runs, values, strict=True)
        )
        rows.append(Row(metric, tuple(cells)))
    return Table(section, tuple(run.name for run in runs), tuple(rows))
