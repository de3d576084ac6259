"""Greedy cosine clustering of a latent's concepts: LUCID (arXiv 2602.07311) 3.5.1 stage 3, algorithm 1 stage 4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Cluster:
    """Concepts that mean nearly the same.

    Attributes:
        terms: positions of the concepts in the list that was clustered, most hits first.
        hits: hits of all of them together, the cluster's size.
    """

    terms: tuple[int, ...]
    hits: int


def greedy_cosine_clusters(
    embeddings: Float[Tensor, "term embedding"], hits: Int[Tensor, "term"] | Sequence[int], similarity: float
) -> list[Cluster]:
    """Group terms whose embeddings point the same way; the largest cluster comes first.

    Terms are taken by falling hits (ties: the earlier term). Each joins the cluster whose *founder*, its first
    and so most frequent term, is most similar, if that cosine is at least `similarity`; else it founds a
    cluster. The paper says "greedy cosine similarity" and no more: comparing with founders and not with
    running means keeps a cluster from drifting along a chain of near neighbours, and its founder is its name.

    Size is counted in hits and not in terms, so that one accidental match weighs one. Equal sizes keep the
    order in which they were founded. A zero embedding has cosine 0 with everything.
    """
    counts = [int(count) for count in hits]
    directions = torch.nn.functional.normalize(embeddings.double(), dim=-1)
    cosines = (directions @ directions.T).tolist()
    founders: list[int] = []
    members: list[list[int]] = []
    for term in sorted(range(len(counts)), key=lambda position: (-counts[position], position)):
        nearest = max(
            range(len(founders)), key=lambda cluster: cosines[term][founders[cluster]], default=None
        )
        if nearest is not None and cosines[term][founders[nearest]] >= similarity:
            members[nearest].append(term)
        else:
            founders.append(term)
            members.append([term])
    clusters = [Cluster(tuple(terms), sum(counts[term] for term in terms)) for terms in members]
    return sorted(clusters, key=lambda cluster: -cluster.hits)


def purity(clusters: Sequence[Cluster]) -> float:
    """Share of all hits that fall in the first, largest cluster, in (0, 1]; 0 without a hit."""
    total = sum(cluster.hits for cluster in clusters)
    return clusters[0].hits / total if total else 0.0
