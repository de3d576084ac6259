"""The ablation table shows means and spreads of what the runs measured, and dashes where nothing was."""

import statistics

from pipeline.results.study import study_tables


def metrics(point: float, leak: float | None = None) -> dict[str, object]:
    cross = {"shared": 0.1} | ({} if leak is None else {"leak": leak})
    return {
        "reconstruction": {"vision": {"full_global": 0.25}, "text_to_vision": cross},
        "grounding": {"transport": {"point_at_1": point}},
    }


def cells(table: str, variant: str, heading: str) -> str:
    for block in table.split("## ")[1:]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.splitlines()
            if line.startswith("|")
        ]
        if heading in rows[0]:
            return next(row for row in rows if row[0] == f"`{variant}`")[rows[0].index(heading)]
    raise AssertionError(heading)


def test_a_cell_is_mean_and_standard_deviation_over_the_seeds() -> None:
    points = [0.5, 0.6, 0.75]
    table = study_tables({"lucid": [metrics(point) for point in points]})
    assert (
        cells(table, "lucid", "point@1") == f"{statistics.mean(points):.3f} ± {statistics.stdev(points):.3f}"
    )


def test_one_seed_has_no_spread() -> None:
    assert cells(study_tables({"lucid": [metrics(0.5)]}), "lucid", "point@1") == "0.500"


def test_what_a_variant_does_not_have_is_a_dash() -> None:
    table = study_tables({"lucid": [metrics(0.5, leak=-0.2)], "shared_only": [metrics(0.4)]})
    assert cells(table, "lucid", "V leak") == "-0.200"
    assert cells(table, "shared_only", "V leak") == "–"


def test_self_reconstruction_falls_back_to_the_global_code_of_a_variant_without_private_latents() -> None:
    assert cells(study_tables({"shared_only": [metrics(0.5)]}), "shared_only", "V self") == "0.250"


def test_names_are_counted_where_a_run_was_interpreted() -> None:
    interpreted = metrics(0.5) | {"interpretation": {"named": 4, "correct": 3, "share": 0.75}}
    table = study_tables({"lucid": [interpreted], "separate": [metrics(0.5)]})
    assert cells(table, "lucid", "names right") == "3.000"
    assert cells(table, "lucid", "share right") == "0.750"
    assert cells(table, "separate", "share right") == "–"


def test_a_figure_that_only_some_runs_have_says_how_many() -> None:
    leaks = [metrics(0.5, leak=-0.2), metrics(0.5), metrics(0.5, leak=-0.4)]
    assert cells(study_tables({"lucid": leaks}), "lucid", "V leak") == "-0.300 ± 0.141 (2 of 3)"
    assert cells(study_tables({"lucid": leaks[:2]}), "lucid", "V leak") == "-0.200 (1 of 2)"


def test_a_figure_that_is_no_number_is_none() -> None:
    broken = metrics(float("nan"))
    assert cells(study_tables({"lucid": [broken, metrics(0.5)]}), "lucid", "point@1") == "0.500 (1 of 2)"
