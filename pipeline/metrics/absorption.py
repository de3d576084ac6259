"""Absorption: is the latent of a concept silent where the latent of a narrower concept fires instead?

Chanin et al. (arXiv 2409.14507) see it in language models, where the latent of a first letter is silent on the words
that have a latent of their own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.recovery import BestLatents
from pipeline.sae.sides import SIDES, Side

_NO_HIERARCHY = NotDefined("of the asked concepts none is had, on both sides, only by items with another one")


def implications(
    vision: Bool[np.ndarray, "image concept"], text: Bool[np.ndarray, "caption concept"]
) -> list[tuple[int, int]]:
    """Pairs (narrow, wide) of concepts where every item with the narrow one has the wide one, and not the reverse.

    On both sides. In the embedded world a boat alone is sailing and a fish alone is jumping. That what is told to be
    above something is one thing holds of pictures only, where captions do not say so.
    """
    never = [(labels.T.astype(np.int64) @ ~labels) == 0 for labels in (vision, text)]
    implied = never[0] & never[1]
    narrow, wide = np.nonzero(implied & ~never[0].T & ~never[1].T)
    return list(zip(narrow.tolist(), wide.tolist(), strict=True))


def absorption_figures(
    codes: Mapping[Side, Float[np.ndarray, "item shared_latent"]],
    labels: Mapping[Side, Bool[np.ndarray, "item concept"]],
    best: Mapping[Side, BestLatents],
) -> dict[str, Any] | NotDefined:
    """How often a wide concept's best latent is silent on items with the narrow one whose best latent fires.

    Returns:
        Per side the mean over `implications`, as a share of the items with the narrow concept; `control`, the share of
        the items with the wide concept but not the narrow one on which the same latent is silent; and `pairs`, the
        number of implications. A latent that is best for both concepts absorbs nothing.
    """
    pairs = implications(labels["vision"], labels["text"])
    if not pairs:
        return _NO_HIERARCHY
    figures: dict[str, Any] = {"pairs": len(pairs), "control": {}}
    for side in SIDES:
        fires, held, latent = codes[side] > 0, labels[side], best[side].latent
        silent = ~fires
        absorbed, missed = [], []
        for narrow, wide in pairs:
            instead = silent[:, latent[wide]] & fires[:, latent[narrow]]
            absorbed.append(instead[held[:, narrow]].mean())
            missed.append(silent[held[:, wide] & ~held[:, narrow], latent[wide]].mean())
        figures[side], figures["control"][side] = float(np.mean(absorbed)), float(np.mean(missed))
    return figures
