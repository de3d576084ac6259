"""The captions of a cache of embedded scenes, each with one fact changed."""

import random

from cache import ActivationCache
from pipeline.metrics.changed_captions import ChangedCaption
from pipeline.world.scenes.caption import WrittenCaption, captions, false_captions
from pipeline.world.scenes.options import IDS_PER_SPLIT
from pipeline.world.scenes.write import CAPTIONS_PER_IMAGE, SPLITS, SplitName, scene_of


def changed_captions(cache: ActivationCache, seed: int, count: int) -> list[ChangedCaption]:
    """Change one fact of every caption of a cache, in up to `count` ways; the same ones each time.

    Args:
        cache: pairs of the embedded world.
        seed: the seed that its scenes were drawn from.
        count: changes of each caption; fewer of a caption that states less.

    Returns:
        None at all if a caption is not what the world says of its picture: pairs of another data set, or another seed.

    Raises:
        CacheError: the cache cannot be read.
    """
    split = cache.manifest.dataset.get("split")
    if split not in SPLITS:
        return []
    table = cache.read_pair_samples(["image_id", "caption"])
    changed: list[ChangedCaption] = []
    for pair, (image_id, text) in enumerate(
        zip(table["image_id"].to_pylist(), table["caption"].to_pylist(), strict=True)
    ):
        index = image_id - SPLITS.index(split) * IDS_PER_SPLIT - 1
        told = _told(seed, split, index, text) if 0 <= index < IDS_PER_SPLIT else None
        if told is None:
            return []
        random_change = random.Random(f"{seed}/{split}/{index}/changed")
        false = false_captions(scene_of(seed, split, index), told, random_change, count)
        changed += [ChangedCaption(pair, text, kind, other) for other, kind in false]
    return changed


def _told(seed: int, split: SplitName, index: int, text: str) -> WrittenCaption | None:
    """The caption of a picture that reads so."""
    written = captions(
        scene_of(seed, split, index), random.Random(f"{seed}/{split}/{index}/captions"), CAPTIONS_PER_IMAGE
    )
    return next((caption for caption in written if caption.text == text), None)
