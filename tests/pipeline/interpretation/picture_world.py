"""A tiny world whose truth is known: every concept is one channel, and every shared latent reads one channel.

Pictures have a grid of 4 x 4 patches. One patch holds the object (its noun at 3, its colour at 2), all others hold the
setting at 2. Every word of a caption that expresses a concept holds that channel at 3. Pooled embeddings hold the
largest value of each channel.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from cache import (
    SAMPLES_SCHEMA,
    ActivationCache,
    CacheWriter,
    Manifest,
    ShardActivations,
    captions_of_shards,
)
from pipeline.backbone.model import Activations
from pipeline.backbone.spelling import spell
from pipeline.sae.image_level import ImageLevelReadout
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.options import ImageLevelOptions
from pipeline.sae.vl_sae.model import VLSAE
from pipeline.sae.vl_sae.options import VLSAEOptions

CONCEPTS = ("noun:boat", "noun:cat", "colour:red", "colour:blue", "setting:sea", "setting:meadow")
WORDS = {
    "boat": 0, "ship": 0, "cat": 1, "kitten": 1, "red": 2, "blue": 3, "sea": 4, "ocean": 4, "meadow": 5,
    "a": 7, "at": 7, "unicorn": 7,
}  # fmt: skip
SEA, MEADOW = 4, 5
CHANNELS = 8
SHARED = 7
SILENT = 6
"""The shared latent that reads a channel which nothing ever uses."""
GRID = (4, 4)
SIDE = 64
COLOURS = {"red": (200, 40, 40), "blue": (40, 60, 200), "sea": (120, 190, 230), "meadow": (120, 190, 110)}

LIST = """\
# terms of the picture world
boat = noun:boat
ship = noun:boat
cat = noun:cat
kitten = noun:cat
red = colour:red
blue = colour:blue
sea = setting:sea
meadow = setting:meadow
unicorn
"""


@dataclass(frozen=True)
class Picture:
    """One image: its facts, the patch of its object, and its captions."""

    noun: str
    colour: str
    setting: str
    patch: int
    captions: tuple[str, ...]
    skip_reason: str | None = None

    @property
    def tokens(self) -> np.ndarray:
        tokens = np.zeros((GRID[0] * GRID[1], CHANNELS), np.float32)
        tokens[:, WORDS[self.setting]] = 2
        tokens[self.patch] = 0
        tokens[self.patch, WORDS[self.noun]] = 3
        tokens[self.patch, WORDS[self.colour]] = 2
        return tokens if self.skip_reason is None else np.zeros_like(tokens)

    @property
    def concepts(self) -> list[str]:
        return [f"noun:{self.noun}", f"colour:{self.colour}", f"setting:{self.setting}"]

    def draw(self) -> Image.Image:
        image = Image.new("RGB", (SIDE, SIDE), COLOURS[self.setting])
        side = SIDE // GRID[0]
        row, column = divmod(self.patch, GRID[1])
        image.paste(COLOURS[self.colour], (column * side, row * side, (column + 1) * side, (row + 1) * side))
        return image


def pictures() -> tuple[Picture, ...]:
    """Eighteen: every second a boat, every third blue, every fifth in a meadow; the object wanders over the patches."""
    made = []
    for number in range(18):
        noun = "cat" if number % 2 else "boat"
        colour = "blue" if number % 3 == 0 else "red"
        setting = "meadow" if number % 5 == 0 else "sea"
        caption = f"a {colour} {noun} at {setting}"
        captions = (caption, f"a {noun}") if number == 0 else (caption,)
        made.append(Picture(noun, colour, setting, 5 * number % 16, captions))
    made[4] = Picture(
        "boat", "red", "sea", 3, ("a red boat",), skip_reason="image cannot be decoded: truncated"
    )
    return tuple(made)


def words_of(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word in WORDS]


@dataclass(frozen=True)
class WordModel:
    """A backbone that reads each known word as its channel: its text side is right by construction."""

    vocabulary: list[str] = field(default_factory=lambda: [*WORDS])

    def tokenize(self, texts):
        ids = [[self.vocabulary.index(word) for word in words_of(text)] for text in texts]
        longest = max((len(some) for some in ids), default=0)
        valid = torch.tensor(
            [[place < len(some) for place in range(longest)] for some in ids], dtype=torch.bool
        )
        return torch.tensor([some + [0] * (longest - len(some)) for some in ids]), valid

    def encode_texts(self, token_ids):
        channels = torch.tensor([WORDS[word] for word in self.vocabulary])[token_ids]
        tokens = 3 * torch.nn.functional.one_hot(channels, CHANNELS).float()
        return Activations(tokens, tokens[:, -1])

    def decode(self, token_ids):
        return " ".join(self.vocabulary[token] for token in token_ids)

    def spelling(self, token_ids):
        return spell(token_ids.tolist(), self.decode, special={})


def axis_sae() -> LucidSAE:
    """Shared latent i reads channel i on both sides; the one private latent reads the last channel."""
    options = LucidOptions(latents=CHANNELS, shared_ratio=SHARED / CHANNELS, k_shared=2, k_private=1)
    sae = LucidSAE(options, CHANNELS, CHANNELS)
    with torch.no_grad():
        for side in ("vision", "text"):
            sae.dictionary(side).encoder.copy_(torch.eye(CHANNELS))
            sae.dictionary(side).decoder.copy_(torch.eye(CHANNELS))
    return sae.eval()


def sae_with_settings(confidence: float = 0.9) -> LucidSAE:
    """Shared latents 0 to 3 read nouns and colours; image-level ones, private latents of text, read the settings."""
    level = ImageLevelOptions(latents=2, k=1)
    options = LucidOptions(latents=CHANNELS, shared_ratio=0.5, k_shared=2, k_private=1, image_level=level)
    sae = LucidSAE(options, CHANNELS, CHANNELS)
    with torch.no_grad():
        for side in ("vision", "text"):
            sae.dictionary(side).encoder.copy_(torch.eye(CHANNELS))
            sae.dictionary(side).decoder.copy_(torch.eye(CHANNELS))
    sae.image_level = ImageLevelReadout(level, CHANNELS)
    sae.image_level.latents.copy_(torch.tensor([MEADOW, SEA]))
    sae.image_level.weight.copy_(torch.eye(CHANNELS)[[MEADOW, SEA]])
    sae.image_level.confidence.fill_(confidence)
    return sae.eval()


def axis_pooled_sae() -> VLSAE:
    """Latent i reads channel i of the pooled embeddings, on both sides."""
    options = VLSAEOptions(latents=CHANNELS, k=3, encoder="affine")
    sae = VLSAE(options, CHANNELS, CHANNELS)
    with torch.no_grad():
        sae.encoder("vision").weight.copy_(torch.eye(CHANNELS))
        sae.encoder("vision").bias.zero_()
    return sae.eval()


def write_cache(
    path: Path, split: str, shown: tuple[Picture, ...], name: str = "pictures", tokenizer: dict | None = None
) -> ActivationCache:
    model = WordModel()
    counts = [len(picture.captions) for picture in shown]
    manifest = Manifest(
        backbone={
            "model": "words",
            "layer": "last",
            "preprocessing": {"image_size": [64, 64], "resize_mode": "squash"},
            "tokenizer": tokenizer,
        },
        dataset={"name": name, "split": split, "root": "data/pictures", "fingerprint": "12" * 32},
        storage_dtype="float32",
        images=len(shown),
        captions=sum(counts),
        patches=GRID[0] * GRID[1],
        grid=GRID,
        vision_channels=CHANNELS,
        text_channels=CHANNELS,
        embedding=CHANNELS,
        context_length=16,
        shard_images=len(shown),
        shard_captions=captions_of_shards(counts, len(shown)),
    )
    lengths, ids, rows, pooled = [], [np.zeros(0, np.int64)], [], []
    for row, picture in enumerate(shown):
        for number, caption in enumerate(picture.captions):
            words = words_of(caption) if picture.skip_reason is None else []
            lengths.append(len(words))
            ids.append(np.array([model.vocabulary.index(word) for word in words], np.int64))
            pooled.append(np.zeros(CHANNELS, np.float32))
            pooled[-1][[WORDS[word] for word in words]] = 3
            rows.append(_sample(row, number, picture, caption, split))
    token_ids = np.concatenate(ids)
    activations = ShardActivations(
        vision_tokens=np.stack([picture.tokens for picture in shown]),
        vision_pooled=np.stack([picture.tokens.max(axis=0) for picture in shown]),
        text_tokens=model.encode_texts(torch.from_numpy(token_ids)[None]).tokens[0].numpy(),
        text_lengths=np.array(lengths, np.int64),
        token_ids=token_ids,
        text_pooled=np.stack(pooled),
    )
    writer = CacheWriter.open(path, manifest)
    writer.write_shard(0, activations, pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA))
    return writer.finish()


def write_pictures(root: Path, split: str, shown: tuple[Picture, ...]) -> None:
    (root / split).mkdir(parents=True)
    for row, picture in enumerate(shown):
        picture.draw().save(root / split / f"{row:03d}.png")


def _sample(row: int, number: int, picture: Picture, caption: str, split: str) -> dict:
    return {
        "image_row": row,
        "image_id": row,
        "caption_id": 10 * row + number,
        "file": f"{split}/{row:03d}.png",
        "caption": caption,
        "width": SIDE,
        "height": SIDE,
        "categories": [picture.noun],
        "objects": [],
        "image_concepts": picture.concepts,
        "caption_concepts": picture.concepts,
        "split": split,
        "skip_reason": picture.skip_reason,
    }
