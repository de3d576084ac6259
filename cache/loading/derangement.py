"""A cache whose images have other images' captions: what is learned from it owes nothing to the pairs."""

from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from cache.errors import CacheError
from cache.loading.order import epoch_order
from cache.reading.reader import ActivationCache

_EPOCH = 0


class DerangedCache(ActivationCache):
    """The pairs of a cache, each with the caption of a pair of another image; every caption is used once, as before.

    Images, captions and the statistics of either side are those of the cache, so whatever differs in what is learned
    comes from the pairs alone. A caption of the same words may still belong to both images.
    """

    def __init__(self, cache: ActivationCache, seed: int) -> None:
        """Derange the pairs of `cache`: a pure function of `seed`, the same on every machine.

        Raises:
            CacheError: more than half of the pairs are of one image.
        """
        super().__init__(cache._location, cache.manifest, cache._completion)
        self._source, self._seed = cache, seed
        self._deranged = cache.pair_captions[derangement(cache.pair_images, seed)]

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process gets: the same pairs, with files and threads of its own."""
        return DerangedCache, (self._source, self._seed)

    @property
    def pair_captions(self) -> Int[np.ndarray, "pair"]:
        """Caption row of every pair, int64; that of another image."""
        captions: NDArray[np.int64] = self._deranged
        return captions


def derangement(images: Int[np.ndarray, "pair"], seed: int) -> Int[np.ndarray, "pair"]:
    """Choose for every pair another one that is of another image; each is chosen once.

    The images are put in an order that `seed` decides, with the pairs of an image together, and every pair takes the
    one that is as many places further on as the image with the most pairs has: of another image, wherever it began.

    Args:
        images: int64 image of every pair.
        seed: of the order, not negative.

    Raises:
        CacheError: more than half of the pairs are of one image.
    """
    _, number, counts = np.unique(images, return_inverse=True, return_counts=True)
    most = int(counts.max(initial=0))
    if 2 * most > len(images):
        raise CacheError(
            f"pairs cannot be deranged: {most} of {len(images)} are of one image; encode captions of more images"
        )
    place_of_image = np.argsort(epoch_order(len(counts), seed, _EPOCH))
    pairs = np.argsort(place_of_image[number], kind="stable")
    chosen = np.empty_like(pairs)
    chosen[pairs] = np.roll(pairs, -most)
    return chosen
