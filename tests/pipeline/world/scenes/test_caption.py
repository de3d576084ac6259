"""Captions are read back by a small parser of their own, which knows the words but not how they were put together."""

import random
import re
from collections.abc import Iterable

import pytest

from pipeline.world.scenes.caption import (
    LONGEST,
    WrittenCaption,
    caption_pair,
    captions,
    false_captions,
    phrase,
    setting_phrase,
)
from pipeline.world.scenes.lexicon import SYNONYMS, VOCABULARY, ZERO_SHOT_TEMPLATES, words
from pipeline.world.scenes.sampling import sample_scene
from pipeline.world.scenes.scene import (
    CONVERSE,
    KINDS,
    SETTINGS,
    Description,
    Kind,
    Scene,
    Thing,
    alternatives,
    concept,
)


def _alternation(kind: str) -> str:
    table = {word for fact, wordings in SYNONYMS.items() if fact.startswith(f"{kind}:") for word in wordings}
    return "|".join(sorted(table, key=len, reverse=True))


_NOUN_PHRASE = re.compile(
    r"(?:\b(?P<count>one|a single|two|a pair of|a couple of|three|many|lots of|a lot of|an?) )?"
    rf"(?:\b(?P<size>{_alternation('size')}) )?"
    rf"(?:\b(?P<colour>{_alternation('colour')}) )?"
    rf"(?:\b(?P<action>{_alternation('action')}) )?"
    rf"\b(?P<noun>{_alternation('noun')})\b"
    rf"(?: that (?:is|are))?(?: (?P<late_action>{_alternation('action')})\b)?"
    rf"(?: (?P<late_colour>{_alternation('colour')})\b)?"
)
_COUNTS = {"a": "one", "an": "one", "one": "one", "a single": "one", "two": "two", "a pair of": "two"}
_COUNTS |= {"a couple of": "two", "three": "three", "many": "many", "lots of": "many", "a lot of": "many"}

Reading = dict[str, str | None]


def _meaning(kind: str, word: str | None) -> str | None:
    values = [
        fact.split(":")[1]
        for fact, wordings in SYNONYMS.items()
        if fact.startswith(f"{kind}:") and word in wordings
    ]
    return values[0] if values else None


def _read_things(text: str) -> list[Reading]:
    return [
        {
            "noun": _meaning("noun", match["noun"]),
            "colour": _meaning("colour", match["colour"] or match["late_colour"]),
            "size": _meaning("size", match["size"]),
            "action": _meaning("action", match["action"] or match["late_action"]),
            "count": _COUNTS.get(match["count"] or ""),
        }
        for match in _NOUN_PHRASE.finditer(text)
    ]


def _read_one(text: str, kind: str) -> str | None:
    values = {
        fact.split(":")[1]
        for fact, wordings in SYNONYMS.items()
        if fact.startswith(f"{kind}:") and any(_occurs(wording, text) for wording in wordings)
    }
    assert len(values) <= 1, f"{text!r} is ambiguous"
    return values.pop() if values else None


def _read(text: str) -> list[tuple[str, str | None]]:
    """Every fact of the text by name, None where it says nothing."""
    facts = [("setting", _read_one(text, "setting")), ("relation", _read_one(text, "relation"))]
    for index, thing in enumerate(_read_things(text)):
        facts.extend((f"{kind}/{index}", value) for kind, value in thing.items())
    return facts


def _occurs(wording: str, text: str) -> bool:
    return f" {wording} " in f" {text.replace(',', '')} "


def _is_true(text: str, description: Description) -> bool:
    readings = _read_things(text)
    things = {thing.noun: thing for thing in description.things}
    for reading in readings:
        thing = things.get(reading["noun"] or "")
        if thing is None or any(v is not None and getattr(thing, k) != v for k, v in reading.items()):
            return False
    if _read_one(text, "setting") not in (None, description.setting):
        return False
    relation = _read_one(text, "relation")
    if relation is None:
        return True
    swapped = readings[0]["noun"] != description.things[0].noun
    return description.relation is not None and relation == (
        CONVERSE[description.relation] if swapped else description.relation
    )


def _of(kind: str, concepts: Iterable[str]) -> list[str]:
    return [fact for fact in concepts if fact.startswith(f"{kind}:")]


def _kind(name: str) -> str:
    return name.partition("/")[0]


def _falsified(true: str, false: str) -> list[str]:
    """The kinds of the facts in which two texts differ."""
    return [_kind(name) for (name, a), (_, b) in zip(_read(true), _read(false), strict=True) if a != b]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [
        sample_scene(random.Random(f"caption/{seed}"), "seen" if seed % 3 else "unseen")
        for seed in range(180)
    ]


@pytest.fixture(scope="module")
def written(scenes: list[Scene]) -> list[tuple[Scene, WrittenCaption]]:
    return [
        (scene, caption)
        for seed, scene in enumerate(scenes)
        for caption in captions(scene, random.Random(seed), 5)
    ]


def test_captions_are_true_of_their_scene(written: Iterable[tuple[Scene, WrittenCaption]]) -> None:
    for scene, caption in written:
        assert _is_true(caption.text, scene), caption.text
        assert set(caption.concepts) <= set(scene.concepts())


def test_a_concept_is_stated_exactly_where_one_of_its_synonyms_occurs(
    written: Iterable[tuple[Scene, WrittenCaption]],
) -> None:
    for _, caption in written:
        told = {
            fact for fact, wordings in SYNONYMS.items() if any(_occurs(w, caption.text) for w in wordings)
        }
        assert told == set(caption.concepts), caption.text


def test_captions_use_only_the_vocabulary_and_stay_short(
    written: Iterable[tuple[Scene, WrittenCaption]],
) -> None:
    for _, caption in written:
        assert caption.text == caption.text.lower() == " ".join(caption.text.split())
        assert set(words(caption.text)) <= set(VOCABULARY)
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*", caption.text), caption.text
        assert len(words(caption.text)) + caption.text.count(",") <= LONGEST


def test_articles_and_numbers_agree(written: Iterable[tuple[Scene, WrittenCaption]]) -> None:
    for _, caption in written:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.text), caption.text
        for match in _NOUN_PHRASE.finditer(caption.text):
            single = _COUNTS.get(match["count"] or "") == "one"
            if match["noun"] != "fish":
                assert single != match["noun"].endswith("s"), caption.text
            assert f"that {'are' if single else 'is'}" not in match[0]


def test_most_captions_state_everything_and_many_do_not(written: list[tuple[Scene, WrittenCaption]]) -> None:
    # The numeral "one" and the other direction of a relation are never needed to say everything.
    complete = sum(
        {c for c in scene.concepts() if c != "count:one" and not c.startswith("relation")}
        <= set(caption.concepts)
        for scene, caption in written
    )
    assert 0.5 < complete / len(written) < 0.75


def test_every_optional_kind_of_fact_is_left_unsaid_by_some_captions(
    written: list[tuple[Scene, WrittenCaption]],
) -> None:
    for kind in ("colour", "size", "setting", "action", "relation"):
        able = [caption for scene, caption in written if any(_of(kind, scene.concepts()))]
        silent = [caption for caption in able if not any(_of(kind, caption.concepts))]
        assert 0.05 < len(silent) / len(able) < 0.5, kind


def test_a_caption_that_would_be_too_long_says_less() -> None:
    nouns = ("bird", "cat", "dog", "rabbit")
    scene = Description("night", tuple(Thing(noun, "red", "medium", "two", "sitting") for noun in nouns))
    told = captions(scene, random.Random(0), 200)
    lengths = [len(words(caption.text)) + caption.text.count(",") for caption in told]
    assert max(lengths) == LONGEST
    assert all(_is_true(caption.text, scene) for caption in told)


def test_the_captions_of_a_scene_are_varied(scenes: list[Scene]) -> None:
    texts = [{caption.text for caption in captions(scene, random.Random(7), 5)} for scene in scenes]
    assert sum(map(len, texts)) > 4.95 * len(scenes)


def test_false_captions_differ_in_one_stated_fact_that_is_false_of_the_scene(
    written: list[tuple[Scene, WrittenCaption]],
) -> None:
    rng = random.Random(0)
    kinds = set()
    for scene, caption in written[::3]:
        false = false_captions(scene, caption, rng, 3)
        assert len({text for text, _ in false} | {caption.text}) == 4
        for text, kind in false:
            assert _falsified(caption.text, text) == [kind], (caption.text, text)
            assert not _is_true(text, scene), (caption.text, text)
            assert set(words(text)) <= set(VOCABULARY)
            kinds.add(kind)
    assert kinds == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_caption_pairs_are_told_apart_by_one_fact_of_the_kind(kind: Kind, scenes: list[Scene]) -> None:
    rng = random.Random(kind)
    pairs = 0
    for scene in scenes:
        pair = caption_pair(scene, kind, rng)
        if pair is None:
            assert not any(alternatives(scene, kind, index) for index in range(len(scene.things)))
            continue
        pairs += 1
        true, false = pair
        assert _is_true(true, scene) and not _is_true(false, scene), pair
        assert _falsified(true, false) == [kind], pair
    assert pairs > 15


def test_a_sailing_boat_can_still_be_told_from_other_nouns() -> None:
    boat = Description("sea", (Thing("boat", "red", "small", action="sailing"),))
    pair = caption_pair(boat, "noun", random.Random(0))
    assert pair is not None and "sailing" not in pair[0]


def test_phrases_are_true_of_their_thing(scenes: list[Scene]) -> None:
    rng = random.Random(1)
    for scene in scenes:
        for thing in scene.things:
            text, concepts = phrase(thing, rng)
            assert _is_true(re.sub(r"^an? ", "", text), Description("sea", (thing,))), text
            assert concept("noun", thing.noun) in concepts and set(concepts) <= set(thing.look())
            assert set(words(text)) <= set(VOCABULARY)


def test_phrases_for_scaled_crops_leave_the_size_unsaid() -> None:
    thing = Thing("boat", "red", "small")
    told = [phrase(thing, random.Random(seed), sized=False) for seed in range(100)]
    assert not any(fact.startswith("size") for _, concepts in told for fact in concepts)
    assert any("size:small" in phrase(thing, random.Random(seed)).concepts for seed in range(100))
    assert {"boat", "a red boat"} <= {text for text, _ in told}


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_phrases_name_that_setting_only(setting: str) -> None:
    told = {setting_phrase(setting, random.Random(seed)) for seed in range(60)}
    assert len(told) >= 4
    for text, concepts in told:
        assert concepts == (f"setting:{setting}",)
        assert _read_one(text, "setting") == setting


def test_the_vocabulary_is_small_sorted_and_covers_the_zero_shot_templates() -> None:
    assert list(VOCABULARY) == sorted(set(VOCABULARY))
    assert len(VOCABULARY) < 200
    asked = {word for template in ZERO_SHOT_TEMPLATES for word in words(template.replace("{}", "an"))}
    assert asked | {"a", "an", "is", "are"} <= set(VOCABULARY)


def test_every_concept_of_the_world_has_a_synonym(scenes: list[Scene]) -> None:
    assert {fact for scene in scenes for fact in scene.concepts()} == set(SYNONYMS)


def test_a_caption_that_states_nothing_falsifiable_has_no_false_neighbour() -> None:
    fish = Description("sea", (Thing("fish", "red", "small", "many", "jumping"),))
    rng = random.Random(0)
    bare = [caption for _ in range(1500) for caption in captions(fish, rng, 5) if len(caption.concepts) == 2]
    neighbours = [false_captions(fish, caption, rng, 3) for caption in bare]
    assert [] in neighbours
