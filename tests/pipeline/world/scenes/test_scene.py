import random
from collections import Counter

import pytest

from pipeline.world.scenes.art import NOUN_ART, SETTING_ART
from pipeline.world.scenes.layout import MARGIN, SCALES, arrange, related
from pipeline.world.scenes.palette import PALETTES
from pipeline.world.scenes.sampling import SINGLE_OBJECT, sample_scene
from pipeline.world.scenes.scene import (
    ACTIONS,
    COLOURS,
    COUNTS,
    HELD_OUT,
    KINDS,
    NOUNS,
    RELATIONS,
    SETTINGS,
    SIZES,
    Description,
    Place,
    Scene,
    Thing,
    alternatives,
    changed,
    held_out,
)


@pytest.fixture(scope="module")
def seen() -> list[Scene]:
    return [sample_scene(random.Random(f"seen/{seed}"), "seen") for seed in range(800)]


@pytest.fixture(scope="module")
def unseen() -> list[Scene]:
    return [sample_scene(random.Random(f"unseen/{seed}"), "unseen") for seed in range(300)]


def test_every_word_of_the_world_has_its_drawing() -> None:
    assert len(set(NOUNS)) == 26 and set(NOUNS) == set(NOUN_ART)
    assert len(set(COLOURS)) == 10 and set(COLOURS) == set(PALETTES)
    assert set(SETTINGS) == set(SETTING_ART)
    assert set(ACTIONS) <= set(NOUNS)


def test_an_eighth_of_the_combinations_is_held_out_and_every_noun_and_colour_remains_common() -> None:
    pairs = {(noun, colour) for noun in NOUNS for colour in COLOURS if held_out(noun, colour)}
    assert ("boat", "purple") in pairs
    assert 0.10 <= len(pairs) / (len(NOUNS) * len(COLOURS)) <= 0.14
    assert all(1 <= len(HELD_OUT[noun]) <= 2 for noun in NOUNS)
    assert all(1 <= sum(colour in colours for colours in HELD_OUT.values()) <= 5 for colour in COLOURS)


def test_seen_scenes_contain_no_held_out_combination(seen: list[Scene]) -> None:
    assert not any(held_out(thing.noun, thing.colour) for scene in seen for thing in scene.things)


def test_unseen_scenes_contain_a_held_out_combination(unseen: list[Scene]) -> None:
    assert all(any(held_out(thing.noun, thing.colour) for thing in scene.things) for scene in unseen)


def test_together_the_scenes_show_every_fact(seen: list[Scene], unseen: list[Scene]) -> None:
    facts = Counter(fact for scene in seen for fact in scene.concepts())
    for kind, values in {
        "noun": NOUNS,
        "colour": COLOURS,
        "size": SIZES,
        "setting": SETTINGS,
        "count": COUNTS,
        "relation": RELATIONS,
        "action": {action for actions in ACTIONS.values() for action in actions},
    }.items():
        assert {fact for fact in facts if fact.startswith(kind)} == {f"{kind}:{value}" for value in values}
    assert min(facts.values()) >= 15
    shown = {(thing.noun, thing.colour) for scene in unseen for thing in scene.things}
    assert {pair for pair in shown if held_out(*pair)} == {(n, c) for n in NOUNS for c in HELD_OUT[n]}


def test_about_a_third_of_the_scenes_show_a_single_object(seen: list[Scene]) -> None:
    singles = sum(len(scene.instances()) == 1 for scene in seen)
    assert abs(singles / len(seen) - SINGLE_OBJECT) < 0.06


def test_placements_agree_with_the_stated_counts_and_sizes(seen: list[Scene]) -> None:
    for scene in seen:
        assert 1 <= len(scene.things) <= 4
        assert len({thing.noun for thing in scene.things}) == len(scene.things)
        for thing, places in zip(scene.things, scene.places, strict=True):
            assert len(places) in COUNTS[thing.count]
            low, high = SCALES[thing.size]
            for place in places:
                assert low - 1e-9 <= (place.width * place.height) ** 0.5 <= high + 1e-9
                assert place.width / place.height == pytest.approx(NOUN_ART[thing.noun].aspect)


def test_size_ranges_leave_a_gap_between_one_another() -> None:
    assert SCALES["small"][1] * 1.25 < SCALES["medium"][0]
    assert SCALES["medium"][1] * 1.25 < SCALES["large"][0]


def test_objects_lie_within_the_picture(seen: list[Scene]) -> None:
    for scene in seen:
        for _, place in scene.instances():
            assert min(place.x, place.y) >= MARGIN - 1e-9
            assert max(place.right, place.bottom) <= 1 - MARGIN + 1e-9


def test_a_relation_is_stated_exactly_for_two_single_objects_and_holds_in_their_placements(
    seen: list[Scene],
) -> None:
    for scene in seen:
        assert (scene.relation is not None) == ([thing.count for thing in scene.things] == ["one", "one"])
        if scene.relation is None:
            continue
        (first,), (second,) = scene.places
        assert [relation for relation in RELATIONS if related(first, second, relation)] == [scene.relation]
        across, down = first.x + first.width / 2, first.y + first.height / 2
        dx, dy = across - second.x - second.width / 2, down - second.y - second.height / 2
        observed = ("left of" if dx < 0 else "right of") if scene.relation.endswith("of") else None
        assert scene.relation == (observed or ("above" if dy < 0 else "below"))


def test_objects_side_by_side_in_different_rows_have_no_relation() -> None:
    high, low = Place(0.1, 0.1, 0.2, 0.2, False), Place(0.6, 0.6, 0.2, 0.2, False)
    assert not any(related(high, low, relation) for relation in RELATIONS)


def test_concepts_name_every_fact_once() -> None:
    things = (Thing("boat", "red", "small", action="sailing"), Thing("sun", "red", "large"))
    assert Description("sea", things, "left of").concepts() == (
        *("setting:sea", "noun:boat", "colour:red", "size:small", "action:sailing", "count:one"),
        *("noun:sun", "size:large", "relation:left of", "relation:right of"),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_description_differs_in_one_fact_of_that_kind(kind: str, seen: list[Scene]) -> None:
    rng = random.Random(kind)
    changes = 0
    for scene in seen[:250]:
        other = changed(scene, kind, rng)
        if other is None:
            assert not any(alternatives(scene, kind, index) for index in range(len(scene.things)))
            continue
        changes += 1
        assert [fact for fact in _facts(other) if fact not in _facts(scene)] != []
        different = [
            name for (name, old), (_, new) in zip(_facts(scene), _facts(other), strict=True) if old != new
        ]
        assert [name.split("/")[0] for name in different] == [kind]
    assert changes > 20


def test_a_changed_description_can_be_laid_out_as_a_picture_of_its_own(seen: list[Scene]) -> None:
    rng = random.Random(0)
    for scene in seen[:50]:
        other = changed(scene, "colour", rng)
        assert other is not None
        arranged = arrange(other, rng)
        assert arranged is None or arranged.things == other.things


def test_the_same_seed_gives_the_same_scene() -> None:
    for seed in range(20):
        assert sample_scene(random.Random(seed), "seen") == sample_scene(random.Random(seed), "seen")


def test_a_noun_is_only_replaced_by_one_that_is_absent_and_can_do_the_same() -> None:
    scene = Description(
        "snow", (Thing("bird", "red", "small", action="flying"), Thing("kite", "blue", "small"))
    )
    assert set(alternatives(scene, "noun", 0)) == {"butterfly", "balloon"}
    assert set(alternatives(scene, "noun", 1)) == set(NOUNS) - {"bird", "kite"}


def _facts(description: Description) -> list[tuple[str, str | None]]:
    facts: list[tuple[str, str | None]] = [
        ("setting", description.setting),
        ("relation", description.relation),
    ]
    for index, thing in enumerate(description.things):
        facts.extend((f"{kind}/{index}", getattr(thing, kind)) for kind in KINDS if hasattr(thing, kind))
    return facts
