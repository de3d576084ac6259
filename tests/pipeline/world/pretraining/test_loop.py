import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn.functional import normalize

from pipeline.world.pretraining import loop
from pipeline.world.pretraining.architecture import WEIGHTS_FILE, create_model
from pipeline.world.pretraining.batches import BatchSampler
from pipeline.world.pretraining.facts import LOOKS
from pipeline.world.pretraining.forward import encode_texts, features_of
from pipeline.world.pretraining.loop import train
from pipeline.world.pretraining.optimizer import scheduled
from pipeline.world.pretraining.options import PretrainingOptions
from pipeline.world.pretraining.pool import ScenePool

OPTIONS = PretrainingOptions(
    steps=5,
    schedule=((0, 0.5), (2, 1.0), (5, 0.0)),
    images=3,
    bank_things=2,
    patches=4,
    focus_step=3,
    relation_step=4,
    place_step=4,
)


class InterruptionError(Exception):
    pass


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)


@pytest.mark.usefixtures("frequent")
def test_an_interrupted_training_resumes_to_the_same_weights(
    untrained_folder: Path, small_pool: ScenePool, tmp_path: Path
) -> None:
    def interrupt(record: dict[str, Any]) -> None:
        if record["step"] == 4:
            raise InterruptionError

    train(untrained_folder, small_pool, OPTIONS, tmp_path / "whole")
    whole = load_file(untrained_folder / WEIGHTS_FILE)
    (untrained_folder / WEIGHTS_FILE).unlink()
    with pytest.raises(InterruptionError):
        train(untrained_folder, small_pool, OPTIONS, tmp_path / "halves", interrupt)
    assert not (untrained_folder / WEIGHTS_FILE).exists()
    train(untrained_folder, small_pool, OPTIONS, tmp_path / "halves")
    resumed = load_file(untrained_folder / WEIGHTS_FILE)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.usefixtures("frequent")
def test_training_changes_every_weight_and_logs_every_term(
    untrained_folder: Path, small_pool: ScenePool, tmp_path: Path
) -> None:
    torch.manual_seed(OPTIONS.seed)
    before = {name: tensor.clone() for name, tensor in create_model(untrained_folder).state_dict().items()}
    model = train(untrained_folder, small_pool, OPTIONS, tmp_path)
    unchanged = [name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])]
    assert unchanged == []
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5]
    assert records[0].keys() >= {"caption", "changed", "image_phrase", "patch_phrase", "images_per_second"}


def test_texts_without_their_padding_embed_as_open_clip_embeds_them(
    untrained_folder: Path, small_pool: ScenePool
) -> None:
    model = create_model(untrained_folder).eval()
    batch = _sampler(untrained_folder, small_pool).batch(0)
    padded = torch.zeros(len(batch.captions), model.context_length, dtype=torch.int64)
    padded[:, : batch.captions.shape[1]] = batch.captions
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(model, batch.captions), model.encode_text(padded))


def test_image_and_patch_features_are_the_models_own_within_bfloat16(
    untrained_folder: Path, small_pool: ScenePool
) -> None:
    model = create_model(untrained_folder).eval()
    batch = _sampler(untrained_folder, small_pool).batch(0)
    with torch.no_grad():
        features = features_of(model, batch)
        images = model.encode_image(batch.pixels, normalize=True)
        tokens = model.visual.forward_intermediates(
            batch.pixels, normalize_intermediates=True, output_fmt="NLC", indices=1
        )["image_intermediates"][0]
        patches = normalize(tokens @ model.visual.proj, dim=-1)[batch.patch_images, batch.patch_indices]
    assert (features.images * images).sum(dim=-1).min() > 0.999
    assert (features.patches * patches).sum(dim=-1).min() > 0.999


def test_a_batch_is_a_function_of_its_step_and_each_epoch_shows_every_scene_once(
    untrained_folder: Path, small_pool: ScenePool
) -> None:
    sampler = _sampler(untrained_folder, small_pool)
    first, again = sampler.batch(4), _sampler(untrained_folder, small_pool).batch(4)
    assert torch.equal(first.captions, again.captions)
    assert torch.equal(first.patch_indices, again.patch_indices)
    assert torch.equal(first.pixels, again.pixels)
    shown = torch.cat([sampler.batch(step).pixels.flatten(1).sum(dim=1) for step in (0, 1)])
    everything = (small_pool.pixels.float() / 127.5 - 1.0).flatten(1).sum(dim=1)
    torch.testing.assert_close(shown.sort().values, everything.sort().values)


def test_the_schedule_is_linear_between_its_points() -> None:
    points = ((0, 0.0), (10, 1.0), (50, 1.0), (100, 0.0))
    assert [scheduled(step, points) for step in (0, 5, 10, 30, 75, 100)] == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]


def test_late_batches_show_relations_and_say_where_things_are(
    untrained_folder: Path, small_pool: ScenePool
) -> None:
    tokenizer = Tokenizer.from_file(str(untrained_folder / "tokenizer.json"))
    options = PretrainingOptions(images=2, bank_things=2, relation_step=1, place_step=2)
    sampler = BatchSampler(small_pool, tokenizer, options)
    relation = LOOKS.index("relation")
    early, late = sampler.batch(0), sampler.batch(1)
    assert not early.phrase_facts.asks("relation").any()
    assert late.phrase_facts.asks("relation").any()
    assert (late.scene_facts.things[0, :2, relation] >= 0).all()
    assert not late.phrase_facts.asks_only_place().any()
    assert sampler.batch(2).phrase_facts.asks_only_place().sum() == 4


def _sampler(folder: Path, pool: ScenePool) -> BatchSampler:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return BatchSampler(pool, tokenizer, PretrainingOptions(seed=0, images=3, bank_things=2, patches=4))
