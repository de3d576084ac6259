"""The few figures that stand at the top of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.dictionaries import DictionaryPages
from pipeline.results.decimals import decimals_text
from pipeline.results.run import Run


@dataclass(frozen=True)
class Headline:
    """One figure: what it is, the figure as text, and what to hold it against."""

    label: str
    figure: str
    note: str


def headlines(runs: Sequence[Run], variant: str, dictionary: DictionaryPages | None) -> tuple[Headline, ...]:
    """The figures there are: names, variance explained, grounding beside its control, agreement of the sides."""
    metrics: Mapping[str, float] = next((run.metrics for run in runs if run.name == variant), {})
    found: list[Headline] = []
    if dictionary:
        score = dictionary.score
        note = f"{score['correct']} of {score['named']} right" if score else f"of {dictionary.latents:,}"
        found.append(Headline("Named latents", f"{dictionary.with_name:,}", note))
    vision, text = (_full(metrics, side) for side in ("vision", "text"))
    if vision is not None and text is not None:
        figures = f"{decimals_text(vision)} · {decimals_text(text)}"
        found.append(Headline("R², pictures · words", figures, "0: as good as the mean; 1: perfect"))
    point, swapped = (metrics.get(f"grounding.{kind}.point_at_1") for kind in ("transport", "swapped"))
    if point is not None and swapped is not None:
        objects, absent = (metrics.get(f"counts.{key}") for key in ("grounding_targets", "swapped"))
        note = f"{swapped:.2f} for an absent object"
        if objects is not None and absent is not None:
            note = f"of {objects:,} objects; {swapped:.2f} of {absent:,} absent ones"
        found.append(Headline("Heat peaks on the object", f"{point:.2f}", note))
    keys = ("joint.mean", "near.beyond_chance", "concepts")
    joint, near, concepts = (metrics.get(f"concepts.{key}") for key in keys)
    if joint is not None and near is not None and concepts is not None:
        note = f"{near:.0f} of {concepts:.0f} true concepts have a latent near the best of both"
        found.append(Headline("One latent for pictures and words", f"{joint:.2f}", note))
    return tuple(found)


def _full(metrics: Mapping[str, float], side: str) -> float | None:
    return metrics.get(f"reconstruction.{side}.full_joint", metrics.get(f"reconstruction.{side}.full_global"))
