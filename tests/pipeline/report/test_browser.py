"""The report in a real browser: Chromium without a window, driven by Playwright."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found; install the package chromium")

KINDS_OF_PAGE = ("index.html", "lucid/concepts.html", "compare.html", "lucid/0000.html", "pooled/0000.html")
WIDTHS = (390, 1440)
MEASURE = (Path(__file__).parent / "measure.js").read_text(encoding="utf-8")


class Reader:
    """A browser's tab that remembers what went wrong in it."""

    def __init__(self, tab, report: Path) -> None:
        self.tab = tab
        self.report = report
        self.problems: list[str] = []
        self._listeners = {
            "console": lambda message: self.problems.append(f"console: {message.text}"),
            "pageerror": lambda error: self.problems.append(f"error: {error}"),
            "requestfailed": self._failed,
            "request": self._watch,
            "dialog": self._refuse,
        }
        for event, listener in self._listeners.items():
            tab.on(event, listener)

    def leave(self) -> None:
        for event, listener in self._listeners.items():
            self.tab.remove_listener(event, listener)

    def open(self, address: str, width: int = 1440, scheme: str = "light") -> None:
        self.look(width, scheme)
        self.tab.goto("about:blank")  # else an address that differs in its fragment loads nothing
        self.tab.goto(f"file://{self.report}/{address}")

    def look(self, width: int, scheme: str) -> None:
        self.tab.set_viewport_size({"width": width, "height": 900})
        self.tab.emulate_media(color_scheme=scheme)

    def texts(self, selector: str) -> list[str]:
        """Texts of those of these elements that are not hidden."""
        return self.tab.locator(f"{selector}:visible").all_text_contents()

    @property
    def address(self) -> str:
        return self.tab.url.partition(f"{self.report}/")[2]

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by going on to another page
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def _watch(self, request) -> None:
        if not request.url.startswith(("file:", "data:", "about:")):
            self.problems.append(f"network: {request.url}")

    def _refuse(self, dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="module")
def tab():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = chromium.new_page()
        tab.set_default_timeout(10_000)
        yield tab
        chromium.close()


@pytest.fixture
def reader(tab, report):
    reader = Reader(tab, report)
    yield reader
    tab.evaluate("localStorage.clear()")
    reader.leave()
    assert reader.problems == []


def test_pages_load_without_an_error_a_dialog_or_the_network(reader):
    trap = "lucid/0002.html"
    for page in (*KINDS_OF_PAGE, "pooled/concepts.html", trap):
        reader.open(page)


@pytest.mark.parametrize("page", KINDS_OF_PAGE)
def test_pages_fit_their_width_and_can_be_read_and_operated(reader, page):
    reader.open(page)
    faults = {}
    for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
        reader.look(width, scheme)
        faults[width, scheme] = reader.tab.evaluate(MEASURE)
    assert not any(faults.values()), faults


def test_a_latents_page_shows_its_pictures_and_boxes_the_peak_patch(reader, world):
    reader.open("lucid/0000.html")
    frames = reader.tab.locator(".pictures .frame")
    places = []
    for frame in frames.all():
        frame.scroll_into_view_if_needed()
        picture, peak = frame.locator("img").first, frame.locator(".peak")
        picture.evaluate("image => image.decode()")
        whole, box = frame.bounding_box(), peak.bounding_box()
        assert box["width"] == pytest.approx(whole["width"] / 4, abs=1)
        column, row = (round(4 * (box[at] - whole[at]) / whole["width"]) for at in ("x", "y"))
        places.append(4 * row + column)
    ranked = read_row(world, 0)["top_images"]
    assert places[: len(ranked)] == [image["patch"] for image in ranked][: len(places)]
    assert reader.tab.locator(".concordance .strongest").first.inner_text() == "boat"


def read_row(world, latent: int):
    import pyarrow.parquet as pq

    return pq.read_table(world.runs / "lucid" / "latents.parquet").to_pylist()[latent]


def test_a_word_is_found_from_any_page_by_keyboard_alone(reader):
    reader.open("lucid/0003.html")
    reader.press("/", "b", "o", "a", "t")
    assert reader.texts("#found li") == ["boatlucid, ship, 0", "boatpooled, ship, 0"]
    reader.press("ArrowDown", "Enter")
    reader.tab.wait_for_url("**/lucid/0000.html")
    reader.press("/")
    reader.tab.keyboard.type("kitten")
    reader.press("Enter")
    reader.tab.wait_for_url("**/lucid/concepts.html#*")
    assert reader.texts(".card h2") == ["cat"]


def test_a_second_variant_has_a_gallery_of_its_own_that_a_search_from_its_pages_looks_in_first(reader):
    reader.open("lucid/concepts.html")
    reader.tab.click(".tabs a:not([aria-current])")
    reader.tab.wait_for_url("**/pooled/concepts.html")
    assert len(reader.texts(".card h2")) == 6
    reader.tab.locator(".card", has_text="boat").first.locator("a").click()
    reader.tab.wait_for_url("**/pooled/0000.html")
    reader.tab.fill("#find", "boat")
    assert reader.texts("#found li") == ["boatpooled, ship, 0", "boatlucid, ship, 0"]
    reader.tab.locator("#found li").last.click()
    reader.tab.wait_for_url("**/lucid/0000.html")


def test_the_gallery_is_filtered_by_word_kind_purity_and_frequency(reader):
    reader.open("lucid/concepts.html")
    everything = reader.texts(".card h2")
    assert len(everything) == 6
    reader.tab.select_option("[name=kind]", "colour")
    assert sorted(reader.texts(".card h2")) == ["<em>red</em>", "blue"]
    assert reader.tab.inner_text("#count") == "2 of 6 latents"
    reader.tab.fill("#find", "blue")
    assert reader.texts(".card h2") == ["blue"]
    assert reader.address == "lucid/concepts.html#q=blue&kind=colour"
    reader.tab.fill("#find", "nowhere")
    assert reader.texts(".card h2") == []
    assert reader.tab.is_visible("#none")
    reader.tab.click("#clear")
    assert reader.texts(".card h2") == everything
    reader.tab.select_option("[name=vision]", "0.01-0.1")
    rare = reader.texts(".card h2")
    reader.tab.select_option("[name=vision]", "0.1-1")
    assert sorted(rare + reader.texts(".card h2")) == sorted(everything)
    assert 0 < len(rare) < 6
    reader.tab.select_option("[name=vision]", "")
    reader.tab.select_option("[name=sort]", "title")
    assert reader.texts(".card h2")[:2] == ["<em>red</em>", "blue"]


def test_a_filtered_gallery_can_be_linked_to(reader):
    reader.open("lucid/concepts.html#kind=noun&sort=title&purity=50")
    assert reader.texts(".card h2") == ["boat", "cat"]
    assert reader.tab.input_value("[name=kind]") == "noun"
    assert reader.tab.inner_text("output") == "50"


def test_keys_turn_pages_hide_heat_and_list_themselves(reader):
    reader.open("lucid/0000.html")
    heat = reader.tab.locator(".pictures .heat").first
    following = reader.tab.get_attribute("[rel=next]", "href")
    reader.press("h")
    assert heat.evaluate("heat => getComputedStyle(heat).opacity") == "0"
    reader.press("h")
    assert heat.evaluate("heat => getComputedStyle(heat).opacity") != "0"
    reader.press("?")
    assert reader.tab.is_visible("dialog")
    reader.press("Escape")
    assert not reader.tab.is_visible("dialog")
    reader.press("ArrowRight")
    reader.tab.wait_for_url(f"**/{following.removeprefix('../')}")
    reader.press("ArrowLeft")
    reader.tab.wait_for_url("**/lucid/0000.html")
    reader.press("Tab")
    assert reader.tab.evaluate("document.activeElement.className") == "skip"


def test_light_and_dark_follow_the_system_until_a_reader_chooses(reader):
    def brightness() -> float:
        colour = reader.tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    reader.open("index.html", scheme="dark")
    dark = brightness()
    reader.open("index.html", scheme="light")
    light = brightness()
    assert dark < 150
    assert light > 600
    reader.tab.click("#theme")
    assert brightness() == dark
    reader.open("lucid/0001.html", scheme="light")
    assert brightness() == dark
    reader.press("t")
    assert brightness() == light


def test_choosing_a_word_paints_where_every_variant_sends_it(reader):
    reader.open("compare.html")
    section = reader.tab.locator(".specimen").first
    maps = json.loads(section.locator(".variants").get_attribute("data-maps"))
    section.locator("button").last.click()
    number = section.locator("button").count() - 1
    assert section.locator("[aria-pressed=true]").count() == 1
    assert reader.address == f"compare.html#{section.get_attribute('id')}.{number}"
    chosen = reader.address
    painted = section.locator("figure[data-variant=lucid] .heat").get_attribute("src")
    assert steps_of(reader, painted) == maps["lucid"][number]
    frame = section.locator("figure[data-variant=lucid] .frame")
    whole, box = frame.bounding_box(), frame.locator(".peak").bounding_box()
    column, row = (round(4 * (box[at] - whole[at]) / whole["width"]) for at in ("x", "y"))
    assert 4 * row + column == maps["lucid"][number].index("W")
    assert box["width"] == pytest.approx(whole["width"] / 4, abs=1)
    reader.open("compare.html")
    reader.open(chosen)
    assert section.locator("button").last.get_attribute("aria-pressed") == "true"


def steps_of(reader: Reader, source: str) -> str:
    """A painted heat map as the digits it was painted from."""
    import base64
    import io

    import numpy as np
    from PIL import Image

    from pipeline.report.heat import DIGITS, SCALE

    image = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    colours = ("#{:02x}{:02x}{:02x}".format(*pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist())
    return "".join(DIGITS[SCALE.index(colour)] for colour in colours)
