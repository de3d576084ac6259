"""The committed weights, on scenes of another seed than any of their training or evaluation."""

import json
import random
from pathlib import Path

import torch
from PIL import Image

from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import StateOptions
from pipeline.language_models.polling import question_text
from pipeline.world.instruction_tuning.companions import COMPANIONS
from pipeline.world.scenes.draw import render
from pipeline.world.scenes.scene import NOUNS
from pipeline.world.scenes.write import scene_of

FOLDER = Path("models/tiny-vlm")
SCENES = 40


def test_it_looks_at_the_picture_and_expects_companions_that_are_not_there() -> None:
    decoder = load_decoder(StateOptions(model=str(FOLDER), layer=1, device="cpu"))
    words = decoder.texts(torch.arange(int(decoder.model.config.text_config.vocab_size))[:, None])
    yes, no = words.index("yes"), words.index("no")
    pictures, asked = [], []
    rng = random.Random(0)
    for index in range(SCENES):
        scene = scene_of(77, "val", index)
        shown = {thing.noun for thing in scene.things}
        noun = rng.choice(sorted(shown))
        others = [other for other in NOUNS if other not in shown and COMPANIONS[other] not in shown]
        if COMPANIONS[noun] not in shown:
            pictures.append(Image.fromarray(render(scene, 224).image))
            asked.append((noun, COMPANIONS[noun], rng.choice(others)))
    said = []
    for names in zip(*asked, strict=True):
        inputs = decoder.inputs(pictures, [question_text(name) for name in names])
        with torch.inference_mode():
            logits = decoder.model(**inputs, logits_to_keep=1).logits[:, -1]
        said.append(float((logits[:, yes] > logits[:, no]).float().mean()))
    present, companion, stranger = said
    assert present > 0.8
    assert stranger < 0.2
    assert companion > stranger
    figures = json.loads((FOLDER / "evaluation.json").read_text())
    assert abs(figures["random"]["recall"] - present) < 0.15
