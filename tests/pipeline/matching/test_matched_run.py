"""Runs made of trained ones: what stays, what is found, and what is refused before any work."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.synthetic import SyntheticActivations, synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.errors import ConcordError, ConfigError
from pipeline.matching.assignment import Matching
from pipeline.matching.match import match_sides
from pipeline.matching.matched_run import match_runs
from pipeline.runs.config import training_identity, training_of
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.initial import initial_sae
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ArchitectureOptions, ImageLevelOptions, MatchingOptions
from pipeline.sae.saving import load_sae, save_sae
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.training.fit import Training, fit_run
from pipeline.training.options import TrainOptions

PAIRS, CHANNELS = 40, 8
LUCID = LucidOptions(latents=32, k_shared=2, k_private=3)
ONE_PART = LucidOptions(latents=32, shared_ratio=1, k_shared=2, k_private=3, alignment="none", gamma=0)
VL_SAE = VLSAEOptions(latents=32, k=4, encoder="affine", shared_encoder=False)
DICTIONARIES: Mapping[str, ArchitectureOptions] = {
    "shared and private": LUCID,
    "all shared": ONE_PART,
    "signed": LUCID.model_copy(update={"relu": False}),
    "image level": LUCID.model_copy(update={"image_level": ImageLevelOptions(latents=6, k=2)}),
    "affine": VL_SAE,
    "distance": VL_SAE.model_copy(update={"encoder": "distance", "centre": 1.0}),
    "tokens": VL_SAE.model_copy(update={"inputs": "tokens"}),
}
ACTIVATIONS = synthetic_activations(PAIRS, shard_images=16, channels=CHANNELS)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ActivationCache]:
    """`train` and `val` of different pairs, and of one backbone; `few` has fewer pairs than there are latents."""
    folder = tmp_path_factory.mktemp("matching")
    others = np.arange(PAIRS)[::-1]
    activations = {
        "train": ACTIVATIONS,
        "val": with_arrays(vision_tokens=ACTIVATIONS.arrays["vision_tokens"][others]),
        "few": synthetic_activations(24, shard_images=16, channels=CHANNELS),
    }
    return {name: write_cache(folder / f"{name}.zarr", one) for name, one in activations.items()}


@pytest.fixture
def runs(caches: dict[str, ActivationCache], tmp_path: Path) -> Callable[..., Path]:
    """Writes the run of a dictionary as its training begins, which is as good as any for what is asked here."""

    def write(name: str, options: ArchitectureOptions = LUCID, cache: str = "train", seed: int = 0) -> Path:
        sae = initial_sae(options, caches[cache], seed)
        save_sae(sae, tmp_path / name, training_identity({"seed": seed}, caches[cache]))
        return tmp_path / name

    return write


def with_arrays(**arrays: Any) -> SyntheticActivations:
    """The activations with other ones in their place."""
    return SyntheticActivations(
        {**ACTIVATIONS.arrays, **arrays}, ACTIVATIONS.lengths, ACTIVATIONS.shard_images
    )


def both(run: Path) -> dict[Side, Path]:
    return {"vision": run, "text": run}


@torch.no_grad()
def reconstructions(sae: SparseAutoencoder, cache: ActivationCache) -> dict[Side, torch.Tensor]:
    pairs = sae.reader.pairs(cache.read_pairs(range(PAIRS)))
    return {side: sae.decode(side, sae.encode(side, pairs.rows(side))) for side in SIDES}


def changed(run: Path, **changes: Any) -> Path:
    """The run with something else in its training."""
    sae, config = load_sae(run), json.loads((run / "config.json").read_text())
    save_sae(sae, run, config["training"] | changes)
    return run


@pytest.mark.parametrize("options", DICTIONARIES.values(), ids=DICTIONARIES)
def test_a_match_changes_no_bit_of_what_a_side_makes_of_itself(
    options: ArchitectureOptions,
    caches: dict[str, ActivationCache],
    runs: Callable[..., Path],
    tmp_path: Path,
) -> None:
    run = runs("before", options)
    matched = match_runs(both(run), caches["train"], tmp_path / "matched")
    before, after = (reconstructions(load_sae(one), caches["val"]) for one in (run, tmp_path / "matched"))
    for side in SIDES:
        assert torch.equal(after[side], before[side])
    assert matched.confidence[: matched.shared_width].any()
    assert not matched.confidence[matched.shared_width :].any()


def test_private_latents_keep_their_numbers(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    run = runs("before")
    matched, before = match_runs(both(run), caches["train"], tmp_path / "matched"), load_sae(run)
    private = slice(before.shared_width, None)
    for side in SIDES:
        assert not torch.equal(matched.directions(side), before.directions(side))
        assert torch.equal(matched.directions(side)[private], before.directions(side)[private])


def test_two_runs_are_joined_by_a_side_of_each(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    of: dict[Side, Path] = {"vision": runs("first", seed=1), "text": runs("second", seed=2)}
    match_runs(of, caches["train"], tmp_path / "joined")
    joined = reconstructions(load_sae(tmp_path / "joined"), caches["val"])
    for side in SIDES:
        assert torch.equal(joined[side], reconstructions(load_sae(of[side]), caches["val"])[side])


def planted(cache: ActivationCache, order: torch.Tensor) -> SparseAutoencoder:
    """A dictionary both of whose sides know the same latents, those of text in another order."""
    sae = initial_sae(VL_SAE, cache, seed=3)
    with torch.no_grad():
        vision, text = sae.encoder("vision"), sae.encoder("text")
        text.weight.copy_(vision.weight[order])
        text.bias.copy_(vision.bias[order])
    return sae


@pytest.mark.parametrize("deranged", [False, True], ids=["paired", "deranged"])
def test_a_planted_permutation_is_found_back_from_pairs_and_from_nothing_else(
    deranged: bool, tmp_path: Path
) -> None:
    embeddings = ACTIVATIONS.arrays["vision_pooled"]
    text = np.roll(embeddings, 1, axis=0) if deranged else embeddings
    cache = write_cache(tmp_path / "planted.zarr", with_arrays(text_pooled=text))
    order = torch.randperm(VL_SAE.latents, generator=torch.Generator().manual_seed(0))
    found = match_sides(planted(cache, order), cache, batch_pairs=7)
    living = found.confidence != 0
    right = order[torch.from_numpy(found.text[living])].numpy() == found.vision[living]
    assert living.sum() > 20
    if deranged:
        assert right.mean() < 0.25 and found.confidence[living].max() < 0.9
    else:
        assert right.all()
        np.testing.assert_allclose(found.confidence[living], 1)


@pytest.mark.parametrize("options", [LUCID, VL_SAE], ids=["lucid", "vl_sae"])
def test_other_numbers_beforehand_do_not_change_who_is_matched(
    options: ArchitectureOptions, caches: dict[str, ActivationCache]
) -> None:
    def partners(found: Matching, order: np.ndarray) -> dict[int, int]:
        """By living latent of vision, the latent of text, by its number of before."""
        living = found.confidence != 0
        return dict(zip(found.vision[living].tolist(), order[found.text[living]].tolist(), strict=True))

    sae = initial_sae(options, caches["train"], seed=0)
    width = sae.shared_width
    expected = partners(match_sides(sae, caches["train"], 16), np.arange(width))
    shuffled = torch.randperm(width, generator=torch.Generator().manual_seed(0))
    order = torch.cat([shuffled, torch.arange(width, options.latents)])
    sae.reindex("text", order)
    assert partners(match_sides(sae, caches["train"], 16), order.numpy()) == expected


def test_the_same_match_gives_the_same_bytes_and_a_second_one_changes_nothing(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    run, first, second, again = runs("before"), *(tmp_path / name for name in ("first", "second", "again"))
    for source, output in ((run, first), (run, second), (first, again)):
        match_runs(both(source), caches["train"], output)
    files = {path.name: path.read_bytes() for path in first.iterdir()}
    assert files == {path.name: path.read_bytes() for path in second.iterdir()}
    once, twice = load_sae(first).state_dict(), load_sae(again).state_dict()
    assert all(torch.equal(twice[name], tensor) for name, tensor in once.items())


def test_by_a_plan_a_run_is_matched_with_itself_alone_and_says_so(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    run = runs("before")
    match_runs(both(run), caches["train"], tmp_path / "by_plan", by="plan")
    sae, matched = load_sae(run), load_sae(tmp_path / "by_plan")
    expected = match_sides(sae, caches["train"], 16, by="plan")
    for side, order in (("vision", expected.vision), ("text", expected.text)):
        assert torch.equal(
            matched.directions(side)[: len(order)], sae.directions(side)[torch.from_numpy(order)]
        )
    assert training_of(tmp_path / "by_plan")["matched_by"] == "plan"
    with pytest.raises(ConfigError, match="have no latents in common that a plan could go by"):
        match_runs(both(run) | {"text": tmp_path / "by_plan"}, caches["train"], tmp_path / "no", by="plan")


def test_a_match_after_training_is_one_at_its_end(caches: dict[str, ActivationCache], tmp_path: Path) -> None:
    train = TrainOptions(epochs=2, batch_pairs=8, device="cpu")
    at_its_end = ONE_PART.model_copy(update={"matching": MatchingOptions(separate_epochs=2)})
    for name, options in (("separate", ONE_PART), ("recipe", at_its_end)):
        fit_run(caches["train"], Training(options, train), tmp_path / name, lambda done, total: None)
    match_runs(both(tmp_path / "separate"), caches["train"], tmp_path / "matched")
    found, expected = (load_sae(tmp_path / name).state_dict() for name in ("matched", "recipe"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=0, atol=1e-6 if name == "confidence" else 0, msg=name
        )


def test_a_matched_run_says_what_it_was_made_of_and_on_which_cache(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    of: dict[Side, Path] = {"vision": runs("first", seed=1), "text": runs("second", seed=2)}
    match_runs(of, caches["train"], tmp_path / "joined")
    training = json.loads((tmp_path / "joined/config.json").read_text())["training"]
    assert training["cache"]["manifest_sha256"] == caches["train"].manifest.sha256
    assert training["train"] == {}
    assert training["matched"]["vision"]["train"] == {"seed": 1}
    assert training["matched"]["text"]["train"] == {"seed": 2}
    assert training["matched"]["text"]["sae"] == LUCID.model_dump(mode="json")
    seals = {side: one["model_blake3"] for side, one in training["matched"].items()}
    assert seals["vision"] != seals["text"]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (VL_SAE, r'architecture: "vl_sae" and not "lucid"'),
        (LUCID.model_copy(update={"latents": 36}), "latents: 36 and not 32"),
        (LUCID.model_copy(update={"k_private": 4}), "sae.k_private: 4 and not 3"),
    ],
    ids=["architecture", "latents", "options"],
)
def test_runs_that_were_built_otherwise_are_not_joined(
    second: ArchitectureOptions,
    told: str,
    caches: dict[str, ActivationCache],
    runs: Callable[..., Path],
    tmp_path: Path,
) -> None:
    refused({"vision": runs("first"), "text": runs("second", second)}, caches["train"], tmp_path, told)


def test_runs_of_other_widths_or_of_another_backbone_are_not_joined(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    wider = write_cache(tmp_path / "wider.zarr", synthetic_activations(PAIRS, 16, channels=10))
    save_sae(initial_sae(LUCID, wider, 0), tmp_path / "wide", training_identity({}, wider))
    first = runs("first")
    refused({"vision": first, "text": tmp_path / "wide"}, caches["train"], tmp_path, "channels: 10 and not 8")
    other = changed(runs("other"), backbone={"name": "another"})
    told = r'activations of another backbone .*backbone.name: "another" and not "synthetic"'
    refused({"vision": first, "text": other}, caches["train"], tmp_path, told)


def test_a_match_on_other_pairs_than_those_of_training_is_refused(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    told = (
        r"val.zarr.*: is not the cache that .*first was trained on: it has .*; match on the pairs of training"
    )
    first, elsewhere = runs("first"), runs("elsewhere", cache="few")
    refused(both(first), caches["val"], tmp_path, told)
    refused({"vision": first, "text": elsewhere}, caches["val"], tmp_path, told)
    match_runs({"vision": elsewhere, "text": first}, caches["train"], tmp_path / "joined")


@pytest.mark.parametrize(
    ("options", "cache", "told"),
    [
        (VLSAEOptions(latents=32, k=4), "train", "weights in common"),
        (VL_SAE.model_copy(update={"shared_decoder": True}), "train", "weights in common"),
        (ONE_PART, "few", "has 24 pairs, too few to match 32 latents a side"),
    ],
    ids=["one encoder", "one decoder", "few pairs"],
)
def test_what_cannot_be_matched_is_refused(
    options: ArchitectureOptions,
    cache: str,
    told: str,
    caches: dict[str, ActivationCache],
    runs: Callable[..., Path],
    tmp_path: Path,
) -> None:
    refused(both(runs("one", options, cache)), caches[cache], tmp_path, told)


@pytest.mark.parametrize("side", SIDES)
def test_a_side_without_a_living_latent_is_refused(
    side: Side, caches: dict[str, ActivationCache], tmp_path: Path
) -> None:
    sae = initial_sae(LUCID, caches["train"], seed=0)
    with torch.no_grad():
        sae.dictionary(side).encoder_bias.fill_(-1e6)
    save_sae(sae, tmp_path / "dead", training_identity({}, caches["train"]))
    refused(both(tmp_path / "dead"), caches["train"], tmp_path, f"no latent of {side} fires on any pair")


def test_a_run_that_says_nothing_of_its_training_is_refused(
    caches: dict[str, ActivationCache], tmp_path: Path
) -> None:
    save_sae(initial_sae(LUCID, caches["train"], seed=0), tmp_path / "one")
    refused(both(tmp_path / "one"), caches["train"], tmp_path, "does not say what the run was trained on")


def test_nothing_that_exists_is_written_over(
    caches: dict[str, ActivationCache], runs: Callable[..., Path], tmp_path: Path
) -> None:
    run = runs("one")
    (tmp_path / "link").symlink_to("nowhere")
    for output in (run, tmp_path / "link"):
        with pytest.raises(ConcordError, match="exists; name another folder, or delete it"):
            match_runs(both(run), caches["train"], output)


def refused(of: Mapping[Side, Path], cache: ActivationCache, folder: Path, told: str) -> None:
    """It says so in one line and leaves nothing behind."""
    with pytest.raises(ConcordError, match=told) as error:
        match_runs(of, cache, folder / "matched")
    assert "\n" not in str(error.value)
    assert not (folder / "matched").exists()
