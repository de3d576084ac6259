"""Figures for papers show what the codes say, in vector text, and are the same file from the same inputs."""

import ast
import errno
import io
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import picture_world
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import ConfigError, RunError
from pipeline.figures.heatmap import heatmap_figure
from pipeline.figures.latent import latent_figure
from pipeline.figures.lettering import shortened, text_width
from pipeline.figures.source import FigureSource
from pipeline.figures.style import check_outputs, paper_style, save_figure, undrawn_characters
from pipeline.interpretation.sightings import crop_around
from pipeline.report.heat import OPACITY, overlay
from stages.cli import app

ROOT = Path(__file__).parents[3]
SHOWN = picture_world.pictures()


def images_of(figure) -> list[np.ndarray]:
    """Pixels of every picture, in the order in which they were drawn."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def boxes_of(axes) -> list[tuple[float, ...]]:
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches]


def draw_latent(source: FigureSource, name: str, images: int = 3):
    (latent,) = source.choose_latents([name], 1)
    sightings = source.strongest(latent.number, images)
    pictures = [source.picture(sighting.row) for sighting in sightings]
    figure = latent_figure(latent, sightings, pictures, 4, picture_world.GRID, source.sightings.units, 3.25)
    return figure, sightings, pictures


def test_a_heat_map_is_hottest_at_the_patch_of_the_object_and_dark_in_other_pictures(source):
    latents = source.choose_latents(["boat"], 1)
    pairs = source.choose_pairs(["val/002.png", "000.png", "1"], latents, 3)
    files = [row["file"] for row in source.cache.samples.to_pylist() if row["pair"] in pairs]
    maps = source.heat_maps([latents[0].number], pairs)
    assert sorted(files) == ["val/000.png", "val/000.png", "val/002.png"]  # pair 1 is image 0's other caption
    assert [int(heat.argmax()) for heat in maps[0][:2]] == [SHOWN[2].patch, SHOWN[0].patch]
    figure = heatmap_figure(source.pictures(pairs), latents, maps, 5.5)
    pictures = images_of(figure)[:-1]
    for picture, drawn, heat in zip(pictures[0::2], pictures[1::2], maps[0], strict=True):
        np.testing.assert_array_equal(drawn, np.asarray(overlay(Image.fromarray(picture), heat)))
        grey = np.asarray(Image.fromarray(drawn).convert("L").resize((4, 4), Image.Resampling.BOX))
        assert grey.argmax() == heat.argmax()


def test_pictures_are_picked_where_the_latents_fire_and_are_of_different_images(source):
    latents = source.choose_latents(["boat", "cat"], 2)
    pairs = source.choose_pairs([], latents, 4)
    nouns = [source.cache.samples.to_pylist()[pair]["file"] for pair in pairs]
    assert len(set(pairs)) == len(set(nouns)) == 4
    maps = source.heat_maps([latent.number for latent in latents], pairs)
    fires = np.array([[heat.max() > 0 for heat in row] for row in maps])
    assert fires.sum(axis=1).tolist() == [2, 2]
    assert fires.sum(axis=0).tolist() == [1, 1, 1, 1]


def test_latents_are_picked_from_as_many_kinds_as_there_are(source):
    assert {latent.kind for latent in source.choose_latents([], 3)} == {"noun", "colour", "setting"}


def test_a_split_that_was_not_interpreted_is_searched(world):
    unseen = FigureSource(world.runs / "lucid", world.caches["ood"], world.data)
    (latent,) = unseen.choose_latents(["boat"], 1)
    shown = {
        unseen.cache.samples.to_pylist()[pair]["categories"][0]
        for pair in unseen.choose_pairs([], [latent], 2)
    }
    assert shown == {"boat"}


def test_a_latents_figure_boxes_the_peak_patch_in_the_picture_and_in_its_crop(source):
    figure, sightings, pictures = draw_latent(source, "boat")
    for sighting, picture, whole, crop in zip(
        sightings, pictures, figure.axes[0::2], figure.axes[1::2], strict=True
    ):
        row, column = divmod(sighting.patch, 4)
        assert set(boxes_of(whole)) == {(column / 4, row / 4, 1 / 4, 1 / 4)}
        left, top, wide, high = boxes_of(crop)[0]
        closer = np.asarray(crop.images[0].get_array())
        middle = closer[int((top + high / 2) * len(closer)), int((left + wide / 2) * len(closer))]
        assert tuple(middle) == pytest.approx(
            picture.getpixel((int((column + 0.5) * 128), int((row + 0.5) * 128))), abs=2
        )
    assert sum("boat" in text for text in texts_of(figure)) >= 4


def test_a_dictionary_of_whole_pictures_is_drawn_without_places(pooled):
    figure, sightings, _ = draw_latent(pooled, "boat")
    assert len(figure.axes) == len(sightings) == 3
    assert not any(axes.patches for axes in figure.axes)
    assert not any(isinstance(artist, Rectangle) for artist in figure.artists)
    assert "a red boat at sea" in texts_of(figure)
    with pytest.raises(ConfigError, match="knows no places"):
        pooled.heat_maps([0], [0])


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.data())
def test_a_crop_holds_its_patch_and_stays_inside_the_grid(grid, data):
    row, column = (data.draw(st.integers(0, count - 1)) for count in grid)
    window = crop_around(row, column, grid)
    assert (window.rows, window.columns) == (min(3, grid[0]), min(3, grid[1]))
    assert 0 <= window.row <= row < window.row + window.rows <= grid[0]
    assert 0 <= window.column <= column < window.column + window.columns <= grid[1]


def test_heat_is_as_strong_in_figures_as_on_the_pages():
    css = resources.files("pipeline.report").joinpath("style.css").read_text(encoding="utf-8")
    assert f"opacity: {OPACITY}; filter: none" in css


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("boatt", "no latent of .*lucid is so named; names are <em>red</em>, blue, boat"),
        ("99", "does not exist; there are 0 to 6"),
        ("6", "never fires"),
    ],
)
def test_an_unknown_latent_is_refused_by_name(source, wanted, message):
    with pytest.raises(ConfigError, match=message):
        source.choose_latents([wanted], 1)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("no.png", "no pair of the split val has this file"), ("99", "pairs 0 to 17"), ("004.png", "no pair")],
)
def test_an_absent_image_is_refused_by_name(source, wanted, message):
    with pytest.raises(ConfigError, match=f"image {wanted}: .*{message}"):
        source.choose_pairs([wanted], [], 1)


def test_a_dictionary_without_names_or_without_interpretation_is_said_to_be_so(world, source):
    nameless = FigureSource(source.run, source.cache, source.dataset_root)
    nameless.latents.update({n: with_name(latent, False) for n, latent in nameless.latents.items()})
    with pytest.raises(ConfigError, match="none of its latents has a name; choose some by number"):
        nameless.choose_latents([], 3)
    assert nameless.choose_latents(["0"], 1)[0].title == "latent 0"
    with pytest.raises(RunError, match="run `concord interpret shared_only` first"):
        FigureSource(world.runs / "shared_only", source.cache, source.dataset_root).choose_latents([], 1)


def with_name(latent, named: bool):
    from dataclasses import replace

    return replace(latent, row=latent.row | {"named": named})


def test_an_unknown_suffix_is_refused_before_any_work():
    check_outputs([Path("a.pdf"), Path("a.png"), Path("a.svg")])
    for name, told in (("a.docx", ".docx"), ("a", "a file without suffix")):
        with pytest.raises(ConfigError, match=f"{name}: cannot write {told}; use .pdf, .png, .svg"):
            check_outputs([Path(name)])


def test_a_file_that_cannot_be_written_is_named(source, tmp_path):
    figure, *_ = draw_latent(source, "cat", images=1)
    (tmp_path / "full.pdf").mkdir()
    with pytest.raises(RunError, match=r"full\.pdf: cannot be written .*Is a directory"):
        save_figure(figure, tmp_path / "full.pdf")


def test_a_figure_that_cannot_be_finished_leaves_the_old_one(source, tmp_path, monkeypatch):
    figure, *_ = draw_latent(source, "cat", images=1)
    path = tmp_path / "cat.svg"
    path.write_text("old", encoding="utf-8")

    def full(file, **_):
        file.write(b"<svg")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(RunError, match="No space left on device; make room"):
        save_figure(figure, path)
    assert [(one.name, one.read_text(encoding="utf-8")) for one in tmp_path.iterdir()] == [("cat.svg", "old")]


def test_characters_that_no_font_has_are_told_once_and_warn_of_nothing(tmp_path):
    figure = Figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("café naïve", "日本 の 日", "👍 ok"):
            shortened(text, 8, 0.3)
            figure.text(0, 0, text)
        save_figure(figure, tmp_path / "words.png")
    assert undrawn_characters(figure) == "".join(sorted("日本👍"))


def test_text_is_as_wide_as_matplotlib_sets_it():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with paper_style():
        figure = Figure(figsize=(8, 1), dpi=1000)
        text = figure.text(0, 0, "two red boats", fontsize=10)
        extent = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert text_width("two red boats", 10) == pytest.approx(extent.width / 1000, rel=0.02)
    assert text_width("a ", 10) > text_width("a", 10)
    assert shortened("two red boats", 10, 0.5).endswith("…")
    assert text_width(shortened("two red boats", 10, 0.5), 10) <= 0.5


def test_the_commands_write_the_same_bytes_twice_with_embedded_truetype_fonts(world, tmp_path, monkeypatch):
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["dataset"] |= {"root": str(world.data), "splits": {"val": "val", "ood": "ood"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (tmp_path / "data/cache").mkdir(parents=True)
    for split in ("val", "ood"):
        (tmp_path / f"data/cache/{split}.zarr").symlink_to(world.data.parent / f"{split}.zarr")
    (tmp_path / "runs").symlink_to(world.runs)
    monkeypatch.chdir(tmp_path)
    for command in (
        "latent lucid boat --images 1",
        "heatmap lucid --columns 2 --rows 1",
    ):
        pdf, png = run_figure(command, tmp_path / "once")
        assert b"/FontFile2" in pdf
        assert b"/Type3" not in pdf
        assert b"CreationDate" not in pdf
        assert Image.open(io.BytesIO(png)).width == 975
    assert run_figure(command, tmp_path / "again") == (pdf, png)
    written = CliRunner().invoke(app, ["figure", "table", "lucid", "shared_only", "--output", "of/paper.tex"])
    assert written.exit_code == 0, written.output
    assert Path("of/paper.tex").read_text(encoding="utf-8").count(r"\begin{tabular}{lrr}") > 1
    for command, told in (
        ("heatmap lucid --split test", "--split test: no such split; params.yaml has ood, val"),
        ("table lucid separate", "run `concord evaluate separate` first"),
        (
            "table lucid --section nothing",
            "no table 'nothing': these runs have reconstruction, grounding, grounding controls, degeneracy",
        ),
    ):
        refused = CliRunner().invoke(app, ["figure", *command.split()])
        assert refused.exit_code == 1
        assert told in refused.output


def run_figure(command: str, folder: Path) -> tuple[bytes, bytes]:
    """The PDF and the PNG that a command draws."""
    outputs = [folder / "figure.pdf", folder / "figure.png"]
    written = [part for output in outputs for part in ("--output", str(output))]
    result = CliRunner().invoke(app, ["figure", *command.split(), *written, "--width", "column"])
    assert result.exit_code == 0, result.output
    return outputs[0].read_bytes(), outputs[1].read_bytes()


def test_the_list_of_commands_does_not_wait_for_matplotlib():
    tree = ast.parse((ROOT / "stages/figure_cli.py").read_text(encoding="utf-8"))
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert imported == {"pathlib", "typing", "stages.paths"}
