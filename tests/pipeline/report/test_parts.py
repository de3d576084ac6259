import base64
import io
import math
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pipeline.interpretation.captions import lit_captions
from pipeline.interpretation.latent import specimens
from pipeline.report.charts import HEIGHT, WIDTH, training_charts
from pipeline.report.evidence import Evidence
from pipeline.report.headline import headlines
from pipeline.report.heat import DIGITS, SCALE, heat_image, heat_text
from pipeline.report.latent_page import LatentPage
from pipeline.report.pages import interval_text, templates
from pipeline.report.pictures import Picture, as_seen
from pipeline.results.decimals import decimals_text, figure_text
from pipeline.results.run import Run


def run(name: str, metrics=None, curves=None) -> Run:
    return Run(name, Path(name), metrics or {}, curves or {})


def test_the_heat_scale_is_matplotlibs_inferno():
    inferno = matplotlib.colormaps["inferno"]
    assert tuple(to_hex(inferno(step / 32)) for step in range(33)) == SCALE


def test_heat_maps_show_each_patch_in_the_colour_of_its_heat():
    heat = np.array([[0.0, 0.5, 1.0], [-1.0, 0.01, 2.0]], np.float32)
    image = Image.open(io.BytesIO(base64.b64decode(heat_image(heat).partition(",")[2]))).convert("RGB")
    colours = [[f"#{r:02x}{g:02x}{b:02x}" for r, g, b in row] for row in np.asarray(image).tolist()]
    assert colours == [[SCALE[0], SCALE[16], SCALE[32]], [SCALE[0], SCALE[0], SCALE[32]]]
    assert heat_text(heat.ravel()) == "0GW00W"


def test_the_script_that_paints_heat_maps_reads_the_digits_that_are_written():
    script = resources.files("pipeline.report").joinpath("scripts/compare.js").read_text(encoding="utf-8")
    assert f'const DIGITS = "{DIGITS}";' in script
    assert len(set(DIGITS)) == len(SCALE)


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.004, "0.00"), (-0.0, "0.00"), (-0.006, "−0.01"), (0.5, "0.50"), (-2, "−2.00")]
)
def test_a_figure_that_rounds_to_zero_has_no_minus_sign(value, shown):
    assert decimals_text(value) == shown
    assert figure_text(float(value / 1e9)) == "0.0000"


def test_the_headline_says_of_how_many_objects_grounding_is_a_share():
    metrics = {
        "grounding.transport.point_at_1": 0.2,
        "grounding.swapped.point_at_1": 0.15,
        "counts.grounding_targets": 2000,
        "counts.swapped": 20,
    }
    (grounding,) = headlines([run("lucid", metrics)], "lucid", None)
    assert (grounding.figure, grounding.note) == ("0.20", "of 2,000 objects; 0.15 of 20 absent ones")


def test_the_headline_shows_what_was_measured_and_nothing_else():
    metrics = {
        "reconstruction.vision.full_joint": 0.5,
        "reconstruction.vision.full_global": 0.9,
        "reconstruction.text.full_global": 0.75,
        "grounding.transport.point_at_1": 0.6,
    }
    assert [headline.figure for headline in headlines([run("lucid", metrics)], "lucid", None)] == [
        "0.50 · 0.75"
    ]
    assert headlines([run("other", metrics)], "lucid", None) == ()


def test_the_headline_says_how_well_one_latent_serves_pictures_and_words():
    metrics = {"concepts.joint.mean": 0.825, "concepts.near.beyond_chance": 57, "concepts.concepts": 58}
    (joint,) = headlines([run("lucid", metrics)], "lucid", None)
    assert (joint.figure, joint.note[:8]) == ("0.82", "57 of 58")


def page_of(right=None, pictures=(), captions=(), named=True):
    clusters = [{"hits": 5, "terms": [{"term": "boat", "hits": 3}, {"term": "traffic light", "hits": 2}]}]
    row = {"latent": 0, "name": "boat", "named": named, "hits": 6, "clusters": clusters}
    images = tuple(Evidence(Picture("a.webp", 1, 1), 1.0, caption, None, None) for caption in pictures)
    lit = [
        {
            "words": [{"text": word, "spaced": True, "special": False} for word in words.split()],
            "activations": [float(place == position) for place in range(len(words.split()))],
            "position": position,
            "activation": 1.0,
        }
        for words, position in captions
    ]
    return LatentPage(row, None, lit_captions(lit), right, "lucid", images, (), None, (), None)


@pytest.mark.parametrize(
    ("pictures", "captions", "borne_out"),
    [
        (["a boat", "two boats"], [("a boat", 1), ("red boats", 1)], True),
        (["a boat", "the sea"], [("a boat", 1)], False),  # half of the pictures are no majority
        (["the sea"], [("a boat", 1)], False),
        (["a boat"], [("a boat", 0)], False),  # it peaks at another word
        (["a boat"], [("the sea", 1)], False),
        ([], [("a boat", 1)], False),
        (["a boat"], [], False),
        (["a traffic light"], [("the traffic lights", 2)], True),
    ],
)
def test_a_name_is_borne_out_where_pictures_and_captions_both_say_it(pictures, captions, borne_out):
    assert page_of(None, pictures, captions).borne_out is borne_out


@pytest.mark.parametrize("right", [True, False])
def test_true_concepts_outweigh_what_captions_say(right):
    page = page_of(right, ["a boat"] if not right else ["the sea"], [("a boat", 1)])
    assert page.borne_out is right
    other = page_of(None, ["a boat"], [("a boat", 1)])
    shown = specimens([page, other], 1)
    assert shown == [page if right else other]


def test_a_share_of_few_hits_has_a_wide_interval():
    assert interval_text((5, 5)) == "57–100 %"
    assert interval_text((0, 5)) == "0–43 %"
    assert interval_text((500, 500)) == "99–100 %"


def test_charts_keep_the_last_point_stay_inside_and_leave_out_what_is_not_finite():
    curve = tuple((float(step), math.nan if step == 3 else 1 / step) for step in range(1, 1000))
    (chart,) = training_charts([run("other"), run("lucid", curves={"total": curve})])
    (line,) = chart.lines
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert (line.last, line.colour, chart.logarithmic) == (1 / 999, 1, True)
    assert 100 < len(points) <= 160
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_a_constant_curve_and_one_of_a_single_point_are_charts_too():
    runs = [run("lucid", curves={"total": ((5.0, 2.0),), "lock": ((1.0, 0.0), (2.0, 0.0)), "empty": ()})]
    total, lock = training_charts(runs)
    assert (total.title, lock.title) == ("total", "lock")
    assert total.flat and lock.flat
    assert [tick.label for tick in total.values] == ["2"]
    assert [tick.label for tick in lock.steps] == ["1", "1.5", "2"]


def test_pictures_show_what_the_backbone_saw():
    picture = Image.fromarray(np.zeros((40, 80, 3), np.uint8))
    picture.paste((255, 0, 0), (0, 0, 10, 40))
    assert as_seen(picture, (4, 4), "squash", 40).size == (40, 20)
    cropped = as_seen(picture, (4, 4), "shortest", 40)
    assert cropped.size == (40, 40)
    assert np.asarray(cropped)[..., 0].max() == 0  # the red edge is cut away
    padded = as_seen(picture, (4, 4), "longest", 40)
    assert padded.size == (40, 40)
    assert np.asarray(padded)[20, 1, 0] > 200
    assert np.asarray(padded)[2, 1, 0] == 0  # padding above
    assert as_seen(picture, (2, 4), "shortest", 40).size == (40, 20)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("</script><b>", "&lt;/script&gt;&lt;b&gt;"),
        ("{{ 7 * 7 }}{% raw %}", "{{ 7 * 7 }}{% raw %}"),
        ("\" onload='x'", "&#34; onload=&#39;x&#39;"),
        ("boat\u202egnp.exe", "boat\\u202egnp.exe"),
        ("half \ud83d", "half \\ud83d"),
        ("bell \x07", "bell \\x07"),
    ],
)
def test_text_of_strangers_is_shown_as_text(written, shown):
    page = templates().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=written)
    assert page == f'<p title="{shown}">{shown}</p>'
    page.encode("utf-8")
