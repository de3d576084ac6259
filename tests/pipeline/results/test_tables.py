from pathlib import Path

from pipeline.results.paper import paper
from pipeline.results.run import Run
from pipeline.results.tables import SECTIONS, metric_tables


def run(name: str, metrics=None) -> Run:
    return Run(name, Path(name), metrics or {}, {})


def test_every_number_of_the_paper_has_a_row_in_the_tables():
    keys = {metric.key for section in SECTIONS for metric in section.metrics}
    numbers = paper().numbers
    assert {number.metric for number in numbers} <= keys
    assert len({(number.variant, number.metric) for number in numbers}) == len(numbers) == 34


def test_a_row_has_the_figure_of_every_variant_and_the_papers_beside_it():
    key_high, key_low = "reconstruction.vision.shared", "degeneracy.text_to_image"
    runs = [
        run("lucid", {key_high: 0.2, key_low: 0.3}),
        run("ot_only", {key_high: 0.1, key_low: 0.4}),
        run("separate"),
    ]
    rows = {row.metric.key: row for table in metric_tables(runs) for row in table.rows}
    assert [cell.value for cell in rows[key_low].cells] == [0.3, 0.4, None]
    assert [cell.paper for cell in rows[key_low].cells] == [0.3538, 0.7958, None]
