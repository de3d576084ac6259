"""Which of the paper's orderings appear in these runs, and which do not.

Of every variant there is one run, so an order is all that can be told: whether it is more than chance, only several
seeds can say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.results.run import Run

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
    """A claim held against the runs.

    Attributes:
        claim: what is claimed.
        in_order: whether the figures rise as claimed; None where that cannot be told.
        figures: (name, value) of those that were measured.
        why: why it cannot be told; empty otherwise.
    """

    claim: Claim
    in_order: bool | None
    figures: tuple[tuple[str, float], ...]
    why: str = ""

    @property
    def too_few(self) -> bool:
        """Whether fewer than two of its figures were measured."""
        return len(self.figures) < 2


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
    """Hold every claim against the figures that there are; an order between those that exist is enough.

    Figures none of which is any good have no order worth telling: R2 that are all at most 0, and a busiest latent of a
    dictionary in which none fires.
    """
    metrics = {run.name: run.metrics for run in runs}
    verdicts = []
    for claim in CLAIMS:
        figures = tuple(
            (_label(claim, variant, key), metrics[variant][key])
            for variant, key in claim.rising
            if key in metrics.get(variant, {})
        )
        why = _why_not(claim, [value for _, value in figures])
        in_order = all(low < high for (_, low), (_, high) in pairwise(figures))
        verdicts.append(Verdict(claim, None if why else in_order, figures, why))
    return tuple(verdicts)


def _why_not(claim: Claim, values: Sequence[float]) -> str:
    kind = claim.rising[0][1].partition(".")[0]
    if len(values) < 2:
        return "too few of its figures were measured"
    if kind == "reconstruction" and max(values) <= 0:
        return "no R² is above 0, so nothing is explained better than by the mean of the activations"
    if kind == "degeneracy" and min(values) == 0:
        return "in one of these dictionaries nothing fires"
    return ""


def _label(claim: Claim, variant: str, key: str) -> str:
    if len({name for name, _ in claim.rising}) > 1:
        return variant
    group, *middle, last = key.split(".")
    return " ".join(middle) if group == "grounding" else last
