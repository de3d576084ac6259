from pipeline.interpretation.captions import keywords, lit_captions


def written(*words: str) -> list[dict]:
    return [
        {"text": word, "spaced": bool(place), "special": False, "tokens": 1}
        for place, word in enumerate(words)
    ]


def test_words_are_lit_in_proportion_to_the_strongest_caption():
    records = [
        {"words": written("red", "boat"), "activations": [0.0, 4.0], "position": 1, "activation": 4.0},
        {"words": written("boat", "boats"), "activations": [1.0, 3.0], "position": 1, "activation": 3.0},
    ]
    first, second = lit_captions(records)
    assert [piece.strength for piece in first.pieces] == [0.0, 1.0]
    assert [piece.strength for piece in second.pieces] == [0.25, 0.75]
    assert [piece.peak for piece in second.pieces] == [False, True]
    assert lit_captions([]) == ()


def test_a_caption_is_split_at_its_peak_as_a_line_of_a_concordance():
    (line,) = lit_captions(
        [
            {
                "words": written("a", "Red", "boat"),
                "activations": [1.0, 2.0, 0.0],
                "position": 1,
                "activation": 2.0,
            }
        ]
    )
    assert [piece.text for piece in line.before] == ["a"]
    assert [piece.text for piece in line.after] == ["Red", "boat"]
    assert line.keyword == "red"


def test_words_that_fire_a_latent_are_counted_without_punctuation():
    records = [
        {"words": written(word), "activations": [1.0], "position": 0, "activation": 1.0}
        for word in ("boat", ",", "ship", "Boat")
    ]
    assert keywords(lit_captions(records)) == (("boat", 2), ("ship", 1))
