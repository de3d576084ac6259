from pathlib import Path

from pipeline.results.catalogue import SECTIONS
from pipeline.results.run import Run
from pipeline.results.tables import metric_tables, tables_text


def run(name: str, metrics=None) -> Run:
    return Run(name, Path(name), metrics or {}, {})


def test_the_papers_34_numbers_have_a_row_each_and_every_figure_is_described_once():
    figures = [figure for section in SECTIONS for figure in section.figures]
    assert sum(len(figure.paper) for figure in figures if figure.label) == 34
    assert len({figure.key for figure in figures}) == len(figures)


def test_a_row_has_the_figure_of_every_variant_and_the_papers_beside_it():
    key_high, key_low = "reconstruction.vision.shared", "degeneracy.text_to_image"
    runs = [
        run("lucid", {key_high: 0.2, key_low: 0.3}),
        run("ot_only", {key_high: 0.1, key_low: 0.4}),
        run("separate"),
    ]
    rows = {row.figure.key: row for table in metric_tables(runs) for row in table.rows}
    assert [cell.value for cell in rows[key_low].cells] == [0.3, 0.4, None]
    assert [cell.paper for cell in rows[key_low].cells] == [0.3538, 0.7958, None]


def test_tables_as_text_have_every_figure_and_the_papers_in_brackets():
    point = "grounding.transport.point_at_1"
    tables = metric_tables(
        [run("lucid", {point: 0.5, "reconstruction.text_to_vision.leak": -0.25}), run("other_1", {point: 1})]
    )
    lines = [" ".join(line.split()) for line in tables_text(tables, "latex").splitlines()]
    assert r"point@1, transport $\uparrow$ & 0.5000 [0.6002] & 1 \\" in lines
    assert r"Grounding & lucid & other\_1 \\" in lines
    assert r"Vision from text, leak & $-$0.2500 & -- \\" in lines
    pages = [" ".join(line.split()) for line in tables_text(tables, "markdown").splitlines()]
    assert "| point@1, transport ↑ | 0.5000 [0.6002] | 1 |" in pages
