"""The score `cos(x_v, x_l) + alpha cos(h_v, h_l)`: which class it chooses, and the alpha that chooses best."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from pipeline.classification.concept_encoder import ConceptEncoder, ConceptFeatures
from pipeline.classification.pictures import LabelledPicture


@dataclass(frozen=True, eq=False)
class ScoredPictures:
    """Pictures of known class with their cosines to every class by one dictionary, all that scoring needs of them.

    Attributes:
        names: what messages call them.
        digests: equal exactly where the pictures are.
        labels: the true class of each.
        embedding: cos(x_v, x_l), float32.
        concepts: cos(h_v, h_l), float32.
    """

    names: list[str]
    digests: list[str]
    labels: Int64[np.ndarray, "picture"]
    embedding: Float[np.ndarray, "picture class"]
    concepts: Float[np.ndarray, "picture class"]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: Int64[np.ndarray, "selected"]) -> "ScoredPictures":
        """Some of the pictures."""
        names, digests = ([values[row] for row in rows] for values in (self.names, self.digests))
        return ScoredPictures(names, digests, self.labels[rows], self.embedding[rows], self.concepts[rows])


def score_pictures(
    encoder: ConceptEncoder,
    classes: Sequence[ConceptFeatures],
    pictures: Iterable[LabelledPicture],
    batch_size: int,
) -> list[ScoredPictures]:
    """Compare every picture with every class, once per dictionary; memory holds a batch of pictures and all cosines.

    Args:
        encoder: The backbone and the dictionaries.
        classes: Per dictionary, as `encoder.classes` makes them.
        pictures: At least one, taken a batch at a time.
        batch_size: Pictures per forward pass.
    """
    names: list[str] = []
    digests: list[str] = []
    labels: list[int] = []
    cosines: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in classes]
    remaining = iter(pictures)
    while batch := list(islice(remaining, batch_size)):
        seen = encoder.images(torch.stack([encoder.backbone.preprocess(one.image) for one in batch]))
        for found, of_pictures, of_classes in zip(cosines, seen, classes, strict=True):
            for parts, mine, theirs in zip(found, of_pictures, of_classes, strict=True):
                parts.append((mine @ theirs.T).cpu().numpy())
        names += [one.name for one in batch]
        digests += [one.digest() for one in batch]
        labels += [one.label for one in batch]
    of_class = np.array(labels, dtype=np.int64)
    return [ScoredPictures(names, digests, of_class, *map(np.concatenate, found)) for found in cosines]


def hits(pictures: ScoredPictures, alpha: float) -> Bool[np.ndarray, "picture"]:
    """Whether each picture's highest score is its own class's; of equal scores the first class counts.

    Summed in float64, where alpha = 0 leaves the order of the cosines exactly as it is.
    """
    scores = pictures.embedding.astype(np.float64) + alpha * pictures.concepts.astype(np.float64)
    return np.asarray(scores.argmax(axis=1) == pictures.labels)


def concept_hits(pictures: ScoredPictures) -> Bool[np.ndarray, "picture"]:
    """Likewise by cos(h_v, h_l) alone, what alpha goes to where it grows without end."""
    return np.asarray(pictures.concepts.argmax(axis=1) == pictures.labels)


def best_alpha(pictures: ScoredPictures, alphas: Sequence[float]) -> float:
    """The alpha of the highest accuracy on these pictures; of equals the smallest, which trusts the concepts least."""
    return max(sorted(alphas), key=lambda alpha: hits(pictures, alpha).mean())
