"""A name in a cache leads to a picture below the data set's root or nowhere: the cache may be a stranger's."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.datasets.pictures import UnusableImageError
from pipeline.datasets.sample_pictures import read_sample_picture
from pipeline.report.pictures import PictureShelf


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set with one picture, beside a picture that is none of its business."""
    root = tmp_path / "data"
    (root / "val").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(root / "val/a..b.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "secret.png")
    return root


def test_a_picture_below_the_root_is_read_also_through_the_owners_links(root: Path, tmp_path: Path) -> None:
    (root / "linked").symlink_to(tmp_path)
    for name in ("val/a..b.png", "val//./a..b.png", "linked/secret.png"):
        assert read_sample_picture(root, name, (8, 8)).size == (8, 8)


HOSTILE = [
    "../secret.png",
    "val/../../secret.png",
    "val/..",
    "..",
    "",
    ".",
    "/etc/passwd",
    "//etc/passwd",
    "val/a\0.png",
    "\0",
    "a" * 3000,
    "val/" * 2000 + "a.png",
    "val",
    "\x1b[31m\n" * 30,
]


@pytest.mark.parametrize("name", [*HOSTILE, "{absolute}"], ids=lambda name: repr(name)[:30])
def test_a_name_that_leads_elsewhere_is_refused_in_one_short_line(
    root: Path, tmp_path: Path, name: str
) -> None:
    name = name.replace("{absolute}", str(tmp_path / "secret.png"))
    if name == "\x1b[31m\n" * 30:
        (root / name).write_text("no picture")
    with pytest.raises(UnusableImageError) as refused:
        read_sample_picture(root, name, (8, 8))
    assert refused.value.reason.isprintable()
    assert len(refused.value.reason) < 400
    assert len(str(refused.value)) < 5000


@pytest.mark.parametrize("size", [(None, None), (8, None), (0, 0), (-8, -8), (8, 0)])
def test_a_size_that_no_picture_has_is_refused(root: Path, size: tuple[int, int]) -> None:
    with pytest.raises(UnusableImageError, match="image size is annotated as"):
        read_sample_picture(root, "val/a..b.png", size)


@pytest.mark.parametrize("name", HOSTILE[:-1], ids=lambda name: repr(name)[:30])
def test_the_report_shows_a_crossed_field_in_its_place_and_counts_it(
    root: Path, tmp_path: Path, name: str
) -> None:
    shelf = PictureShelf(tmp_path / "report", root, 64, 80)
    picture = shelf.place("../val", name, (8, 8), (4, 4), "squash")
    assert list(shelf.unusable) == [("../val", name)]
    written = list((tmp_path / "report").rglob("*.webp"))
    assert written == [tmp_path / "report" / picture.source]
    with Image.open(written[0]) as shown:
        assert shown.getpixel((32, 5)) == pytest.approx((128, 128, 128), abs=9)
