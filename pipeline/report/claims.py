"""Which of the paper's orderings appear in these runs, and which do not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.report.runs import Run

ABLATION = ("ot_only", "share_k", "share_k_gsl", "lucid")


@dataclass(frozen=True)
class Claim:
    """Figures that should rise strictly from first to last.

    Attributes:
        text: the claim in words.
        rising: (variant, key of `metrics.json`) of each figure.
    """

    text: str
    rising: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verdict:
    """A claim held against the runs: `holds` is None where fewer than two of its figures were measured."""

    claim: Claim
    holds: bool | None
    figures: tuple[tuple[str, float], ...]


def _over(variants: Sequence[str], key: str) -> tuple[tuple[str, str], ...]:
    return tuple((variant, key) for variant in variants)


CLAIMS = (
    Claim(
        "point@1 rises with every part of the method (table 3)",
        _over(ABLATION, "grounding.transport.point_at_1"),
    ),
    Claim("mass@obj rises with every part (table 3)", _over(ABLATION, "grounding.transport.mass_at_object")),
    Claim("IoU@10 rises with every part (table 3)", _over(ABLATION, "grounding.transport.iou_at_10")),
    Claim(
        "maxfreq, text to image, falls with every part (table 4)",
        _over(ABLATION[::-1], "degeneracy.text_to_image"),
    ),
    Claim(
        "maxfreq, image to text, falls with every part (table 4)",
        _over(ABLATION[::-1], "degeneracy.image_to_text"),
    ),
    Claim(
        "vision is rebuilt from text better with private latents than without (table 2)",
        _over(("shared_only", "lucid"), "reconstruction.text_to_vision.shared"),
    ),
    Claim(
        "text is rebuilt from vision better with private latents than without (table 2)",
        _over(("shared_only", "lucid"), "reconstruction.vision_to_text.shared"),
    ),
    Claim(
        "shared codes alone rebuild vision from text better than full codes (table 6)",
        (("lucid", "reconstruction.text_to_vision.full"), ("lucid", "reconstruction.text_to_vision.shared")),
    ),
    Claim(
        "shared codes alone rebuild text from vision better than full codes (table 6)",
        (("lucid", "reconstruction.vision_to_text.full"), ("lucid", "reconstruction.vision_to_text.shared")),
    ),
    Claim(
        "the heat map finds the named object rather than any object (our control)",
        (("lucid", "grounding.swapped.point_at_1"), ("lucid", "grounding.transport.point_at_1")),
    ),
    Claim(
        "the heat map beats that of two dictionaries that were never aligned (our control)",
        _over(("separate", "lucid"), "grounding.transport.point_at_1"),
    ),
)


def judge(runs: Sequence[Run]) -> tuple[Verdict, ...]:
    """Hold every claim against the figures that there are; an order between those that exist is enough."""
    metrics = {run.name: run.metrics for run in runs}
    verdicts = []
    for claim in CLAIMS:
        figures = tuple(
            (_label(claim, variant, key), metrics[variant][key])
            for variant, key in claim.rising
            if key in metrics.get(variant, {})
        )
        holds = all(low < high for (_, low), (_, high) in pairwise(figures)) if len(figures) > 1 else None
        verdicts.append(Verdict(claim, holds, figures))
    return tuple(verdicts)


def _label(claim: Claim, variant: str, key: str) -> str:
    if len({name for name, _ in claim.rising}) > 1:
        return variant
    group, *middle, last = key.split(".")
    return " ".join(middle) if group == "grounding" else last
