"""Markdown tables of POPE's scores, by hand."""

from pipeline.language_models.hallucination import STRATEGIES
from pipeline.language_models.table import hallucination_tables


def poll(accuracy: float) -> dict[str, dict[str, float]]:
    scores = {"accuracy": accuracy, "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "yes_ratio": 1.0}
    return dict.fromkeys(STRATEGIES, scores)


def table(metrics: dict) -> str:
    """The tables with single spaces."""
    lines = hallucination_tables(metrics).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines)


def test_a_kind_is_a_table_over_its_draws_with_a_row_per_way_of_decoding() -> None:
    text = table(
        {"random/0": poll(0.5), "random/1": poll(0.7), "popular/0": poll(0.25), "popular/1": poll(0.25)}
    )
    random, popular = text.split("### ")[1:]
    rows = [line for line in random.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(STRATEGIES)
    assert rows[0] == "| `greedy` | 60.0 ± 14.1 | 50.0 ± 0.0 | 100.0 ± 0.0 | 66.7 ± 0.0 | 100.0 ± 0.0 |"
    assert random.startswith(
        "Random negatives\n\n| decoding | accuracy | precision | recall | f1 | yes ratio |"
    )
    assert "| `sampled_edit` | 25.0 ± 0.0 |" in popular
    assert "over 2 draws of questions" in text


def test_a_single_draw_has_no_spread() -> None:
    assert "| `greedy` | 50.0 | 50.0 | 100.0 |" in table({"mine": poll(0.5)})
