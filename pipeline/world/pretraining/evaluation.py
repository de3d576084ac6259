"""The figures a backbone is held to: what its images, its captions and its single patches know.

Everything is measured on scenes rendered for the purpose, through `Backbone`, the way any user of the model
would. Retrieval alone proves little (captions can be told apart without their nouns), hence zero-shot naming,
captions with one fact changed, a linear probe of frozen patch tokens, and pointing.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from pipeline.backbone.model import Activations, Backbone
from pipeline.world.pretraining.facts import MOST_THINGS
from pipeline.world.pretraining.phrases import SOMETHING, with_article
from pipeline.world.pretraining.pool import RENDER_SIZE, patch_labels
from pipeline.world.scenes import lexicon
from pipeline.world.scenes.caption import caption_pair, captions
from pipeline.world.scenes.draw import RenderedScene, render
from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import COLOURS, KINDS, NOUNS, SETTINGS, Scene

BATCH_IMAGES = 64
RIDGE = 1e-2
"""Ridge penalty of the linear probe, relative to the mean variance of a channel."""


class HeldOutScenes(NamedTuple):
    """Scenes that training never saw, with what a backbone makes of them."""

    scenes: list[Scene]
    rendered: list[RenderedScene]
    activations: Activations
    patch_things: Int64[Tensor, "scene patch"]


def held_out_scenes(backbone: Backbone, seed: int, count: int, single: bool = False) -> HeldOutScenes:
    """Draw `count` scenes of seen combinations with distinct facts, encoded; `single`: of one object each."""
    rng = random.Random(f"evaluation/{seed}")
    chosen: dict[tuple[str, ...], Scene] = {}
    while len(chosen) < count:
        scene = sample_scene(rng, "seen")
        if not single or _is_single(scene):
            chosen.setdefault(scene.concepts(), scene)
    scenes = list(chosen.values())
    rendered = [render(scene, RENDER_SIZE) for scene in scenes]
    labels = [patch_labels(r.masks, _things(scene)) for r, scene in zip(rendered, scenes, strict=True)]
    pictures = [backbone.preprocess(Image.fromarray(entry.image)) for entry in rendered]
    batches = [
        backbone.encode_images(torch.stack(pictures[start : start + BATCH_IMAGES]))
        for start in range(0, count, BATCH_IMAGES)
    ]
    activations = Activations(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    return HeldOutScenes(scenes, rendered, activations, torch.tensor([label.tolist() for label in labels]))


def evaluate(backbone: Backbone, seed: int, scenes: int = 500, single: int = 260) -> dict[str, object]:
    """Measure every figure of the model card, on `scenes` mixed scenes and `single` scenes of one object.

    Keys: "retrieval" {image_to_text, text_to_image: R@1}, "zero_shot" {noun, colour, setting: accuracy},
    "changed_fact" {kind: share of caption pairs told apart}, "probe" (accuracy on object patches), "point_at_1".
    """
    mixed = held_out_scenes(backbone, seed, scenes)
    alone = held_out_scenes(backbone, seed + 1, single, single=True)
    return {
        "retrieval": retrieval(backbone, mixed, seed),
        "zero_shot": {
            "noun": zero_shot(
                backbone,
                alone.activations.pooled,
                [_templated([with_article(noun)]) for noun in NOUNS],
                [NOUNS.index(scene.things[0].noun) for scene in alone.scenes],
            ),
            "colour": zero_shot(
                backbone,
                alone.activations.pooled,
                [_templated([f"{SOMETHING} {colour}"]) for colour in COLOURS],
                [COLOURS.index(scene.things[0].colour) for scene in alone.scenes],
            ),
            "setting": zero_shot(
                backbone,
                mixed.activations.pooled,
                [_templated(lexicon.SCENERIES[setting]) for setting in SETTINGS],
                [SETTINGS.index(scene.setting) for scene in mixed.scenes],
            ),
        },
        "changed_fact": changed_facts(backbone, mixed, seed),
        "probe": linear_probe(mixed),
        "point_at_1": pointing(backbone, mixed),
    }


def retrieval(backbone: Backbone, held_out: HeldOutScenes, seed: int) -> dict[str, float]:
    """Compute R@1 among all the scenes in both directions, each with the fullest of eight captions."""
    rng = random.Random(seed)
    texts = []
    for scene in held_out.scenes:
        written = captions(scene, rng, 8)
        texts.append(max(written, key=lambda caption: len(caption.concepts)).text)
    similarity = normalize(held_out.activations.pooled, dim=-1) @ embed_texts(backbone, texts).T
    own = torch.arange(len(texts))
    return {
        "image_to_text": _share(similarity.argmax(dim=1) == own),
        "text_to_image": _share(similarity.argmax(dim=0) == own),
    }


def zero_shot(
    backbone: Backbone,
    images: Float[Tensor, "image embedding"],
    prompts: Sequence[Sequence[str]],
    answers: Sequence[int],
) -> float:
    """Compute the share of images nearest to the right class, the mean embedding of its prompts (CLIP, 3.1.4)."""
    classes = torch.stack([embed_texts(backbone, list(texts)).mean(dim=0) for texts in prompts])
    classes = normalize(classes, dim=-1)
    return _share((images @ classes.T).argmax(dim=1) == torch.tensor(answers))


def changed_facts(backbone: Backbone, held_out: HeldOutScenes, seed: int) -> dict[str, float]:
    """Compute for each kind of fact how often an image prefers its caption to the same with that fact changed."""
    figures: dict[str, float] = {}
    for kind in KINDS:
        rng = random.Random(f"{seed}/{kind}")
        pairs = [caption_pair(scene, kind, rng) for scene in held_out.scenes]
        images = held_out.activations.pooled[[row for row, pair in enumerate(pairs) if pair is not None]]
        told = [pair for pair in pairs if pair is not None]
        true, false = (embed_texts(backbone, [pair[side] for pair in told]) for side in (0, 1))
        figures[kind] = _share((images * (true - false)).sum(dim=-1) > 0)
    return figures


def linear_probe(held_out: HeldOutScenes) -> float:
    """Compute the accuracy of ridge regression from a frozen patch token to the noun of the object under the patch.

    Fitted on the object patches of the first half of the scenes, measured on those of the second.
    """
    images, patches = (held_out.patch_things < MOST_THINGS).nonzero(as_tuple=True)
    things = held_out.patch_things[images, patches]
    nouns = torch.tensor(
        [
            NOUNS.index(held_out.scenes[image].things[thing].noun)
            for image, thing in zip(images.tolist(), things.tolist(), strict=True)
        ]
    )
    tokens = held_out.activations.tokens[images, patches].double()
    first = images < len(held_out.scenes) // 2
    mean = tokens[first].mean(dim=0)
    train, test = tokens[first] - mean, tokens[~first] - mean
    targets = one_hot(nouns[first], len(NOUNS)).double()
    covariance = train.T @ train
    covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
    weights = torch.linalg.solve(covariance, train.T @ (targets - targets.mean(dim=0)))
    return _share((test @ weights + targets.mean(dim=0)).argmax(dim=1) == nouns[~first])


def pointing(backbone: Backbone, held_out: HeldOutScenes) -> float:
    """Compute the share of named things whose most similar patch has its centre in a box of such a thing.

    The text is "a photo of a NOUN", every thing of every scene is asked for.
    """
    names = embed_texts(backbone, [f"a photo of {with_article(noun)}" for noun in NOUNS])
    similarity = backbone.patch_embeddings(held_out.activations.tokens) @ names.T
    rows, columns = backbone.grid
    hits = []
    for image, (scene, rendered) in enumerate(zip(held_out.scenes, held_out.rendered, strict=True)):
        for index, thing in enumerate(scene.things):
            row, column = divmod(int(similarity[image, :, NOUNS.index(thing.noun)].argmax()), columns)
            x, y = (column + 0.5) * RENDER_SIZE / columns, (row + 0.5) * RENDER_SIZE / rows
            boxes = [box for box, of in zip(rendered.boxes, _things(scene), strict=True) if of == index]
            hits.append(any(_inside(x, y, box) for box in boxes))
    return _share(torch.tensor(hits))


def embed_texts(backbone: Backbone, texts: list[str]) -> Float[Tensor, "text embedding"]:
    """Embed any number of texts at unit length."""
    return normalize(backbone.encode_texts(backbone.tokenize(texts)[0]).pooled, dim=-1)


def _is_single(scene: Scene) -> bool:
    return len(scene.things) == 1 and scene.things[0].count == "one"


def _things(scene: Scene) -> list[int]:
    return [scene.things.index(thing) for thing, _ in scene.instances()]


def _templated(texts: Sequence[str]) -> list[str]:
    return [template.format(text) for text in texts for template in lexicon.ZERO_SHOT_TEMPLATES]


def _inside(x: float, y: float, box: Sequence[float]) -> bool:
    left, top, width, height = box
    return left <= x <= left + width and top <= y <= top + height


def _share(hits: Bool[Tensor, "item"]) -> float:
    return round(float(hits.double().mean()), 4)
