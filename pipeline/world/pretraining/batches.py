"""The batch of a training step, a pure function of (pool, seed, step): training resumes anywhere."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.world.pretraining.architecture import CONTEXT_LENGTH
from pipeline.world.pretraining.facts import (
    BACKGROUND,
    MOST_THINGS,
    PhraseFacts,
    SceneFacts,
    phrase_facts,
    scene_facts,
)
from pipeline.world.pretraining.options import PretrainingOptions
from pipeline.world.pretraining.phrases import (
    BankPhrase,
    phrase_bank,
    place_phrases,
    relation_phrases,
    scene_texts,
)
from pipeline.world.pretraining.pool import ScenePool, mirrored_where
from pipeline.world.pretraining.tokenizer import END, END_ID
from pipeline.world.scenes.scene import Scene

RELATION_ALONE = 16
"""Things without a relation that the phrases about places speak of."""


class Batch(NamedTuple):
    """Pictures with their texts, as token ids padded to the longest of each kind."""

    pixels: Float[Tensor, "image 3 height width"]
    captions: Int64[Tensor, "image caption_token"]
    changed: Int64[Tensor, "image_change changed_token"]
    changed_exists: Bool[Tensor, "image change"]
    phrases: Int64[Tensor, "phrase phrase_token"]
    phrase_facts: PhraseFacts
    scene_facts: SceneFacts
    patch_images: Int64[Tensor, "patch"]
    patch_indices: Int64[Tensor, "patch"]
    patch_labels: Int64[Tensor, "patch"]


class BatchSampler:
    """Draws training batches from a pool, each epoch in a new order and with new captions.

    From `focus_step` on, captions are changed rather in the facts that are hard to see; from `relation_step` on,
    half of the scenes state a relation, and the phrases say where things are; from `place_step` on, three quarters
    do, and each half of the picture is a phrase of its own, true of every patch in it; from `mirror_step` on, half of
    the pictures are flipped left to right.
    """

    def __init__(self, pool: ScenePool, tokenizer: Tokenizer, options: PretrainingOptions) -> None:
        self.pool, self.tokenizer, self.options = pool, tokenizer, options
        self.related = torch.tensor([i for i, scene in enumerate(pool.scenes) if scene.relation is not None])
        tokenizer.enable_truncation(CONTEXT_LENGTH)
        tokenizer.enable_padding(pad_id=END_ID, pad_token=END)

    def batch(self, step: int) -> Batch:
        """Draw the batch of that step."""
        options, rng = self.options, random.Random(f"{self.options.seed}/{step}")
        scenes, pixels, patch_things = self._examples(step, rng)
        texts = [scene_texts(scene, rng, options.changes, step >= options.focus_step) for scene in scenes]
        changed = [[*text.changed, *[text.caption] * options.changes][: options.changes] for text in texts]
        exists = [[position < len(text.changed) for position in range(options.changes)] for text in texts]
        bank = self._bank(step, scenes, rng)
        images, indices, labels = self._patches(patch_things, rng)
        return Batch(
            pixels=pixels.float() / 127.5 - 1.0,
            captions=self._tokens([text.caption for text in texts]),
            changed=self._tokens([text for texts_of_image in changed for text in texts_of_image]),
            changed_exists=torch.tensor(exists),
            phrases=self._tokens([entry.text for entry in bank]),
            phrase_facts=phrase_facts([e.concepts for e in bank], [e.counted for e in bank]),
            scene_facts=scene_facts(scenes),
            patch_images=images,
            patch_indices=indices,
            patch_labels=labels,
        )

    def _examples(self, step: int, rng: random.Random) -> ScenePool:
        """Take the step's scenes; from `mirror_step` on, each as it is or flipped left to right."""
        rows = self._rows(step)
        examples = ScenePool(
            [self.pool.scenes[row] for row in rows.tolist()],
            self.pool.pixels[rows],
            self.pool.patch_things[rows],
        )
        if step < self.options.mirror_step:
            return examples
        flips = torch.tensor([rng.random() < 0.5 for _ in examples.scenes])
        return mirrored_where(flips, examples)

    def _rows(self, step: int) -> Int64[Tensor, "image"]:
        images, everything = self.options.images, torch.arange(len(self.pool.scenes))
        if step < self.options.relation_step:
            return self._slice(everything, step, images)
        others = max(1, images // (4 if step >= self.options.place_step else 2))
        return torch.cat(
            [self._slice(self.related, step, images - others), self._slice(everything, step, others)]
        )

    def _bank(self, step: int, scenes: Sequence[Scene], rng: random.Random) -> list[BankPhrase]:
        bank = phrase_bank(scenes, rng, self.options.bank_things)
        if step >= self.options.relation_step:
            bank += relation_phrases(scenes, rng, RELATION_ALONE)
        if step >= self.options.place_step:
            bank += place_phrases(rng)
        return bank

    def _slice(self, rows: Int64[Tensor, "row"], step: int, size: int) -> Int64[Tensor, "image"]:
        """Take the step's part of the rows in an order that changes with each epoch."""
        epoch, position = divmod(step, len(rows) // size)
        generator = torch.Generator().manual_seed(self.options.seed * 10_007 + epoch)
        order = torch.randperm(len(rows), generator=generator)
        return rows[order[position * size : (position + 1) * size]]

    def _tokens(self, texts: list[str]) -> Int64[Tensor, "text token"]:
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)])

    def _patches(
        self, labels: UInt8[Tensor, "image patch"], rng: random.Random
    ) -> tuple[Int64[Tensor, "chosen"], Int64[Tensor, "chosen"], Int64[Tensor, "chosen"]]:
        weights = even_weights(labels)
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        chosen = torch.multinomial(weights, self.options.patches, replacement=True, generator=generator)
        images = torch.arange(len(labels)).repeat_interleave(self.options.patches)
        return images, chosen.flatten(), labels.gather(1, chosen).flatten().long()


def even_weights(labels: UInt8[Tensor, "image patch"]) -> Float[Tensor, "image patch"]:
    """Weigh patches so that each thing of an image, and its background, have the same total; 0 if undecided."""
    weights = torch.zeros(labels.shape)
    for label in (*range(MOST_THINGS), BACKGROUND):
        here = labels == label
        weights += here / here.sum(dim=1, keepdim=True).clamp(min=1)
    return weights
