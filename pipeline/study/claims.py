"""What papers and this project claim of recipes, held against all seeds of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pipeline.results.claims import CLAIMS, Claim
from pipeline.study.paired import Difference, holm, paired_difference

SIGNIFICANT = 0.05
"""Largest corrected p-value of a difference that counts as one."""

Answer = Literal["confirmed", "refuted", "open", "not measured"]
Figures = Mapping[str, Mapping[int, Mapping[str, float]]]
"""By row of the tables (a variant, or `variant, control`) and seed, the figures by dotted key."""

_RETRIEVAL = "retrieval.codes.text_to_image.recall_at_1"
_JOINT = "concepts.joint.mean"

RIVAL_CLAIMS = (
    Claim(
        "a distance encoder aligns concepts better than an affine one (VL-SAE, arXiv 2510.21323)",
        (("vl_sae_affine", "alignment.intra_similarity"), ("vl_sae", "alignment.intra_similarity")),
    ),
    Claim(
        "a shared encoder shares where each side's mean is taken off (the modality gap is in VL-SAE's way; ours)",
        (("vl_sae", "modality.bimodal"), ("vl_sae_centred", "modality.bimodal")),
    ),
    Claim(
        "group sparsity makes more latents fire on both sides (arXiv 2601.20028)",
        (("sae_s", "alignment.alive"), ("group_sparse", "alignment.alive")),
    ),
    Claim(
        "its loss does, beyond the bias per side that it comes with (our control)",
        (("sae_s_side_bias", "alignment.alive"), ("group_sparse", "alignment.alive")),
    ),
    Claim(
        "and a mask in common makes still more (arXiv 2601.20028)",
        (("group_sparse", "alignment.alive"), ("group_sparse_masked", "alignment.alive")),
    ),
    Claim(
        "aligned energies make latents serve both sides (arXiv 2602.06218)",
        (("sae_s", "modality.bimodal"), ("iso_energy", "modality.bimodal")),
    ),
    Claim(
        "a common Top-K and cross reconstruction make pairs fire the same latents, each side alone (arXiv 2507.06265)",
        (("sae_d", "consistency.jaccard.matched"), ("sparc", "consistency.jaccard.matched")),
    ),
    Claim(
        "and more so where training meets a side that is alone (ours)",
        (("sparc", "consistency.jaccard.matched"), ("sparc_dropout", "consistency.jaccard.matched")),
    ),
    Claim(
        "one assignment retrieves better than a cosine loss (arXiv 2606.29888)",
        (("cosine_aligned", _RETRIEVAL), ("matched_separate", _RETRIEVAL)),
    ),
    Claim(
        "and better than group sparsity (arXiv 2606.29888)",
        (("group_sparse", _RETRIEVAL), ("matched_separate", _RETRIEVAL)),
    ),
    Claim(
        "matching and contrast recover more concepts jointly (ours)", (("lucid", _JOINT), ("matched", _JOINT))
    ),
    Claim(
        "which the recipe's sizes do not explain (our control)",
        (("lucid_half_shared", _JOINT), ("matched", _JOINT)),
    ),
    Claim(
        "a match on top of contrast recovers more than contrast alone (ours)",
        (("lucid_contrast", _JOINT), ("matched", _JOINT)),
    ),
    Claim(
        "by its codes the recipe points at objects better than the backbone (ours)",
        (("matched", "grounding.backbone.point_at_1"), ("matched", "grounding.code.point_at_1")),
    ),
    Claim(
        "deranged pairs teach the recipe less (our control)",
        (("matched, deranged", _JOINT), ("matched", _JOINT)),
    ),
    Claim(
        "a learned decoder recovers more than a frozen one (our control; arXiv 2602.14111)",
        (("matched, frozen decoder", _JOINT), ("matched", _JOINT)),
    ),
    Claim(
        "what is learned recovers more than principal components, matched alike (our control)",
        (("pca", _JOINT), ("matched", _JOINT)),
    ),
)
"""Beside those of LUCID's paper; the figures named last are claimed to be the larger ones."""


@dataclass(frozen=True)
class Verdict:
    """A claim held against the seeds.

    Attributes:
        claim: what is claimed.
        answer: "confirmed" if every step rises significantly, "refuted" if one falls so, else "open".
        steps: what each step up comes to, with its corrected p-value; empty where a figure was not measured.
    """

    claim: Claim
    answer: Answer
    steps: tuple[Difference, ...]


def judge_over_seeds(
    figures: Figures, claims: Sequence[Claim] = CLAIMS + RIVAL_CLAIMS
) -> tuple[Verdict, ...]:
    """Test every step of every claim, paired by seed; all p-values are corrected together (`holm`)."""
    steps = [[_step(figures, low, high) for low, high in pairwise(claim.rising)] for claim in claims]
    corrected = iter(holm([step.p for of_claim in steps for step in of_claim if step is not None]))
    verdicts = []
    for claim, of_claim in zip(claims, steps, strict=True):
        known = tuple(step._replace(p=next(corrected)) for step in of_claim if step is not None)
        whole = len(known) == len(of_claim)
        verdicts.append(Verdict(claim, _answer(known) if whole else "not measured", known if whole else ()))
    return tuple(verdicts)


def _step(figures: Figures, low: tuple[str, str], high: tuple[str, str]) -> Difference | None:
    return paired_difference(by_seed(figures, *high), by_seed(figures, *low))


def by_seed(figures: Figures, row: str, key: str) -> dict[int, float]:
    """The figure `key` of a row of the tables, by seed; of those seeds that have it."""
    return {seed: found[key] for seed, found in figures.get(row, {}).items() if key in found}


def _answer(steps: Sequence[Difference]) -> Answer:
    if any(step.mean < 0 and step.p < SIGNIFICANT for step in steps):
        return "refuted"
    return "confirmed" if all(step.mean > 0 and step.p < SIGNIFICANT for step in steps) else "open"
