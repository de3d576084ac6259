"""Markdown tables from results, by hand."""

from pipeline.classification.table import classification_tables, percent


def rule(*by_training: list[float]) -> dict:
    """A rule whose intervals are 1 and 2 percent wide, half of each, whatever its values."""
    mean = sum(map(sum, by_training)) / sum(map(len, by_training))
    interval = {"mean": mean, "over_pictures": 0.01, "over_trainings": 0.02}
    return {
        "accuracy": interval,
        "difference": interval | {"mean": mean - 0.5},
        "by_split": list(by_training),
    }


def result(fixed: float, *concepts: list[float]) -> dict:
    rules = {"alpha_0": rule([0.5]), "alpha_fixed": rule([fixed]), "alpha_tuned": rule([0.4999999])}
    kinds = {"trained": concepts, "untrained": ([0.1, 0.1], [0.1, 0.1])}
    counts = {"classes": 26, "splits": 2, "test_pictures": 104}
    measured = {kind: rules | {"concepts_only": rule(*values)} for kind, values in kinds.items()}
    return {"runs": ["a", "b"], "tasks": {"easy": counts | measured}}


def test_a_variant_stands_beside_its_control_with_both_intervals_and_what_it_has_learned() -> None:
    text = classification_tables(
        {"good": result(0.6, [0.3, 0.4], [0.5, 0.6]), "bad": result(0.4, [0, 0], [0, 0])}
    )
    # Above the control by 0.2, 0.3 and 0.4, 0.5: averages 0.3, 0.4 over trainings and 0.25, 0.45 over pictures.
    assert [" ".join(line.split()) for line in text.splitlines()[-4:]] == [
        "| `good` | +10.0 ± 1.0 ± 2.0 | +0.0 ± 1.0 ± 2.0 | 45.0 ± 1.0 ± 2.0 | +35.0 ± 63.5 ± 127.1 |",
        "| `good`, untrained | +10.0 ± 1.0 ± 2.0 | +0.0 ± 1.0 ± 2.0 | 10.0 ± 1.0 ± 2.0 | |",
        "| `bad` | -10.0 ± 1.0 ± 2.0 | +0.0 ± 1.0 ± 2.0 | 0.0 ± 1.0 ± 2.0 | -10.0 ± 0.0 ± 0.0 |",
        "| `bad`, untrained | -10.0 ± 1.0 ± 2.0 | +0.0 ± 1.0 ± 2.0 | 10.0 ± 1.0 ± 2.0 | |",
    ]
    assert "2 draws of 104 pictures\n± that over 2 dictionaries" in text
    assert "### `easy`: 26 classes, 50.0 ± 1.0 with the backbone alone" in text


def test_an_unknown_width_is_left_out() -> None:
    accuracy = rule([0.5])["accuracy"]
    assert percent(accuracy | {"over_trainings": None}, ".2f") == "50.00 ± 1.00"
    assert percent(accuracy | {"over_pictures": None, "over_trainings": None}, "+.1f") == "+50.0"


def test_one_draw_of_pictures_has_the_difference_to_untrained_dictionaries_without_its_spread() -> None:
    one = result(0.6, [0.3, 0.4])
    task = one["tasks"]["easy"]
    task["splits"] = 1
    for kind in ("trained", "untrained"):
        for of_rule in task[kind].values():
            of_rule.pop("by_split", None)
    lines = [" ".join(line.split()) for line in classification_tables({"lucid": one}).splitlines()]
    assert lines[-2].endswith("| 35.0 ± 1.0 ± 2.0 | +25.0 |")
    assert any(line.endswith("95 % interval over 104 pictures") for line in lines)
