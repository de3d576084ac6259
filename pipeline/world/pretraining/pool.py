"""A pool of rendered training scenes: pictures at the model's size, and which thing each patch shows.

Scenes are a pure function of (seed, number), so a chunk stores pictures and labels only; facts and captions are
drawn anew from the scene. Chunks are safetensors files written by several processes.
"""

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.progress import Advance
from pipeline.runs.files import replace_file
from pipeline.world.pretraining.architecture import GRID, IMAGE_SIZE
from pipeline.world.pretraining.facts import BACKGROUND, UNDECIDED
from pipeline.world.scenes.draw import render
from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import CONVERSE, Scene

RENDER_SIZE = 224
CHUNK_SCENES = 500
COVERED = 0.5
"""A patch shows a thing when the thing's visible pixels cover at least this share of it."""
UNTOUCHED = 0.02
"""A patch is background when objects cover at most this share of it."""


class ScenePool(NamedTuple):
    """Rendered scenes in memory."""

    scenes: list[Scene]
    pixels: UInt8[Tensor, "scene 3 height width"]
    patch_things: UInt8[Tensor, "scene patch"]


def training_scene(seed: int, number: int) -> Scene:
    """Draw the scene of that number in the pool of that seed; never a held-out combination."""
    return sample_scene(random.Random(f"{seed}/{number}"), "seen")


def mirrored(scene: Scene) -> Scene:
    """Flip a scene as its picture flipped left to right shows it."""
    places = tuple(
        tuple(replace(place, x=1.0 - place.right, flip=not place.flip) for place in places)
        for places in scene.places
    )
    across = scene.relation in ("left of", "right of")
    relation = CONVERSE[scene.relation] if scene.relation and across else scene.relation
    return replace(scene, places=places, relation=relation)


def mirrored_where(flips: Bool[Tensor, "scene"], pool: ScenePool) -> ScenePool:
    """Flip some of the pool's pictures left to right, and their scenes and patches accordingly."""
    scenes = [
        mirrored(scene) if flip else scene for flip, scene in zip(flips.tolist(), pool.scenes, strict=True)
    ]
    labels = pool.patch_things.view(-1, GRID, GRID)
    return ScenePool(
        scenes,
        torch.where(flips.view(-1, 1, 1, 1), pool.pixels.flip(-1), pool.pixels),
        torch.where(flips.view(-1, 1, 1), labels.flip(-1), labels).view(pool.patch_things.shape),
    )


def render_example(scene: Scene) -> tuple[UInt8[np.ndarray, "3 height width"], UInt8[np.ndarray, "patch"]]:
    """Render the picture as the backbone's preprocessing will see it, and the thing under each patch."""
    rendered = render(scene, RENDER_SIZE)
    picture = Image.fromarray(rendered.image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    things = [scene.things.index(thing) for thing, _ in scene.instances()]
    pixels = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
    return pixels, patch_labels(rendered.masks, things)


def patch_labels(
    masks: Bool[np.ndarray, "instance pixel pixel"], things: list[int]
) -> UInt8[np.ndarray, "patch"]:
    """Name the thing that covers at least half of each patch, or `BACKGROUND`, or `UNDECIDED`.

    `masks` are the visible pixels of each instance; `things` says which thing each instance belongs to.
    """
    cell = masks.shape[-1] // GRID
    coverage = np.zeros((max(things) + 1, GRID, GRID))
    for mask, thing in zip(masks, things, strict=True):
        coverage[thing] += mask.reshape(GRID, cell, GRID, cell).mean(axis=(1, 3))
    labels = np.where(coverage.max(axis=0) >= COVERED, coverage.argmax(axis=0), UNDECIDED)
    labels[coverage.sum(axis=0) <= UNTOUCHED] = BACKGROUND
    return labels.astype(np.uint8).reshape(-1)


def render_pool(
    folder: Path,
    seed: int,
    scenes: int,
    processes: int,
    progress: Advance = lambda done, total: None,
) -> None:
    """Render the first `scenes` scenes of the seed into chunks in `folder`; existing chunks are kept.

    `progress(done, total)` is called with numbers of chunks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chunks = -(-scenes // CHUNK_SCENES)
    missing = [chunk for chunk in range(chunks) if not _chunk_path(folder, chunk).is_file()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        jobs = [executor.submit(_render_chunk, folder, seed, chunk) for chunk in missing]
        for done, job in enumerate(jobs, start=chunks - len(missing) + 1):
            job.result()
            progress(done, chunks)


def load_pool(folder: Path, seed: int, scenes: int) -> ScenePool:
    """Read the first `scenes` scenes of the pool; their chunks must have been rendered."""
    pixels, labels = [], []
    for chunk in range(-(-scenes // CHUNK_SCENES)):
        with safe_open(_chunk_path(folder, chunk), framework="pt") as file:
            pixels.append(file.get_tensor("pixels"))
            labels.append(file.get_tensor("patch_things"))
    return ScenePool(
        [training_scene(seed, number) for number in range(scenes)],
        torch.cat(pixels)[:scenes],
        torch.cat(labels)[:scenes],
    )


def _chunk_path(folder: Path, chunk: int) -> Path:
    return folder / f"chunk-{chunk:05d}.safetensors"


def _render_chunk(folder: Path, seed: int, chunk: int) -> None:
    numbers = range(chunk * CHUNK_SCENES, (chunk + 1) * CHUNK_SCENES)
    pixels, labels = zip(*(render_example(training_scene(seed, number)) for number in numbers), strict=True)
    tensors = {
        "pixels": torch.from_numpy(np.stack(pixels)),
        "patch_things": torch.from_numpy(np.stack(labels)),
    }
    replace_file(_chunk_path(folder, chunk), save(tensors))
