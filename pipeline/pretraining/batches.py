"""The batch of a training step, a pure function of (pool, seed, step): training resumes anywhere."""

import random
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.pretraining.architecture import CONTEXT_LENGTH
from pipeline.pretraining.facts import (
    BACKGROUND,
    MOST_THINGS,
    PhraseFacts,
    SceneFacts,
    phrase_facts,
    scene_facts,
)
from pipeline.pretraining.phrases import phrase_bank, relation_phrases, scene_texts
from pipeline.pretraining.pool import ScenePool
from pipeline.pretraining.tokenizer import END, END_ID

RELATION_ALONE = 16
"""Things without a relation that the phrases about places speak of."""


class Batch(NamedTuple):
    """Pictures with their texts, as token ids padded to the longest of each kind."""

    pixels: Float[Tensor, "image 3 height width"]
    captions: Int64[Tensor, "image token"]
    changed: Int64[Tensor, "image_change token"]
    changed_exists: Bool[Tensor, "image change"]
    phrases: Int64[Tensor, "phrase token"]
    phrase_facts: PhraseFacts
    scene_facts: SceneFacts
    patch_images: Int64[Tensor, "patch"]
    patch_indices: Int64[Tensor, "patch"]
    patch_labels: Int64[Tensor, "patch"]


class BatchSampler:
    """Draws training batches from a pool, each epoch in a new order and with new captions.

    `changes`: changed captions per image. `bank_things`: things that the phrase bank names, each with a near
    miss. `patches`: patches scored per image, spread evenly over its things and the background. From
    `focus_step` on, captions are changed rather in the facts that are hard to see; from `relation_step` on, half
    of the scenes state a relation, and the phrases say where things are.
    """

    def __init__(
        self,
        pool: ScenePool,
        tokenizer: Tokenizer,
        seed: int,
        images: int,
        changes: int = 2,
        bank_things: int = 40,
        patches: int = 16,
        focus_step: int | None = None,
        relation_step: int | None = None,
    ) -> None:
        self.pool, self.tokenizer, self.seed, self.images = pool, tokenizer, seed, images
        self.changes, self.bank_things, self.patches = changes, bank_things, patches
        self.focus_step, self.relation_step = focus_step, relation_step
        self.related = torch.tensor([i for i, scene in enumerate(pool.scenes) if scene.relation is not None])
        tokenizer.enable_truncation(CONTEXT_LENGTH)
        tokenizer.enable_padding(pad_id=END_ID, pad_token=END)

    def batch(self, step: int) -> Batch:
        """The batch of that step."""
        rng = random.Random(f"{self.seed}/{step}")
        rows = self._rows(step)
        scenes = [self.pool.scenes[row] for row in rows.tolist()]
        focus = self.focus_step is not None and step >= self.focus_step
        texts = [scene_texts(scene, rng, self.changes, focus) for scene in scenes]
        bank = phrase_bank(scenes, rng, self.bank_things)
        if self._relations(step):
            bank += relation_phrases(scenes, rng, RELATION_ALONE)
        changed = [[*text.changed, *[text.caption] * self.changes][: self.changes] for text in texts]
        exists = [[position < len(text.changed) for position in range(self.changes)] for text in texts]
        images, indices, labels = self._patches(rows, rng)
        return Batch(
            pixels=self.pool.pixels[rows].float() / 127.5 - 1.0,
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

    def _relations(self, step: int) -> bool:
        return self.relation_step is not None and step >= self.relation_step

    def _rows(self, step: int) -> Int64[Tensor, "image"]:
        everything = torch.arange(len(self.pool.scenes))
        if not self._relations(step):
            return self._slice(everything, step, self.images)
        half = self.images // 2
        return torch.cat(
            [self._slice(self.related, step, half), self._slice(everything, step, self.images - half)]
        )

    def _slice(self, rows: Int64[Tensor, "row"], step: int, size: int) -> Int64[Tensor, "image"]:
        """The step's part of the rows in an order that changes with each epoch."""
        epoch, position = divmod(step, len(rows) // size)
        generator = torch.Generator().manual_seed(self.seed * 10_007 + epoch)
        order = torch.randperm(len(rows), generator=generator)
        return rows[order[position * size : (position + 1) * size]]

    def _tokens(self, texts: list[str]) -> Int64[Tensor, "text token"]:
        return torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)])

    def _patches(
        self, rows: Int64[Tensor, "image"], rng: random.Random
    ) -> tuple[Int64[Tensor, "patch"], Int64[Tensor, "patch"], Int64[Tensor, "patch"]]:
        labels = self.pool.patch_things[rows]
        weights = even_weights(labels)
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        chosen = torch.multinomial(weights, self.patches, replacement=True, generator=generator)
        images = torch.arange(len(rows)).repeat_interleave(self.patches)
        return images, chosen.flatten(), labels.gather(1, chosen).flatten().long()


def even_weights(labels: UInt8[Tensor, "image patch"]) -> Float[Tensor, "image patch"]:
    """Sampling weights that give each thing of an image, and its background, the same total; 0 if undecided."""
    weights = torch.zeros(labels.shape)
    for label in (*range(MOST_THINGS), BACKGROUND):
        here = labels == label
        weights += here / here.sum(dim=1, keepdim=True).clamp(min=1)
    return weights
