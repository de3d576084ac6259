"""Pictures with cosines to choose from, without a model."""

import numpy as np

from pipeline.classification.scoring import ScoredPictures


def scored(labels: list[int], embedding: object, concepts: object, prefix: str = "") -> ScoredPictures:
    names = [f"{prefix}{row}" for row in range(len(labels))]
    of = (np.asarray(values, dtype=np.float32) for values in (embedding, concepts))
    return ScoredPictures(names, names, np.array(labels, dtype=np.int64), *of)


def random_scored(seed: int, pictures: int = 40, classes: int = 5, prefix: str = "") -> ScoredPictures:
    """Cosines of two decimals, so that equal scores occur."""
    rng = np.random.default_rng(seed)
    embedding, concepts = rng.uniform(-1, 1, (2, pictures, classes)).round(2)
    return scored(rng.integers(classes, size=pictures).tolist(), embedding, concepts, prefix)
