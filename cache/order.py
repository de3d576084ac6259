"""The order of training batches: a pure function of seed, epoch and step."""

import numpy as np
from jaxtyping import Int


def epoch_order(pairs: int, seed: int, epoch: int) -> Int[np.ndarray, "pair"]:
    """A permutation of `range(pairs)`, int64, the same on every machine and for every version of numpy.

    Sorting by Philox's raw words is used because numpy promises the bit stream of its bit generators for good,
    and not the algorithm of `Generator.permutation`.
    """
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(pairs)
    return np.argsort(words, kind="stable")


def batch_indices(pairs: int, batch_pairs: int, seed: int, epoch: int, step: int) -> Int[np.ndarray, "pair"]:
    """Pair indices, int64 [batch_pairs], of batch `step` of `epoch`; the last, partial batch is never used."""
    return epoch_order(pairs, seed, epoch)[step * batch_pairs : (step + 1) * batch_pairs]
