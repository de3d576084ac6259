import pytest
import torch

from benchmarks.synthetic import synthetic_activations, write_cache
from cache import ActivationCache
from pipeline.sae.batch_top_k import BatchTopK
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group, top_k
from pipeline.training.fit import Training, fit
from pipeline.training.options import TrainOptions

CHANNELS, TOKENS, CAP = 8, 50, 4
GROUPS = [Group(0, 12, 2), Group(12, 40, 3)]
LUCID = {"latents": 40, "shared_ratio": 0.3, "k_shared": 2, "k_private": 3}
LUCID_BATCH = LucidOptions(**LUCID, activation="batch_top_k")
TRAIN = {"epochs": 3, "batch_pairs": 4, "warmup_steps": 2, "checkpoint_every": 4}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ActivationCache:
    activations = synthetic_activations(images=24, shard_images=8, channels=CHANNELS)
    return write_cache(tmp_path_factory.mktemp("batch_top_k") / "train.zarr", activations)


def scores(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(TOKENS, 1, generator=generator) * 2  # some tokens have more to say than others
    return (torch.randn(TOKENS, 40, generator=generator) * spread).relu()


def candidates(batch: BatchTopK, dense: torch.Tensor) -> SparseCodes:
    return SparseCodes(*top_k(dense, batch.candidates(GROUPS)))


def test_of_a_batch_the_k_n_largest_codes_of_each_group_are_kept() -> None:
    batch, dense = BatchTopK(GROUPS, cap=20), scores()  # a cap that no token reaches
    codes = batch.largest_of_batch(candidates(batch, dense), GROUPS)
    expected = torch.zeros_like(dense)
    for start, stop, k in GROUPS:
        part = dense[:, start:stop]
        least = part.flatten().sort(descending=True).values[k * TOKENS - 1]
        expected[:, start:stop] = part * (part >= least)
    assert torch.equal(codes.dense(40), expected)
    active = (codes.values > 0).sum(dim=1)
    assert active.sum() == 5 * TOKENS and active.unique().numel() > 3
    assert (batch.capped == 0).sum() == 2


def test_rows_that_are_no_tokens_take_nothing_of_the_budget() -> None:
    dense, mask = scores(), torch.arange(TOKENS) < 20
    masked, alone = BatchTopK(GROUPS, CAP), BatchTopK(GROUPS, CAP)
    found = masked.largest_of_batch(candidates(masked, dense), GROUPS, mask).dense(40)
    assert torch.equal(found[:20], alone.largest_of_batch(candidates(alone, dense[:20]), GROUPS).dense(40))
    assert not found[20:].any()
    assert torch.equal(masked.thresholds, alone.thresholds) and torch.equal(masked.capped, alone.capped)


def test_tokens_that_would_have_more_latents_than_the_cap_are_counted() -> None:
    groups = [Group(0, 40, 2)]
    batch, dense = BatchTopK(groups, cap=2), torch.zeros(10, 40)
    dense[:, :1], dense[:2, :9] = 0.5, 1.0  # two tokens want nine latents, the others one
    batch.largest_of_batch(SparseCodes(*top_k(dense, batch.candidates(groups))), groups)
    assert batch.capped.item() == pytest.approx(0.2)


def test_the_threshold_is_the_mean_of_the_smallest_kept_codes() -> None:
    batch, smallest = BatchTopK(GROUPS, CAP), []
    for seed in range(5):
        kept = batch.largest_of_batch(candidates(batch, scores(seed)), GROUPS).dense(40)
        smallest.append([kept[:, a:b][kept[:, a:b] > 0].min() for a, b, _ in GROUPS])
    torch.testing.assert_close(batch.thresholds, torch.tensor(smallest).mean(dim=0))


def test_above_the_threshold_other_tokens_have_k_active_latents_in_the_mean() -> None:
    batch, active = BatchTopK(GROUPS, CAP), torch.zeros(2)
    for seed in range(30):
        batch.largest_of_batch(candidates(batch, scores(seed)), GROUPS)
    for seed in range(100, 130):
        dense = batch.above_threshold(candidates(batch, scores(seed))).dense(40)
        for group, (start, stop, _) in enumerate(GROUPS):
            kept = dense[:, start:stop]
            active[group] += (kept > 0).sum() / TOKENS / 30
            assert (kept[kept > 0] >= batch.thresholds[group]).all()
    torch.testing.assert_close(active, torch.tensor([2.0, 3.0]), rtol=0.1, atol=0)


def test_gradients_are_those_of_the_kept_codes_alone() -> None:
    sae = LucidSAE(LUCID_BATCH, CHANNELS, CHANNELS).train()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 1, CHANNELS, generator=generator)
    pairs = Pairs(rows, rows.flatten(0, 1).clone(), torch.arange(3))
    sae.losses(pairs).total.backward()  # type: ignore[no-untyped-call]
    kept = sae.batch_top_k["vision"]
    dictionary = sae.dictionary("vision")
    codes = dictionary.encode(pairs.rows("vision"), kept.candidates(GROUPS))
    values = codes.values * (codes.values >= kept.thresholds.repeat_interleave(torch.tensor([8, 12])))
    silent = SparseCodes(values, codes.indices).dense(40).sum(dim=0) == 0
    assert silent.any() and not silent.all()
    assert not dictionary.encoder.grad[silent].any() and dictionary.encoder.grad[~silent].any()


@pytest.mark.parametrize("joint_epochs", [0, 2])
def test_held_apart_all_parts_have_one_threshold_and_after_the_match_each_its_own(
    cache: ActivationCache, joint_epochs: int
) -> None:
    few = LUCID | {"latents": 20, "matching": {"separate_epochs": 1}}  # no more than there are pairs
    train = TrainOptions(**TRAIN | {"epochs": 1 + joint_epochs})
    options = LucidOptions(**few, activation="batch_top_k")
    sae = fit(cache, {"one": Training(options, train)}).saes["one"]
    for side in SIDES:
        shared, private = sae.batch_top_k[side].thresholds.tolist()
        assert shared > 0 and private > 0 and (shared == private) == (joint_epochs == 0)
        assert int(sae.batch_top_k[side].batches) == joint_epochs * cache.pairs // 4
