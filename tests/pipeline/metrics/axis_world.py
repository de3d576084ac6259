"""A tiny world whose activations are its concepts: every noun is one axis, on both sides, so the truth is known."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from cache import SAMPLES_SCHEMA, ActivationCache, CacheWriter, Manifest, ShardActivations
from pipeline.backbone.model import Backbone
from pipeline.metrics.naming import names
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

NOUNS = ("boat", "cat", "fish", "star", "traffic light")
WORDS = ["a", "photo", "of", "two", "on", "the", "sea", "traffic", "light", "lights", ".", ",", *NOUNS[:-1]]
GRID = (4, 4)
PATCH = 8
SIZE = GRID[0] * PATCH
CHANNELS = 32
BACKGROUND = 20


@dataclass(frozen=True)
class Thing:
    """An object that fills `rows` x `columns` whole patches."""

    noun: str
    rows: range
    columns: range
    has_box: bool = True

    @property
    def annotation(self) -> dict:
        left, top = self.columns.start * PATCH, self.rows.start * PATCH
        width, height = len(self.columns) * PATCH, len(self.rows) * PATCH
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[top : top + height, left : left + width] = True
        return {
            "category": self.noun,
            "box": [float(left), float(top), float(width), float(height)],
            "segmentation": json.dumps({"size": [SIZE, SIZE], "counts": run_lengths(mask)}),
            "concepts": [f"noun:{self.noun}"],
        }


@dataclass(frozen=True)
class Scene:
    """An image: its objects, its captions, and categories that are listed for it without any box.

    Its ids follow from `number`, by default its place among the scenes.
    """

    things: Sequence[Thing]
    captions: Sequence[str]
    listed: Sequence[str] = ()
    truth: bool = True
    skipped: frozenset[int] = field(default=frozenset())
    number: int | None = None


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths: column by column, starting with the zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def vision_tokens(scene: Scene) -> np.ndarray:
    tokens = np.zeros((*GRID, CHANNELS), dtype=np.float32)
    tokens[..., BACKGROUND] = 1.0
    for thing in scene.things:
        tokens[thing.rows.start : thing.rows.stop, thing.columns.start : thing.columns.stop] = axis(
            thing.noun
        )
    return tokens.reshape(-1, CHANNELS)


def axis(noun: str) -> np.ndarray:
    """The noun's own axis; all nouns that the world does not know share one."""
    place = NOUNS.index(noun) if noun in NOUNS else len(NOUNS)
    return np.eye(CHANNELS, dtype=np.float32)[place]


def pooled(nouns: Iterable[str]) -> np.ndarray:
    """The embedding of an image or a caption: the background and every noun in it."""
    embedding = np.zeros(CHANNELS, dtype=np.float32)
    embedding[BACKGROUND] = 0.5
    return sum((axis(noun) for noun in nouns), embedding)


def named_nouns(caption: str) -> list[str]:
    return [noun for noun in NOUNS if any(name in caption for name in names(noun))]


def text_tokens(pieces: Sequence[str]) -> np.ndarray:
    tokens = np.zeros((len(pieces), CHANNELS), dtype=np.float32)
    tokens[:, BACKGROUND] = 1.0
    for row, piece in enumerate(pieces):
        for noun in NOUNS:
            if any(piece in name.split() for name in names(noun)):
                tokens[row] = axis(noun)
    return tokens


def write_cache(
    path: Path, scenes: Sequence[Scene], backbone: Backbone, noise: float, unit: float = 1.0
) -> ActivationCache:
    """Every activation is multiplied by `unit`."""
    generator = np.random.default_rng(0)
    captions = [caption for scene in scenes for caption in scene.captions]
    skipped = np.array(
        [i in scene.skipped for scene in scenes for i in range(len(scene.captions))], dtype=bool
    )
    ids, valid = backbone.tokenize(captions)
    valid &= ~torch.from_numpy(skipped)[:, None]
    kept = [ids[row][valid[row]] for row in range(len(captions))]
    text = np.concatenate(
        [text_tokens([word.text for word in backbone.spelling(row).words()]) for row in kept]
    )
    vision = np.stack([vision_tokens(scene) for scene in scenes])
    images = np.stack([pooled(thing.noun for thing in scene.things) for scene in scenes])
    texts = np.stack([pooled(named_nouns(caption)) for caption in captions])
    noise_of_pooled = np.random.default_rng(1)
    activations = ShardActivations(
        vision_tokens=vision + noise * generator.standard_normal(vision.shape, dtype=np.float32),
        vision_pooled=images + noise * noise_of_pooled.standard_normal(images.shape, dtype=np.float32),
        text_tokens=text + noise * generator.standard_normal(text.shape, dtype=np.float32),
        text_lengths=valid.sum(dim=1).numpy(),
        token_ids=torch.cat(kept).numpy(),
        text_pooled=texts + noise * noise_of_pooled.standard_normal(texts.shape, dtype=np.float32),
    )
    manifest = Manifest(
        backbone=backbone.identity,
        dataset={"name": "axes", "split": "val"},
        storage_dtype="float32",
        images=len(scenes),
        captions=len(captions),
        patches=GRID[0] * GRID[1],
        grid=GRID,
        vision_channels=CHANNELS,
        text_channels=CHANNELS,
        embedding=CHANNELS,
        context_length=backbone.context_length,
        shard_captions=(len(captions),),
    )
    activations = activations._replace(
        **{
            name: getattr(activations, name) * np.float32(unit)
            for name in ("vision_tokens", "vision_pooled", "text_tokens", "text_pooled")
        }
    )
    writer = CacheWriter.open(path, manifest)
    writer.write_shard(0, activations, pa.Table.from_pylist(sample_rows(scenes), schema=SAMPLES_SCHEMA))
    return writer.finish()


def sample_rows(scenes: Sequence[Scene]) -> list[dict]:
    rows = []
    for image_row, scene in enumerate(scenes):
        identity = image_row if scene.number is None else scene.number
        objects = [thing.annotation for thing in scene.things if thing.has_box]
        nouns = {f"noun:{thing.noun}" for thing in scene.things}
        for number, caption in enumerate(scene.captions):
            said = [f"noun:{noun}" for noun in named_nouns(caption)]
            rows.append(
                {
                    "image_row": image_row,
                    "image_id": 100 + identity,
                    "caption_id": 10 * identity + number,
                    "file": f"{image_row}.png",
                    "caption": caption,
                    "width": SIZE,
                    "height": SIZE,
                    "categories": sorted({*scene.listed, *(thing.noun for thing in scene.things)}),
                    "objects": objects,
                    "image_concepts": sorted(nouns) if scene.truth else None,
                    "caption_concepts": said if scene.truth else None,
                    "split": "val",
                    "skip_reason": "left out" if number in scene.skipped else None,
                }
            )
    return rows


def axis_sae(shared_ratio: float = 1.0) -> LucidSAE:
    """The perfect dictionary of the world of axes: latent n of both sides is axis n."""
    options = LucidOptions(
        latents=round(CHANNELS / shared_ratio), shared_ratio=shared_ratio, k_shared=1, k_private=1
    )
    sae = LucidSAE(options, CHANNELS, CHANNELS)
    with torch.no_grad():
        for side in ("vision", "text"):
            dictionary = sae.dictionary(side)
            for weight in (dictionary.encoder, dictionary.decoder):
                weight.zero_()
                weight[:CHANNELS] = torch.eye(CHANNELS)
    return sae.eval()


def random_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of one or two objects that do not overlap, each with one caption that names them all."""
    generator = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        nouns = generator.choice(NOUNS, size=generator.integers(1, 3), replace=False)
        halves = [range(0, 2), range(2, 4)]
        things = [
            Thing(str(noun), range(int(top), int(top) + 2), half)
            for noun, half, top in zip(nouns, halves, generator.integers(0, 3, size=2), strict=False)
        ]
        scenes.append(Scene(things, ["a " + " on the ".join(thing.noun for thing in things)]))
    return scenes
