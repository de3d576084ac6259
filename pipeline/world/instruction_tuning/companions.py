"""A skewed embedded world: some nouns stand together, and some are popular, as in photographs.

A decoder that learns from it expects a ball beside every dog, and says so of a picture without one. In the ordinary
world nouns are drawn independently, so there is nothing of the kind to learn.
"""

import random
from collections.abc import Mapping

from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import NOUNS, Scene
from pipeline.world.scenes.write import COMBINATIONS, SplitName

_PAIRS = (
    *(("tree", "bird"), ("dog", "ball"), ("car", "bicycle"), ("flower", "butterfly"), ("moon", "star")),
    *(("boat", "fish"), ("sun", "umbrella"), ("apple", "cup"), ("cat", "hat"), ("house", "key")),
    *(("balloon", "heart"), ("rabbit", "mushroom"), ("train", "kite")),
)
COMPANIONS: Mapping[str, str] = dict(_PAIRS) | {second: first for first, second in _PAIRS}
"""The noun that usually stands beside each noun."""

POPULAR = 4
"""So many of the pairs are popular: the first ones."""
POPULARITY = 4
"""A noun of a popular pair begins a scene so many times as often as another one."""
COMPANY = 0.95
"""How often a noun's companion comes next, where there is another noun at all."""

_WEIGHTS = {
    noun: POPULARITY if number < POPULAR else 1 for number, pair in enumerate(_PAIRS) for noun in pair
}


def companion_nouns(rng: random.Random, count: int) -> list[str]:
    """Draw distinct nouns: popular ones more often, each followed by its companion with probability `COMPANY`."""
    nouns: list[str] = []
    while len(nouns) < count:
        lonely = [noun for noun in nouns[-1:] if COMPANIONS[noun] not in nouns]
        if lonely and rng.random() < COMPANY:
            nouns.append(COMPANIONS[lonely[0]])
            continue
        left = [noun for noun in NOUNS if noun not in nouns]
        nouns.append(rng.choices(left, [_WEIGHTS[noun] for noun in left])[0])
    return nouns


def companion_scene(seed: int, split: SplitName, index: int) -> Scene:
    """Draw the scene of several nouns on image `index` of a split of the skewed world; a `SceneOf`."""
    rng = random.Random(f"companions/{seed}/{split}/{index}")
    while True:
        scene = sample_scene(rng, COMBINATIONS[split], companion_nouns)
        if len(scene.things) > 1:
            return scene
