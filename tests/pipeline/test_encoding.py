"""Stage one on small data sets with a small random backbone: skips, errors, resuming, identical bytes."""

import contextlib
import hashlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cache import ActivationCache, CacheIdentityError, CacheWriter
from pipeline.backbone.loading import load_backbone
from pipeline.backbone.model import Activations
from pipeline.backbone.options import BackboneOptions
from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.pictures import read_picture
from pipeline.encoding.options import EncodeOptions
from pipeline.encoding.pictures import PictureBatches
from pipeline.encoding.split import cache_manifest, encode_split
from pipeline.errors import BackboneError, DatasetError
from pipeline.world.pretraining.tokenizer import write_tokenizer

CONTEXT = 8
WORDS = ["a", "red", "blue", "dog", "cat", "and", "the", "two", "of", "them", "run", "sit"]
OPTIONS = EncodeOptions(batch_size=4, shard_images=5, decode_workers=2, storage_dtype="float32")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """An open_clip folder without weights: 2 x 2 patches of 16 pixels, a dozen words."""
    folder = tmp_path_factory.mktemp("small")
    tower = {"width": 16, "layers": 2}
    vocabulary = write_tokenizer(folder, WORDS, CONTEXT)
    text = {
        "context_length": CONTEXT,
        "vocab_size": vocabulary,
        "heads": 2,
        "hf_tokenizer_name": "small",
        **tower,
    }
    vision = {"image_size": 32, "patch_size": 16, "head_width": 8, **tower}
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    config = {
        "model_cfg": {"embed_dim": 12, "custom_text": True, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": preprocess,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def backbone(model_folder):
    return load_backbone(BackboneOptions(model=f"local-dir:{model_folder}", weights="random"))


class Folder:
    """A data set in COCO layout under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content: dict = {"images": [], "annotations": []}
        (root / "train").mkdir(parents=True)
        (root / "annotations").mkdir()

    def add(self, *captions, picture=None, size=(40, 30)):
        """List an image of the given size with its captions and draw noise; or write `picture`, bytes or nothing."""
        image_id = len(self.content["images"]) + 1
        file = f"{image_id:03d}.jpg"
        entry = {"id": image_id, "file_name": file, "width": size[0], "height": size[1]}
        self.content["images"].append(entry)
        for text in captions:
            caption = {"id": len(self.content["annotations"]) + 1, "image_id": image_id, "caption": text}
            self.content["annotations"].append(caption)
        if picture is None:
            noise = np.random.default_rng(image_id).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(self.root / "train" / file)
        elif picture:
            (self.root / "train" / file).write_bytes(picture)

    def open(self):
        (self.root / "annotations" / "captions_train.json").write_text(json.dumps(self.content))
        return CocoDataset.open(self.root, "train", captions_per_image="all")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "pets")


@pytest.fixture
def thirteen(folder):
    """Thirteen images in three shards: two captions for the even ones, some of them unusable."""
    for number in range(13):
        captions = ["a red dog", "two of them run"] if number % 2 == 0 else ["the blue cat"]
        folder.add(*captions, picture=b"not a picture" if number == 6 else None)
    return folder.open()


def digest(cache: Path) -> dict[str, str]:
    """SHA-256 of every file of a cache."""
    files = [file for file in sorted(cache.rglob("*")) if file.is_file()]
    return {str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_activations_are_those_of_the_backbone_applied_to_each_pair_alone(thirteen, backbone, tmp_path):
    summary = encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)
    cache = ActivationCache.open(tmp_path / "c.zarr", backbone.identity)
    samples = [row for row in cache.samples.to_pylist() if row["skip_reason"] is None]
    assert summary.pairs == len(samples) == cache.pairs == 18
    batch = cache.read_pairs(np.arange(cache.pairs))
    for pair, row in enumerate(samples):
        assert row["pair"] == pair
        picture = read_picture(thirteen.root / row["file"], (row["width"], row["height"]))
        image = backbone.encode_images(backbone.preprocess(picture)[None])
        token_ids, valid = backbone.tokenize([row["caption"]])
        text = backbone.encode_texts(token_ids)
        own = slice(int(batch.text_offsets[pair]), int(batch.text_offsets[pair + 1]))
        torch.testing.assert_close(batch.vision_tokens[pair], image.tokens[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.vision_pooled[pair], image.pooled[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.text_tokens[own], text.tokens[valid], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.text_pooled[pair], text.pooled[0], rtol=1e-4, atol=1e-5)
        assert batch.token_ids[own].tolist() == token_ids[valid].tolist()


def test_everything_that_cannot_be_a_pair_is_recorded_and_counted(folder, backbone, tmp_path):
    jpeg = Path(tmp_path / "whole.jpg")
    Image.effect_noise((40, 30), 90).convert("RGB").save(jpeg)
    folder.add("a dog", "", "   ")
    folder.add("a cat", picture=False)
    folder.add("a dog", "two dog", picture=jpeg.read_bytes()[:-300])
    folder.add()
    folder.add("a red dog and a blue cat", "a red dog and a blue cat and the two of them", "a")
    folder.add("the cat", size=(30, 40))
    folder.add()
    (tmp_path / "pets" / "train" / "007.jpg").unlink()
    folder.add("a red dog and a blue cat and the two of them")
    summary = encode_split(folder.open(), backbone, tmp_path / "c.zarr", OPTIONS)
    cache = ActivationCache.open(tmp_path / "c.zarr")
    reasons = [(row["image_id"], row["skip_reason"]) for row in cache.samples.to_pylist()]
    truncated = reasons[4][1]
    assert truncated.startswith("image cannot be decoded: image file is truncated")
    too_long = "caption too long: 13 tokens, the context holds 8"
    assert reasons == [
        (1, None),
        (1, "empty caption"),
        (1, "empty caption"),
        (2, "image file missing"),
        (3, truncated),
        (3, truncated),
        (4, "image without captions"),
        (5, None),
        (5, too_long),
        (5, None),
        (6, "image size differs from its annotation: 40 x 30 px, annotated 30 x 40"),
        (7, "image file missing"),
        (8, too_long),
    ]
    assert summary.skipped == {
        "empty caption": 2,
        "image file missing": 2,
        "image cannot be decoded": 2,
        "caption too long": 2,
        "image without captions": 1,
        "image size differs from its annotation": 1,
    }
    assert (summary.images, summary.captions, summary.pairs, summary.encoded_images) == (8, 11, 3, 8)
    tokens, pooled = (
        cache.read_stored(f"vision/{name}", np.arange(8)).decoded() for name in ("tokens", "pooled")
    )
    used = [bool(one.any()) for one in tokens]
    assert (
        used == [bool(one.any()) for one in pooled] == [True, False, False, False, True, False, False, False]
    )
    assert cache.statistics["vision"].count == 2 * backbone.patches
    assert cache.statistics["text"].count == len(cache.read_pairs(np.arange(3)).token_ids) == 2 + 7 + 1


def test_a_skipped_neighbour_changes_no_bit_of_a_pair(folder, backbone, tmp_path):
    for _ in range(6):
        folder.add("a red dog")
    folder.add("two of them")
    encode_split(folder.open(), backbone, tmp_path / "whole.zarr", OPTIONS)
    (folder.root / "train" / "002.jpg").write_bytes(b"damaged")
    folder.content["annotations"][3]["caption"] = ""
    encode_split(folder.open(), backbone, tmp_path / "damaged.zarr", OPTIONS)
    whole = ActivationCache.open(tmp_path / "whole.zarr").read_pairs(np.array([0, 2, 4, 5, 6]))
    damaged = ActivationCache.open(tmp_path / "damaged.zarr").read_pairs(np.arange(5))
    for name in ("vision_tokens", "vision_pooled", "text_tokens", "text_pooled", "token_ids"):
        assert torch.equal(getattr(whole, name), getattr(damaged, name)), name


@pytest.fixture
def overflowing(backbone, monkeypatch):
    """The backbone, with a value that is not finite for image 1, for image 2, and for some word of some captions."""
    encode_images, encode_texts = backbone.encode_images, backbone.encode_texts
    words = backbone.tokenize(["run sit"])[0][0, :2]
    batches = iter(range(100))

    def images(pixels):
        tokens, pooled = map(torch.clone, encode_images(pixels))
        if next(batches) == 0:
            tokens[1, 3, 2] = torch.nan
            pooled[2, 0] = torch.inf
        return Activations(tokens, pooled)

    def texts(token_ids):
        tokens, pooled = map(torch.clone, encode_texts(token_ids))
        tokens[token_ids == words[0]] = -torch.inf
        tokens[:, -1] = torch.nan  # no caption here is so long: padding is not looked at
        pooled[(token_ids == words[1]).any(dim=1)] = torch.nan
        return Activations(tokens, pooled)

    monkeypatch.setattr(backbone, "encode_images", images)
    monkeypatch.setattr(backbone, "encode_texts", texts)
    return backbone


def test_values_that_are_not_finite_cost_their_image_or_caption_and_no_other_bit(
    folder, backbone, tmp_path, request
):
    for caption in ("a dog", "a cat", "a red cat", "the dog run", "the cat sit", "the two"):
        folder.add("a blue cat", caption)
    dataset = folder.open()
    encode_split(dataset, backbone, tmp_path / "whole.zarr", OPTIONS)
    summary = encode_split(dataset, request.getfixturevalue("overflowing"), tmp_path / "c.zarr", OPTIONS)
    cache = ActivationCache.open(tmp_path / "c.zarr")
    reasons = cache.samples["skip_reason"].to_pylist()
    image, caption = "activations are not finite: image", "activations are not finite: caption"
    assert reasons == [None] * 2 + [image] * 4 + [None, caption, None, caption, None, None]
    assert (summary.pairs, summary.skipped) == (6, {"activations are not finite": 6})
    assert not cache.read_stored("vision/tokens", np.array([1, 2])).decoded().any()
    found = cache.read_pairs(np.arange(6))
    whole = ActivationCache.open(tmp_path / "whole.zarr").read_pairs(np.array([0, 1, 6, 8, 10, 11]))
    for name in ("vision_tokens", "vision_pooled", "text_tokens", "text_pooled", "token_ids"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name


def test_a_shard_without_one_finite_pair_stops_the_run(thirteen, backbone, tmp_path, monkeypatch):
    encode_images = backbone.encode_images

    def overflowing(pixels):
        tokens, pooled = encode_images(pixels)
        return Activations(tokens, pooled / 0)

    monkeypatch.setattr(backbone, "encode_images", overflowing)
    with pytest.raises(
        BackboneError, match=r"not one pair of image rows 0 to 4 has finite activations; encode with"
    ):
        encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)


def test_samples_carry_ids_sizes_files_objects_and_concepts(folder, backbone, tmp_path):
    folder.add("a dog")
    folder.add("a cat")
    entry, caption = folder.content["images"][0], folder.content["annotations"][0]
    entry["concepts"], caption["concepts"] = ["noun:dog", "colour:red"], ["noun:dog"]
    outline = [[1, 1, 9, 1, 9, 5]]
    annotation = {"image_id": 1, "category_id": 4, "bbox": [1, 1, 8, 4], "segmentation": outline}
    instances = {
        "images": folder.content["images"],
        "annotations": [{"id": 1, "concepts": ["noun:dog"], **annotation}, {"id": 2, **annotation}],
        "categories": [{"id": 4, "name": "dog"}],
    }
    (folder.root / "annotations" / "instances_train.json").write_text(json.dumps(instances))
    encode_split(folder.open(), backbone, tmp_path / "c.zarr", OPTIONS)
    first, second = ActivationCache.open(tmp_path / "c.zarr").samples.to_pylist()
    dog = {
        "category": "dog",
        "box": [1, 1, 8, 4],
        "segmentation": "[[1,1,9,1,9,5]]",
        "concepts": ["noun:dog"],
    }
    assert first == {
        "pair": 0,
        "image_row": 0,
        "caption_row": 0,
        "image_id": 1,
        "caption_id": 1,
        "file": "train/001.jpg",
        "caption": "a dog",
        "width": 40,
        "height": 30,
        "categories": ["dog"],
        "objects": [dog, {**dog, "concepts": []}],
        "image_concepts": ["noun:dog", "colour:red"],
        "caption_concepts": ["noun:dog"],
        "split": "train",
        "skip_reason": None,
        "tokens": 2,
    }
    assert (second["objects"], second["image_concepts"], second["caption_concepts"]) == ([], None, None)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_of_pictures_are_the_pictures_one_by_one_and_blank_where_one_is_unusable(
    folder, backbone, workers
):
    for number in range(12):
        folder.add("a dog", picture=b"damaged" if number in (0, 7) else None)
    images = folder.open().images
    blank = backbone.preprocess(Image.new("RGB", (16, 16)))
    batches = PictureBatches([images[:9], images[9:11], images[11:]], folder.root, backbone, workers=workers)
    with contextlib.closing(batches):
        found = list(batches)
    assert [len(batch.pixels) for batch in found] == [9, 2, 1]
    assert [set(batch.unusable) for batch in found] == [{0, 7}, set(), set()]  # whichever was decoded first
    assert found[0].unusable[7].startswith("image cannot be decoded")
    pixels = torch.cat([batch.pixels for batch in found])
    for number, image in enumerate(images):
        alone = (
            blank
            if number in (0, 7)
            else backbone.preprocess(read_picture(folder.root / image.file, (40, 30)))
        )
        assert torch.equal(pixels[number], alone), number


def test_bytes_do_not_depend_on_decoding_threads(thirteen, backbone, tmp_path):
    encode_split(thirteen, backbone, tmp_path / "one.zarr", OPTIONS.model_copy(update={"decode_workers": 1}))
    encode_split(thirteen, backbone, tmp_path / "five.zarr", OPTIONS.model_copy(update={"decode_workers": 5}))
    assert digest(tmp_path / "one.zarr") == digest(tmp_path / "five.zarr")


def test_a_complete_cache_is_left_alone(thirteen, backbone, tmp_path):
    first = encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)
    before = digest(tmp_path / "c.zarr")
    seen = []
    again = encode_split(
        thirteen, backbone, tmp_path / "c.zarr", OPTIONS, lambda *progress: seen.append(progress)
    )
    assert digest(tmp_path / "c.zarr") == before
    assert (first.encoded_images, again.encoded_images) == (13, 0)
    assert (again.pairs, again.skipped, seen) == (first.pairs, first.skipped, [(13, 13)])


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt, which pytest would take for itself."""


@pytest.mark.parametrize("images", [5, 9])
def test_an_interrupted_run_resumes_to_the_bytes_of_an_uninterrupted_one(
    thirteen, backbone, tmp_path, images
):
    encode_split(thirteen, backbone, tmp_path / "whole.zarr", OPTIONS)

    def interrupt(done, total):
        if done >= images:
            raise Interrupted

    threads = threading.active_count()
    with pytest.raises(Interrupted):
        encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS, interrupt)
    assert threading.active_count() == threads, "no thread is left behind"
    seen = []
    summary = encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS, lambda *done: seen.append(done))
    assert summary.encoded_images == (13 if images == 5 else 8), "committed shards are kept"
    assert seen[0] == (13 - summary.encoded_images, 13) and seen[-1] == (13, 13)
    assert digest(tmp_path / "c.zarr") == digest(tmp_path / "whole.zarr")


def test_a_file_that_vanishes_after_opening_stops_the_run_naming_it(folder, backbone, tmp_path):
    for _ in range(7):
        folder.add("a dog")
    dataset = folder.open()
    assert dataset.fingerprint, "which reads all of them"
    (folder.root / "train" / "006.jpg").unlink()
    with pytest.raises(DatasetError, match=r"train/006.jpg: cannot be read: No such file"):
        encode_split(dataset, backbone, tmp_path / "c.zarr", OPTIONS)
    writer = CacheWriter.open(tmp_path / "c.zarr", cache_manifest(dataset, backbone, OPTIONS))
    assert writer.missing_shards == [1], "the shard before it is committed"


def test_an_unforeseen_error_in_a_thread_reaches_the_caller_with_the_files_name(
    thirteen, backbone, tmp_path, monkeypatch
):
    def fails(image):
        raise RuntimeError("no such kernel")

    blank = backbone.preprocess(Image.new("RGB", (8, 8)))
    monkeypatch.setattr(
        backbone, "preprocess", lambda image: blank if image.size == (16, 16) else fails(image)
    )
    with pytest.raises(RuntimeError, match="no such kernel") as error:
        encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)
    assert any("train/001.jpg" in note for note in error.value.__notes__)


@pytest.mark.parametrize("failing", [0, 2])
def test_a_failing_write_reaches_the_caller(thirteen, backbone, tmp_path, monkeypatch, failing):
    write_shard = CacheWriter.write_shard

    def fails(self, shard, activations, samples):
        if shard == failing:
            raise OSError(5, "Input/output error")
        write_shard(self, shard, activations, samples)

    monkeypatch.setattr(CacheWriter, "write_shard", fails)
    with pytest.raises(OSError, match="Input/output error"):
        encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)


def test_a_cache_of_another_data_set_is_refused_with_both_values(thirteen, folder, backbone, tmp_path):
    encode_split(thirteen, backbone, tmp_path / "c.zarr", OPTIONS)
    before = thirteen.fingerprint
    folder.content["annotations"][0]["caption"] = "a blue dog"
    changed = folder.open()
    with pytest.raises(CacheIdentityError, match=r"dataset\.fingerprint") as error:
        encode_split(changed, backbone, tmp_path / "c.zarr", OPTIONS)
    assert before in str(error.value) and changed.fingerprint in str(error.value)


def test_an_interrupted_encoding_is_not_resumed_with_a_changed_model(
    thirteen, model_folder, backbone, tmp_path
):
    CacheWriter.open(tmp_path / "c.zarr", cache_manifest(thirteen, backbone, OPTIONS)).close()
    changed = shutil.copytree(model_folder, tmp_path / "changed")
    config = json.loads((changed / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["heads"] = 4
    (changed / "open_clip_config.json").write_text(json.dumps(config))
    other = load_backbone(BackboneOptions(model=f"local-dir:{changed}", weights="random"))
    heads = r"backbone\.architecture\.text_cfg\.heads: the cache has 2, expected 4"
    with pytest.raises(CacheIdentityError, match=heads):
        encode_split(thirteen, other, tmp_path / "c.zarr", OPTIONS)


def test_the_manifest_says_what_was_encoded(thirteen, backbone, monkeypatch):
    manifest = cache_manifest(thirteen, backbone, OPTIONS)
    assert manifest.backbone == json.loads(json.dumps(backbone.identity))
    assert manifest.dataset == {
        "name": "pets",
        "root": thirteen.root.as_posix(),
        "split": "train",
        "fingerprint": thirteen.fingerprint,
        "captions_per_image": "all",
        "caption_seed": 0,
        "batch_size": OPTIONS.batch_size,
    }
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    held_back = cache_manifest(thirteen, backbone, OPTIONS).versions
    assert held_back == {**manifest.versions, "ONEDNN_MAX_CPU_ISA": "AVX2"}, "it changes last bits"
    assert (manifest.images, manifest.captions, manifest.shard_captions) == (13, 20, (8, 7, 5))
    assert (manifest.patches, tuple(manifest.grid), manifest.context_length) == (4, (2, 2), CONTEXT)
    assert (manifest.vision_channels, manifest.text_channels, manifest.embedding) == (16, 16, 12)
