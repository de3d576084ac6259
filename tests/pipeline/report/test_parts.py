import base64
import io
import math
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from pipeline.report.captions import keywords, lit_captions
from pipeline.report.charts import HEIGHT, WIDTH, training_charts
from pipeline.report.claims import CLAIMS, judge
from pipeline.report.decimals import decimals_text
from pipeline.report.evidence import Evidence
from pipeline.report.headline import headlines
from pipeline.report.heat import DIGITS, SCALE, heat_image, heat_text
from pipeline.report.latents import LatentPage, specimens
from pipeline.report.neighbours import nearest_latents
from pipeline.report.pages import figure_text, interval_text, templates
from pipeline.report.paper import paper
from pipeline.report.pictures import Picture, as_seen
from pipeline.report.runs import Run
from pipeline.report.tables import SECTIONS, metric_tables
from pipeline.report.training import trainings
from pipeline.sae.lucid import LucidOptions, LucidSAE


def run(name: str, metrics=None, curves=None) -> Run:
    return Run(name, Path(name), metrics or {}, curves or {})


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


def test_nearest_latents_are_those_of_highest_mean_cosine_on_both_sides():
    torch.manual_seed(0)
    sae = LucidSAE(LucidOptions(latents=24, shared_ratio=0.5, k_shared=2, k_private=2), 6, 5)
    cosines = []
    for side in ("vision", "text"):
        rows = sae.dictionary(side).decoder.detach().double().numpy()[:12]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines.append(rows @ rows.T)
    latents = [11, 3, 7, 0, 5]
    nearest = nearest_latents(sae, latents, 3)
    for latent in latents:
        likeness = {
            other: (cosines[0] + cosines[1])[latent, other] / 2 for other in latents if other != latent
        }
        best = sorted(likeness, key=lambda other: -likeness[other])[:3]
        assert [neighbour.latent for neighbour in nearest[latent]] == best
        assert [neighbour.likeness for neighbour in nearest[latent]] == pytest.approx(
            [likeness[other] for other in best], abs=1e-5
        )
    assert nearest_latents(sae, [4], 3) == {4: ()}
    assert nearest_latents(sae, [], 3) == {}


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


@pytest.mark.parametrize(
    ("figures", "in_order"),
    [
        ([0.1, 0.2, 0.3, 0.4], True),
        ([0.1, 0.3, 0.2, 0.4], False),
        ([0.1, None, None, 0.4], True),
        ([0.2, 0.2, None, None], False),
        ([None, None, None, 0.4], None),
    ],
)
def test_a_claims_figures_are_in_order_if_all_that_were_measured_rise(figures, in_order):
    claim = CLAIMS[0]
    runs = [
        run(variant, {} if figure is None else {key: figure})
        for (variant, key), figure in zip(claim.rising, figures, strict=True)
    ]
    assert judge(runs)[0].in_order is in_order


def test_the_papers_own_numbers_bear_out_its_claims():
    metrics: dict[str, dict[str, float]] = {}
    for number in paper().numbers:
        metrics.setdefault(number.variant, {})[number.metric] = number.value
    verdicts = judge([run(name, values) for name, values in metrics.items()])
    measured = {verdict.claim.text: verdict.in_order for verdict in verdicts if not verdict.too_few}
    assert len(measured) == 7
    assert all(measured.values())


@pytest.mark.parametrize(
    ("key", "figures", "why"),
    [
        ("reconstruction.text_to_vision.shared", (-9.0, -0.1), "no R² is above 0"),
        ("reconstruction.text_to_vision.shared", (-0.1, 0.0), "no R² is above 0"),
        ("reconstruction.text_to_vision.shared", (-0.1, 0.1), ""),
        ("degeneracy.text_to_image", (0.5, 0.0), "nothing fires"),
        ("degeneracy.text_to_image", (0.5, 0.1), ""),
    ],
)
def test_bad_figures_are_praised_for_no_order(key, figures, why):
    runs = [run(name, {key: figure}) for name, figure in zip(("shared_only", "lucid"), figures, strict=True)]
    runs += [run(name, {key: figure}) for name, figure in zip(("share_k",), figures, strict=False)]
    (verdict,) = [one for one in judge(runs) if not one.too_few]
    assert why in verdict.why
    assert (verdict.in_order is None) == bool(why)


def training_of(values, **options):
    curve = tuple((float(10 * (place + 1)), value) for place, value in enumerate(values))
    (training,) = trainings([Run("lucid", Path("lucid"), {}, {"total": curve}, train=options)])
    return training


def test_a_run_tells_its_steps_its_warm_up_and_whether_its_loss_still_fell():
    generator = np.random.default_rng(0)
    noise = 0.01 * generator.standard_normal(200)
    falling = training_of(np.linspace(2, 1, 200) + noise, warmup_steps=500)
    assert (falling.steps, falling.warmup, falling.falling, falling.hardly_trained) == (
        2000,
        200,
        True,
        False,
    )
    assert falling.losses == (pytest.approx(1.95, abs=0.01), pytest.approx(1.05, abs=0.01))
    done = training_of(1 + np.exp(-np.arange(200) / 10) + noise, warmup_steps=50)
    assert (done.falling, done.warmup) == (False, 50)
    assert training_of(np.linspace(1, 2, 200) + noise).falling is False
    assert training_of(np.linspace(2, 1, 5)).falling is None


def test_a_run_of_few_steps_or_within_its_warm_up_is_hardly_trained():
    four = Run("lucid", Path("lucid"), {}, {"total": ((4.0, 1.0),)}, train={"warmup_steps": 50})
    (training,) = trainings([four])
    assert (training.steps, training.warmup, training.hardly_trained) == (4, 0, True)
    assert training_of(np.linspace(2, 1, 40), warmup_steps=400).hardly_trained
    assert not training_of(np.linspace(2, 1, 40), warmup_steps=399).hardly_trained
    (unknown,) = trainings([run("lucid", {"a": 1.0})])
    assert (unknown.steps, unknown.hardly_trained) == (None, False)
    assert trainings([run("not trained")]) == ()


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
    return LatentPage("lucid", row, None, images, (), None, lit_captions(lit), (), right)


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
