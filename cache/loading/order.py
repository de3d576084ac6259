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


def mixing(order: Int[np.ndarray, "pair"], batch_pairs: int) -> float:
    """How well an order of pairs mixes: 1 for shuffling uniformly, larger the more neighbours share a batch.

    It is the number of storage neighbours (pairs i and i + 1) that meet in a whole batch of at least two pairs, divided
    by the number to be expected if all orders of N pairs are equally likely: `B (B - 1) / N` for each of the `N // B`
    batches. No shuffling gives `N / B`, shuffling blocks of k neighbours about `(1 - 1 / k) N / B`.
    """
    pairs, steps = len(order), len(order) // batch_pairs
    batch = np.full(pairs, -1)
    batch[order[: steps * batch_pairs]] = np.repeat(np.arange(steps), batch_pairs)
    met = np.count_nonzero((batch[1:] == batch[:-1]) & (batch[1:] >= 0))
    return met / (steps * batch_pairs * (batch_pairs - 1) / pairs)
