"""Seed stability against brute force, and of dictionaries that are known to agree or not to."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cache import ActivationCache
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.reappearance import nearest_cosines, shares_found
from pipeline.metrics.stability import firing_frequencies, seed_stability
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.sides import SIDES
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

from .axis_world import CHANNELS, axis_sae, random_scenes

BuildCache = Callable[..., ActivationCache]
LATENTS = 40


def lucid(seed: int) -> LucidSAE:
    options = LucidOptions(latents=LATENTS, shared_ratio=0.5, k_shared=3, k_private=2)
    return LucidSAE(options, CHANNELS, CHANNELS, seed=seed).eval()


def everywhere(*saes: SparseAutoencoder) -> list[dict[str, Tensor]]:
    """Frequencies of latents that all fire on half of the items."""
    return [dict.fromkeys(SIDES, torch.full((sae.shared_width + sae.private_width,), 0.5)) for sae in saes]


def brute_force(
    dictionaries: Sequence[Sequence[np.ndarray]], alive: Sequence[np.ndarray]
) -> list[list[float]]:
    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    shares = []
    for own, ours in enumerate(dictionaries):
        others = [number for number in range(len(dictionaries)) if number != own]
        found = [
            [
                any(
                    alive[other][m]
                    and all(cosine(a[n], b[m]) > 0.7 for a, b in zip(ours, dictionaries[other], strict=True))
                    for m in range(len(alive[other]))
                )
                for other in others
            ]
            for n in range(len(alive[own]))
        ]
        shares.append([float(np.mean(row)) for row in found])
    return shares


@pytest.mark.parametrize("sides", [1, 2])
def test_a_latent_is_found_where_a_living_one_has_all_its_directions(sides: int) -> None:
    generator = np.random.default_rng(sides)
    dictionaries = [[3 * generator.standard_normal((12, 3)) for _ in range(sides)] for _ in range(3)]
    alive = [generator.random(12) < 0.7 for _ in range(3)]
    found = shares_found(
        [[torch.from_numpy(part) for part in one] for one in dictionaries],
        [torch.from_numpy(one) for one in alive],
    )
    expected = brute_force(dictionaries, alive)
    assert 0 < np.mean(expected) < 1
    assert torch.stack(found).tolist() == pytest.approx(np.array(expected))


def test_where_nothing_lives_nothing_is_found() -> None:
    directions = [torch.eye(3)]
    assert nearest_cosines(directions, directions, torch.zeros(3, dtype=torch.bool)).tolist() == [-1] * 3


def test_a_copy_in_another_order_is_found_whole_and_another_start_is_not() -> None:
    first, shuffled, other = lucid(0), lucid(0), lucid(1)
    order = torch.randperm(LATENTS // 2, generator=torch.Generator().manual_seed(0))
    order = torch.cat([order, torch.arange(LATENTS // 2, LATENTS)])
    for side in SIDES:
        shuffled.reindex(side, order)
    figures = seed_stability([first, shuffled], everywhere(first, shuffled))
    for name in ("vision", "text", "both"):
        assert figures[name]["decoder"]["found"] == figures[name]["encoder"]["frequent"] == 1
        assert isinstance(figures[name]["decoder"]["rare"], NotDefined)
    apart = seed_stability([first, other], everywhere(first, other))
    assert apart["vision"]["decoder"]["found"] < 0.2


def test_sides_that_agree_alone_but_not_together_are_no_concept_found_again() -> None:
    first, turned = lucid(0), lucid(0)
    turned.reindex(
        "text", torch.cat([torch.arange(LATENTS // 2).roll(1), torch.arange(LATENTS // 2, LATENTS)])
    )
    figures = seed_stability([first, turned], everywhere(first, turned))
    assert figures["vision"]["decoder"]["found"] == figures["text"]["decoder"]["found"] == 1
    assert figures["both"]["decoder"]["found"] < 0.2


def test_latents_are_told_apart_by_how_often_they_fire_and_the_dead_are_not_asked() -> None:
    first, other = axis_sae(), axis_sae()
    with torch.no_grad():
        other.dictionary("vision").decoder[:4] = other.dictionary("vision").decoder[:4].roll(16, dims=1)
        other.dictionary("vision").decoder[:4] += 0.9 * torch.eye(CHANNELS)[-4:]
    fires = torch.zeros(CHANNELS)
    fires[:4], fires[4:8], fires[8:10] = 0.005, 0.05, 0.5
    frequencies = [dict.fromkeys(SIDES, fires)] * 2
    found = seed_stability([first, other], frequencies)["vision"]["decoder"]
    assert (found["rare"], found["occasional"], found["frequent"]) == (0, 1, 1)
    assert found["found"] == pytest.approx(6 / 10)


def test_frequencies_are_shares_of_images_and_wordings_not_of_pairs(build_cache: BuildCache) -> None:
    scenes = random_scenes(20, seed=0)
    cache = build_cache(scenes)
    frequencies = firing_frequencies(axis_sae(), cache, 7)
    shown = [thing.noun for scene in scenes for thing in scene.things]
    said = {caption for scene in scenes for caption in scene.captions}
    assert frequencies["vision"][0] == pytest.approx(shown.count("boat") / 20)
    assert frequencies["text"][0] == pytest.approx(sum("boat" in caption for caption in said) / len(said))


def test_any_architecture_can_be_asked_and_one_whose_encoder_says_nothing_is_asked_half() -> None:
    pair = [VLSAE(VLSAEOptions(latents=16, k=4), CHANNELS, CHANNELS, seed=seed) for seed in (0, 1)]
    figures = seed_stability(pair, everywhere(*pair))
    assert figures["both"]["encoder"]["found"] >= 0
    pair[0].encoder_directions = lambda side: None  # type: ignore[method-assign]
    assert isinstance(seed_stability(pair, everywhere(*pair))["text"]["encoder"], NotDefined)
