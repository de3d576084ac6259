import base64
import io
import json
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError, RunError
from pipeline.report.build import build_report
from pipeline.report.heat import SCALE, heat_text
from pipeline.report.options import ReportOptions
from pipeline.results.run import flatten
from pipeline.sae.crossing import transport_plan
from pipeline.sae.saving import load_sae, save_sae

sys.path.append(str(Path(__file__).parent))

from page import Page


@pytest.fixture(scope="session")
def pages(report):
    return {path.relative_to(report).as_posix(): Page(path) for path in sorted(report.rglob("*.html"))}


def linked(page: Page) -> list[str]:
    return [tag[key] for _, tag in page.tags for key in ("href", "src") if key in tag]


def heat_of(source: str) -> np.ndarray:
    """Steps of the colour scale."""
    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    pixels = np.asarray(image).reshape(-1, 3).tolist()
    steps = [SCALE.index("#{:02x}{:02x}{:02x}".format(*pixel)) for pixel in pixels]
    return np.array(steps).reshape(image.height, image.width)


def entries(report: Path) -> list[dict[str, str]]:
    script = (report / "scripts" / "entries.js").read_text(encoding="utf-8")
    return json.loads(script.removeprefix("const ENTRIES = ").removesuffix(";\n"))


def test_every_interpreted_variant_has_a_gallery_and_a_page_per_latent_that_fires(pages):
    assert set(pages) == {
        "index.html",
        "compare.html",
        *(f"{variant}/concepts.html" for variant in ("lucid", "pooled")),
        *(f"{variant}/{latent:04d}.html" for variant in ("lucid", "pooled") for latent in range(6)),
    }


def test_every_link_leads_to_a_file_of_the_report_and_none_to_a_network(report, pages):
    seen = set()
    for page in pages.values():
        for link in linked(page):
            parts = urlsplit(link)
            assert parts.scheme in {"", "data"}, link
            if parts.scheme == "data":
                continue
            if not parts.path:
                assert any(tag.get("id") == parts.fragment for _, tag in page.tags), link
                continue
            target = (page.path.parent / unquote(parts.path)).resolve()
            assert target.is_file(), f"{page.path}: {link}"
            seen.add(target)
    css = (report / "style.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css
    written = {path.resolve() for path in report.rglob("*") if path.is_file()}
    assert written - seen == {(report / "report.json").resolve()}  # nothing is left that no page shows


def test_every_page_has_a_language_a_title_one_main_heading_and_words_for_its_pictures(pages):
    for page in pages.values():
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("h1")) == 1
        assert len(page.all("title")) == 1
        assert all("alt" in image for image in page.all("img"))
        ids = [tag["id"] for _, tag in page.tags if "id" in tag]
        assert len(ids) == len(set(ids))


def test_every_number_of_the_metrics_stands_exactly_in_the_tables(pages, metrics):
    expected = {(key, repr(value)) for variant in metrics.values() for key, value in flatten(variant).items()}
    expected |= {("stability.both.decoder.found", "0.5")}
    assert {(key, value) for key, value, _ in pages["index.html"].data} == expected
    assert ("reconstruction.vision.full_joint", "0.8674266656080118", "0.8674") in pages["index.html"].data
    assert ("reconstruction.text_to_vision.leak", "-0.11", "\N{MINUS SIGN}0.1100") in pages["index.html"].data
    assert ("degeneracy.dead_shared.text", "12345", "12,345") in pages["index.html"].data


def test_the_papers_numbers_stand_beside_ours_for_the_same_variant(pages):
    text = pages["index.html"].text
    assert "0.8674 paper 0.4606" in text
    assert "paper 0.4045" in text
    assert "paper 0.5501" not in text  # share_k was not trained here


def test_what_users_and_data_write_is_escaped(pages, trap):
    page = pages["lucid/0002.html"]  # red: its word comes from the list, its captions from the data
    assert page.text.count("<em>red</em>") >= 2
    everything = " ".join(page.text for page in pages.values())
    alternatives = {image["alt"] for page in pages.values() for image in page.all("img")}
    assert trap in everything
    assert trap in alternatives
    assert "pictures <i>of</i> shapes" in pages["index.html"].text
    assert "lucid has no alignment: too few <b>latents</b>" in pages["index.html"].text
    for name in ("lucid/concepts.html", "compare.html", "lucid/0005.html"):
        assert "<u>meadow</u>" in pages[name].text
    for page in pages.values():
        assert not page.all("u")
        assert "<b>red" not in page.path.read_text(encoding="utf-8")
        assert not page.all("em") or page.path.name == "index.html"
        assert all(set(script) - {"defer"} == {"src"} for script in page.all("script"))


def test_the_red_box_and_the_hottest_spot_of_the_heat_map_are_the_peak_patch(pages):
    page = pages["lucid/0000.html"]
    frames = [
        (heat, box)
        for (_, heat), (_, box) in zip(page.tags, page.tags[1:], strict=False)
        if heat.get("class") == "heat" and box.get("class") == "peak"
    ]
    assert len(frames) >= 8
    for heat, box in frames:
        style = dict(part.split(":") for part in box["style"].split(";"))
        row, column = int(style["--y"]), int(style["--x"])
        steps = heat_of(heat["src"])
        assert steps.shape == (4, 4)
        assert (steps[row, column], (steps == 0).sum()) == (len(SCALE) - 1, 15)


def test_pictures_are_small_files_that_pages_share(report, world):
    files = sorted((report / "images").rglob("*.webp"))
    assert {path.parent.name for path in files} == {"val", "ood"}  # one folder for all variants
    assert len(files) <= sum(cache.manifest.images for cache in world.caches.values())
    with Image.open(files[0]) as picture:
        assert max(picture.size) <= 256


def test_captions_show_which_words_fire_the_latent(report):
    page = Page(report / "lucid" / "0003.html")
    marked = [tag for tag in page.all("mark") if "strongest" in tag.get("class", "")]
    captions = page.path.read_text(encoding="utf-8").split('class="concordance"')[1]
    assert captions.count(">blue</mark>") == len(marked) > 0
    assert captions.count("<mark") == len(marked)


def test_the_latents_are_shown_on_the_unseen_split_too(pages):
    shown = [
        image["src"] for image in pages["lucid/0000.html"].all("img") if "images/ood/" in image.get("src", "")
    ]
    assert shown
    text = pages["lucid/0000.html"].text
    assert "On the split ood" in text
    assert "unseen" not in text and "training never" not in text  # nothing is known of a split but its name


def test_a_search_finds_latents_by_name_term_caption_word_and_number(report):
    found = {entry["page"]: entry["search"].split("\n") for entry in entries(report)}
    assert found["lucid/0000.html"] == ["boat", "ship", "0"]
    assert {(entry["variant"], entry["page"].partition("/")[0]) for entry in entries(report)} == {
        ("lucid", "lucid"),
        ("pooled", "pooled"),
    }
    assert entries(report)[0].keys() == {"title", "variant", "page", "search"}


def test_names_carry_the_kind_that_the_concept_list_gives_them(pages):
    cards = [card for card in pages["lucid/concepts.html"].all("li") if "data-kind" in card]
    assert {card["data-title"]: card["data-kind"] for card in cards}["boat"] == "noun"
    assert {card["data-kind"] for card in cards} == {"noun", "colour", "setting"}
    assert {
        option["value"] for option in pages["lucid/concepts.html"].all("option") if "value" in option
    } >= {"named"}


def test_every_latent_links_to_the_others_as_its_neighbours(pages):
    nearest = pages["lucid/0000.html"].path.read_text(encoding="utf-8").split('class="nearest"')[1]
    assert nearest.count('<a href="../lucid/') == 5


def test_a_sample_of_a_large_split_is_said_to_be_one(world, tmp_path, pages):
    assert "All 6 images searched" in pages["lucid/0000.html"].text
    output = world.build(tmp_path / "report", ood_pairs=3)
    told = "A sample: 3 of its 6 images were searched, evenly spaced"
    assert told in Page(output / "lucid" / "0000.html").text
    assert "Only 3 of the 6 images of ood were searched" in Page(output / "index.html").text


def test_variants_stand_side_by_side_and_what_is_missing_is_said(pages, trap):
    page = pages["compare.html"]
    assert [figure["data-variant"] for figure in page.all("figure") if "data-variant" in figure][:2] == [
        "lucid",
        "shared_only",
    ]
    assert "of the 18 pairs of the split val" in page.text
    assert "separate is not shown: it is not trained" in page.text
    specimens = [json.loads(tag["data-maps"]) for tag in page.all("div") if "data-maps" in tag]
    assert all(len(maps["lucid"][0]) == 16 for maps in specimens)
    pressed = [button for button in page.all("button") if button.get("aria-pressed") == "true"]
    assert len(pressed) == len(specimens) > 1


def test_a_words_map_is_its_column_of_the_pairs_own_plan(pages, world):
    page, cache = pages["compare.html"], world.caches["val"]
    pairs = [int(tag["id"].removeprefix("pair-")) for tag in page.all("section")]
    maps = [json.loads(tag["data-maps"])["lucid"] for tag in page.all("div") if "data-maps" in tag]
    for pair, words in zip(pairs, maps, strict=True):
        batch = cache.read_pairs(np.array([pair]))
        vision = world.sae.encode("vision", batch.vision_tokens[0], "shared")
        text = world.sae.encode("text", batch.text_tokens, "shared")
        plan = transport_plan(world.sae, vision, text, batch.text_offsets, 16).plan[0].detach().numpy()
        assert words == [heat_text(column / max(column.max(), 1e-30)) for column in plan.T]
    assert "gives it no mass" in page.text


def test_skips_and_failures_are_told(pages):
    text = pages["index.html"].text
    assert "val image cannot be decoded 1" in text
    assert "The variant separate has no metrics" in text
    assert "1 of 7 shared latents of lucid never fire on val" in text
    assert (
        "1 of 9 concepts has no shared code of its own in lucid and can name nothing there: unicorn" in text
    )
    assert (
        "In another order in these runs: the heat map finds the named object rather than any object" in text
    )


def test_names_are_held_against_the_truth(pages):
    for name in ("index.html", "lucid/concepts.html"):
        assert "6 of 6 names are right" in pages[name].text
        assert "colour 2 of 2" in pages[name].text


def test_training_curves_are_drawn_with_their_last_values(pages):
    page = pages["index.html"]
    chart = next(tag for tag in page.all("svg") if tag.get("role") == "img")
    assert chart["aria-label"] == "total over training steps. Last values: lucid 0.05"
    points = [tuple(map(float, point.split(","))) for point in page.all("polyline")[0]["points"].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # a falling loss goes down the page


def test_the_same_input_gives_the_same_bytes_and_replaces_what_was_there(report, world, tmp_path):
    output = tmp_path / "report"
    world.build(output, latents=2)
    world.build(output, title="Another")
    world.build(output)
    written = {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert written == {
        path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()
    }
    listed = json.loads((output / "report.json").read_text(encoding="utf-8"))["files"]
    assert sorted(listed) == sorted(path.as_posix() for path in written)


def test_a_report_that_failed_half_way_can_be_built_again(own_world, tmp_path):
    picture = next((own_world.data / "val").iterdir())
    picture.rename(tmp_path / "away.png")
    with pytest.raises(DatasetError):
        own_world.build(tmp_path / "report")
    assert not (tmp_path / "report").exists()
    (tmp_path / "away.png").rename(picture)
    assert (own_world.build(tmp_path / "report") / "index.html").is_file()


def test_a_folder_that_is_no_report_is_left_alone(world, tmp_path):
    (tmp_path / "thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(RunError, match="not empty and not a report"):
        world.build(tmp_path)
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "three years"
    with pytest.raises(RunError, match="is a file"):
        world.build(tmp_path / "thesis.txt")


def test_fewer_pages_are_shown_on_request_named_ones_first(world, tmp_path):
    output = world.build(tmp_path / "report", latents=3, images=1, ood_images=0, gallery_images=1)
    assert len(list((output / "lucid").glob("0*.html"))) == 3
    assert "3 more latents fire; this report shows 3 of lucid" in Page(output / "lucid/concepts.html").text
    assert "Of the 6 latents of lucid that fire, 3 have a page" in Page(output / "index.html").text
    assert not (output / "images" / "ood").exists()


def test_a_dictionary_without_a_name_is_shown_by_number(own_world, tmp_path):
    own_world.interpret(minimum_hits=10_000)
    output = own_world.build(tmp_path / "report")
    assert "No latent of lucid earned a name: none had 10,000 hits" in Page(output / "index.html").text
    gallery = Page(output / "lucid/concepts.html")
    assert "No latent earned a name" in gallery.text
    assert "latent 0 boat?" in gallery.text
    assert {card["data-name"] for card in gallery.all("li") if "data-name" in card} == {"unnamed"}
    assert "The best guess is “boat”" in Page(output / "lucid" / "0000.html").text


def test_a_variant_that_was_not_interpreted_or_not_trained_is_said_to_be_so(world, tmp_path):
    index = Page(world.build(tmp_path / "a", ["shared_only"], variant="shared_only") / "index.html")
    assert "The variant shared_only has not been interpreted; run concord interpret shared_only" in index.text
    index = Page(world.build(tmp_path / "b", variants=["shared_only"]) / "index.html")
    assert "The variant lucid has not been trained" in index.text
    assert "shared_only was not interpreted, so it has no gallery" in index.text


def test_nothing_at_all_still_makes_pages(world, tmp_path):
    text = Page(world.build(tmp_path / "report", variants=[], caches={}) / "index.html").text
    assert "No activation cache was given" in text
    assert "No variant has been evaluated yet" in text
    assert "No training curves were found" in text


def test_pictures_are_missing_and_said_to_be_without_the_interpreted_cache(world, tmp_path):
    output = world.build(tmp_path / "report", caches={"ood": world.caches["ood"]})
    assert (
        "The cache on which lucid was interpreted (split val) was not given"
        in Page(output / "index.html").text
    )
    assert "that this report was given" in Page(output / "lucid" / "0000.html").text


def test_progress_ends_with_all_pages(world, tmp_path):
    from pipeline.report.build import build_report
    from pipeline.report.options import ReportOptions

    reports = []
    runs = [world.runs / "lucid"]
    build_report(
        tmp_path / "r",
        runs,
        world.caches,
        world.data,
        ReportOptions(),
        lambda done, total: reports.append((done, total)),
    )
    assert reports == [(page, 9) for page in range(1, 10)]


def test_names_of_an_earlier_training_are_refused(own_world, tmp_path):
    retrained = load_sae(own_world.runs / "lucid")
    retrained.dictionary("text").decoder.data.neg_()
    save_sae(retrained, own_world.runs / "lucid")
    (own_world.runs / "lucid" / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"lucid/latents.parquet: describes an earlier training"):
        own_world.build(tmp_path / "report")


@pytest.mark.parametrize("name", ["..", "images", "Scripts", ".hidden", "<b>", "a" * 200])
def test_a_variant_of_any_name_writes_inside_the_report_and_over_nothing(own_world, tmp_path, name):
    run = tmp_path / "runs" / "nested" / name
    if name != "..":
        run = (own_world.runs / "lucid").rename(own_world.runs / name)
    else:  # runs/nested/.. is the folder runs itself
        run.parent.mkdir(parents=True, exist_ok=True)
        for file in (own_world.runs / "lucid").iterdir():
            file.rename(run / file.name)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    output = tmp_path / "report"
    build_report(output, [run], own_world.caches, own_world.data, ReportOptions(variant=name, images=1))
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert all(path.is_relative_to(output) for path in written)
    (gallery,) = output.rglob("concepts.html")
    assert gallery.parent.parent == output
    assert sorted(path.suffix for path in gallery.parent.iterdir()) == [".html"] * 7


def test_a_variant_named_twice_is_refused(world, tmp_path):
    with pytest.raises(RunError, match="name each variant once"):
        world.build(tmp_path / "report", variants=["lucid", "lucid"])


def test_a_dictionary_of_whole_pictures_has_pages_without_places(pages):
    page = pages["pooled/0000.html"]
    assert page.all("img")[0]["src"].startswith("../images/val/")
    for name in ("heat", "peak", "crop", "before", "strongest"):
        assert not any(name in attributes.get("class", "").split() for _, attributes in page.tags), name
    assert "reads pictures whole" in page.text
    assert "Fires on pictures" in page.text
    assert "Fires on captions" in page.text
    assert "a red boat at sea" in page.text
    assert "reads every picture and every caption whole" in pages["pooled/concepts.html"].text
    assert "pooled is not shown: it reads one embedding of a whole picture" in pages["compare.html"].text


def test_image_level_latents_stand_in_the_gallery_and_have_pages_without_places(own_world, tmp_path):
    own_world.have_image_level_latents()
    report = own_world.build(tmp_path / "report", variants=("lucid",))
    gallery = (report / "lucid/concepts.html").read_text(encoding="utf-8")
    assert "2 more are image-level latents" in gallery and "2 of 2 are right" in gallery
    assert gallery.count('<span class="tag">whole picture</span>') == 2
    page = (report / "lucid/0004.html").read_text(encoding="utf-8")
    assert "image-level latent 4 of" in page and "Score tells captions" in page and "0.90" in page
    assert page.count("<figure>") > 1
    assert 'class="heat"' not in page and 'class="peak"' not in page
    shared = (report / "lucid/0000.html").read_text(encoding="utf-8")
    assert 'class="heat"' in shared and 'class="peak"' in shared


def test_a_latents_page_says_how_many_other_seeds_found_it(pages):
    assert "Found by other seeds 1 of 2" in pages["lucid/0000.html"].text
    others = [page.text for path, page in pages.items() if path not in ("lucid/0000.html", "index.html")]
    assert not any("Found by other seeds" in text for text in others)
    assert "Found again, on both sides" in pages["index.html"].text


def test_variants_lead_to_each_others_galleries_and_to_latents_of_the_same_name(pages):
    galleries = {"../lucid/concepts.html", "../pooled/concepts.html"}
    for name in ("lucid/concepts.html", "pooled/concepts.html"):
        tabs = [link for link in pages[name].all("a") if link["href"] in galleries]
        assert {link["href"] for link in tabs} == galleries
        assert {link["href"] for link in tabs if "aria-current" in link} == {f"../{name}"}
    assert "So named in other variants pooled 0" in pages["lucid/0000.html"].text
    assert "../lucid/0000.html" in linked(pages["pooled/0000.html"])


def test_names_held_against_the_truth_stand_by_kind_and_variant(pages):
    text = pages["index.html"].text
    assert "kind of concept lucid pooled" in text
    assert "colour 2 of 2 1 of 2" in text
    assert "size – 0 of 1" in text
    assert "all kinds 6 of 6 1 of 3" in text
    assert "same concept on both sides 6 of 6 2 of 3" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", "{", "not valid JSON"),
        ("metrics.json", "[1]", "expected an object, got list"),
        ("curves/plots/metrics/total.tsv", "step\tloss\n1\t2\n", "not a curve of DVCLive"),
        ("latents.parquet", "no", "has no checksum"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(own_world, tmp_path, name, content, message):
    (own_world.runs / "lucid" / name).write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=message) as refusal:
        own_world.build(tmp_path / "report")
    assert str(own_world.runs / "lucid" / name) in str(refusal.value)
