import random

from pipeline.world.pretraining.architecture import CONTEXT_LENGTH
from pipeline.world.pretraining.facts import phrase_facts, scene_facts, truth_of_images
from pipeline.world.pretraining.phrases import phrase_bank, scene_texts, vocabulary
from pipeline.world.pretraining.tokenizer import UNKNOWN, build_tokenizer
from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import COLOURS, NOUNS, SETTINGS

SCENES = [sample_scene(random.Random(seed), "seen") for seed in range(80)]


def test_every_text_of_the_training_is_spelled_without_unknown_words() -> None:
    rng = random.Random(1)
    tokenizer = build_tokenizer(vocabulary())
    texts = [entry.text for entry in phrase_bank(SCENES, rng, 60)]
    for scene in SCENES:
        caption, changed = scene_texts(scene, rng, 3, focus=True)
        texts += [caption, *changed]
    encodings = tokenizer.encode_batch(texts)
    assert not [e.tokens for e in encodings if UNKNOWN in e.tokens]
    assert max(len(e.ids) for e in encodings) <= CONTEXT_LENGTH


def test_changed_captions_differ_from_the_caption_and_from_one_another() -> None:
    rng = random.Random(2)
    for scene in SCENES:
        for focus in (False, True):
            caption, changed = scene_texts(scene, rng, 3, focus)
            assert len({caption, *changed}) == 1 + len(changed)


def test_focus_changes_the_relation_wherever_a_caption_states_one() -> None:
    rng = random.Random(3)
    words = {"left": "right", "right": "left", "above": "below", "over": "below"}
    related = [scene for scene in SCENES if scene.relation is not None]
    hits = {True: 0, False: 0}
    for focus in hits:
        for scene in related * 5:
            caption, changed = scene_texts(scene, rng, 2, focus)
            stated = words.keys() & set(caption.split())
            hits[focus] += any(not (stated & set(text.split())) for text in changed) if stated else 0
    assert hits[True] > 1.5 * hits[False] > 0


def test_no_text_denies_a_held_out_combination() -> None:
    rng = random.Random(4)
    for scene in SCENES * 3:
        texts = [*scene_texts(scene, rng, 3).changed, *(entry.text for entry in phrase_bank([scene], rng, 4))]
        assert not [text for text in texts if "purple boat" in text or "purple house" in text]


def test_the_bank_names_every_noun_colour_and_setting_and_what_is_there() -> None:
    bank = phrase_bank(SCENES[:16], random.Random(5), 10)
    stated = {concept for entry in bank for concept in entry.concepts}
    assert {f"noun:{noun}" for noun in NOUNS} <= stated
    assert {f"colour:{colour}" for colour in COLOURS} <= stated
    assert {f"setting:{setting}" for setting in SETTINGS} <= stated
    facts = phrase_facts([entry.concepts for entry in bank], [entry.counted for entry in bank])
    truth = truth_of_images(scene_facts(SCENES[:16]), facts)
    assert truth.true.any(dim=1).all()
    assert len({entry.text for entry in bank}) == len(bank)
