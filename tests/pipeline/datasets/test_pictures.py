"""Reading image files: every kind of picture, of damage, and of thing that is no picture."""

import importlib.util
import io
import os
import resource
import socket
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import pictures
from pipeline.datasets.decoding import decode
from pipeline.datasets.pairs import ImageRecord
from pipeline.datasets.pictures import PIXEL_LIMIT, UnusableImageError, read_picture, read_upright
from pipeline.errors import DatasetError

from .tiff import grey_tiff

RAMP = np.arange(64 * 64, dtype=np.float64).reshape(64, 64) / (64 * 64 - 1)
"""Grey from black (0) to white (1)."""


def saved(picture, format_, **options):
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def pgm(largest, kind=b"P5"):
    values = np.rint(RAMP * largest).astype(int)
    header = b"%s\n64 64\n%d\n" % (kind, largest)
    if kind == b"P2":
        return header + b" ".join(b"%d" % value for value in values.flat)
    return header + values.astype(np.uint8 if largest < 256 else ">u2").tobytes()


def png(width, height, bits, colour_type, rows):
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def sixteen_bits():
    return Image.fromarray(np.rint(RAMP * 65535).astype(np.uint16))


def sixteen_bit_png(values: np.ndarray) -> bytes:
    """PNG of colours, [row, column, band], of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, {2: 4, 3: 2, 4: 6}[values.shape[2]], rows)


def endless_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = saved(Image.new("RGB", (16, 16), "red"), "JPEG", progressive=True)
    last = content.rfind(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


RAMPS = {
    "png": lambda: saved(sixteen_bits(), "PNG"),
    "png with transparency": lambda: saved(sixteen_bits(), "PNG", transparency=7),
    "jpeg 2000": lambda: saved(sixteen_bits(), "JPEG2000", irreversible=False),
    "tiff": lambda: saved(sixteen_bits(), "TIFF"),
    "tiff, deflated": lambda: saved(sixteen_bits(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff, big endian": lambda: grey_tiff(np.rint(RAMP * 65535).astype(np.uint16), byte_order=">"),
    "tiff, white is zero": lambda: grey_tiff(
        np.rint((1 - RAMP) * 65535).astype(np.uint16), white_is_zero=True
    ),
    "tiff, 12 bits": lambda: grey_tiff(np.rint(RAMP * 4095), bits=12),
    "tiff, floats": lambda: grey_tiff(RAMP.astype(np.float32), sample_format=3),
    "tiff, floats, big endian": lambda: grey_tiff(RAMP.astype(np.float32), sample_format=3, byte_order=">"),
    "tiff, floats, white is zero": lambda: grey_tiff(
        (1 - RAMP).astype(np.float32), sample_format=3, white_is_zero=True
    ),
    "pfm": lambda: saved(Image.fromarray(RAMP.astype(np.float32)), "PPM"),
    **{f"pgm to {largest}": lambda largest=largest: pgm(largest) for largest in (100, 255, 300, 1023, 65535)},
    **{
        f"plain pgm to {largest}": lambda largest=largest: pgm(largest, b"P2")
        for largest in (100, 1000, 65535)
    },
}


@pytest.mark.parametrize("kind", RAMPS)
def test_grey_of_any_depth_is_scaled_from_black_to_white(tmp_path, kind):
    (tmp_path / "picture").write_bytes(RAMPS[kind]())
    read = np.asarray(read_picture(tmp_path / "picture", (64, 64)), dtype=float)
    largest = 100 if kind.endswith(" 100") else 255
    expected = np.rint(np.rint(RAMP * largest) / largest * 255)
    assert np.abs(read - expected[..., None]).max() <= 1
    np.testing.assert_array_equal(read_upright(tmp_path / "picture"), read)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_of_sixteen_bits_keep_their_high_bytes(tmp_path, mode):
    bands = {"RGB": 3, "RGBA": 4, "LA": 2}[mode]
    colours = np.random.default_rng(0).integers(0, 65536, (8, 8, bands)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    (tmp_path / "picture.png").write_bytes(png(8, 8, 16, {"RGB": 2, "RGBA": 6, "LA": 4}[mode], rows))
    read = np.asarray(read_picture(tmp_path / "picture.png", (8, 8)))
    np.testing.assert_array_equal(
        read, (colours[..., :3] if bands > 2 else colours[..., :1]) // 256 + 0 * read
    )


UNKNOWN_RANGES = {
    "32 bits": (grey_tiff((RAMP * 70000).astype(np.uint32)), "its values have 32 bits"),
    "signed 32 bits": (saved(Image.fromarray((RAMP * 70000).astype(np.int32)), "TIFF"), "values are signed"),
    "signed 16 bits": (grey_tiff((RAMP * 70000 - 35000).astype(np.int16), sample_format=2), "are signed"),
    "signed 8 bits": (grey_tiff((RAMP * 254 - 127).astype(np.int8), sample_format=2), "are signed"),
    "floats to 255": (grey_tiff((RAMP * 255).astype(np.float32), sample_format=3), "from 0.0 to 255.0, not"),
    "negative floats": (grey_tiff((RAMP - 0.5).astype(np.float32), sample_format=3), "from -0.5 to 0.5, not"),
    "not numbers": (grey_tiff(np.where(RAMP < 0.9, RAMP, np.nan).astype(np.float32), sample_format=3), "nan"),
    "infinite": (saved(Image.fromarray(np.where(RAMP < 0.9, RAMP, np.inf).astype(np.float32)), "PPM"), "inf"),
    **{
        f"8 bits in 16, {kind}": (content(np.rint(RAMP * 255)), "step of 8 bits")
        for kind, content in {
            "png": lambda values: saved(Image.fromarray(values.astype(np.uint16)), "PNG"),
            "jpeg 2000": lambda values: saved(Image.fromarray(values.astype(np.uint16)), "JPEG2000"),
            "tiff": lambda values: grey_tiff(values.astype(np.uint16)),
            "rgb": lambda values: sixteen_bit_png(np.stack([values, values[::-1], values], axis=-1)),
            "grey and alpha": lambda values: sixteen_bit_png(np.stack([values, 0 * values + 65535], axis=-1)),
            "transparent": lambda values: sixteen_bit_png(
                np.stack([*[values] * 3, 0 * values + 65535], axis=-1)
            ),
            "ppm": lambda values: b"P6 %d 1 65535\n" % (values.size // 3) + values.astype(">u2").tobytes(),
        }.items()
    },
    "above the largest": (b"P5 2 1 1000\n" + struct.pack(">HH", 999, 1001), "above the largest"),
    "above the largest byte": (b"P6 1 1 100\n" + bytes([1, 101, 3]), "above the largest"),
}


@pytest.mark.parametrize("kind", UNKNOWN_RANGES)
def test_a_picture_whose_range_of_values_is_not_known_is_unusable(tmp_path, kind):
    content, complaint = UNKNOWN_RANGES[kind]
    (tmp_path / "picture").write_bytes(content)
    with pytest.raises(UnusableImageError) as error:
        read_upright(tmp_path / "picture")
    assert error.value.reason.startswith("image cannot be decoded: it") and complaint in error.value.reason


@pytest.mark.parametrize("kind", ["png", "ppm to 1000", "ppm to 100"])
def test_colours_of_other_depths_are_scaled_and_those_of_one_tone_kept(tmp_path, kind):
    largest = 65535 if kind == "png" else int(kind.split()[-1])
    values = np.random.default_rng(0).integers(0, largest + 1, (8, 8, 3))
    for colours in (values, 0 * values + values[0, 0]):
        data = colours.astype(">u2" if largest > 255 else np.uint8).tobytes()
        content = sixteen_bit_png(colours) if kind == "png" else b"P6 8 8 %d\n" % largest + data
        (tmp_path / "picture").write_bytes(content)
        read = np.asarray(read_upright(tmp_path / "picture"), dtype=float)
        assert np.abs(read - colours / largest * 255).max() < (1 if kind == "png" else 0.501)


ENDLESS = {
    "scans": (lambda: endless_scans(200), "it has 2", "scans"),
    "text": (
        lambda: b"P3 3000 3000 255\n" + b"1 " * 2**24,
        "it is written as text of 33554449 bytes",
        "limit",
    ),
    "pieces": (lambda: b"P6\n" + b"#\n" * 2**17 + b"1 1\n255\n123", "it is in too many pieces", "steps"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_picture_that_would_be_decoded_for_minutes_is_unusable(tmp_path, kind):
    content, *complaints = ENDLESS[kind]
    (tmp_path / "picture").write_bytes(content())
    with pytest.raises(UnusableImageError) as error:
        read_upright(tmp_path / "picture")
    assert all(complaint in error.value.reason for complaint in complaints)


def test_what_pillow_finds_odd_and_decodes_is_read_without_a_word(tmp_path):
    jpeg = saved(Image.new("RGB", (9, 7)), "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"  # announces more entries than it has
    (tmp_path / "odd.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        spec = importlib.util.spec_from_file_location("imported_anew", pictures.__file__)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert read_upright(tmp_path / "odd.jpg").size == (9, 7)
    assert not told


def test_modes_that_convert_in_two_steps_or_drop_transparency_are_read_without_a_word(tmp_path, recwarn):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 2), dtype=np.uint8)
    straight = saved(Image.fromarray(noise), "TIFF")
    tag, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    (tmp_path / "premultiplied.tif").write_bytes(straight.replace(tag, premultiplied))
    with Image.open(tmp_path / "premultiplied.tif") as file:
        assert file.mode == "La"
    assert read_upright(tmp_path / "premultiplied.tif").mode == "RGB"
    palette = Image.fromarray(noise[..., 0]).convert("P")
    palette.save(tmp_path / "palette.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_upright(tmp_path / "palette.png"), palette.convert("RGB"))
    assert not recwarn.list


@pytest.mark.parametrize(
    "content",
    [
        png(8193, 8192, 8, 2, bytes(1000)),
        png(12000, 12000, 8, 2, bytes(1000)),
        png(2**31 - 1, 2**31 - 1, 8, 2, bytes(1000)),
        b"P5 100000 100000 255\n",
        grey_tiff(np.zeros((8, 8), np.uint8), extra=[(322, 60000), (323, 60000), (324, 8), (325, 64)]),
    ],
    ids=["a row too many", "beyond a warning", "beyond an error", "pgm", "tile"],
)
def test_a_picture_of_too_many_pixels_is_unusable_before_memory_is_taken(tmp_path, content):
    (tmp_path / "picture").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnusableImageError, match="image too large: ") as error:
        read_upright(tmp_path / "picture")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"
    assert str(PIXEL_LIMIT) in error.value.reason or "exceeds limit" in error.value.reason


def test_a_file_of_too_many_bytes_is_unusable(tmp_path):
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnusableImageError, match="has 1099511627776 bytes, the limit is 268435456"):
        read_upright(tmp_path / "sparse.jpg")


def make_irregular(path, kind):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        folder = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link that leads to itself":
        path.symlink_to(path)


IRREGULAR = ["a folder", "a named pipe", "a socket", "a device", "a link that leads to itself"]


@pytest.mark.parametrize("kind", IRREGULAR)
def test_what_is_no_regular_file_is_unusable_and_never_waited_for(tmp_path, kind):
    make_irregular(tmp_path / "picture.jpg", kind)
    with pytest.raises(UnusableImageError) as error:
        read_upright(tmp_path / "picture.jpg")
    assert error.value.reason == f"image file cannot be used: is {kind}"


UNREADABLE_FORMATS = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "Windows metafile": bytes.fromhex("d7cdc69a") + bytes(100),
    "texture": b"DDS " + struct.pack("<I", 124) + bytes(120),
    "text": b"no picture",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", UNREADABLE_FORMATS)
def test_other_formats_are_not_tried(tmp_path, kind):
    (tmp_path / "picture.jpg").write_bytes(UNREADABLE_FORMATS[kind])
    with pytest.raises(UnusableImageError, match=r"not a picture, or of a kind that is not read .JPEG, PNG"):
        read_upright(tmp_path / "picture.jpg")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_however_a_file_is_damaged_it_is_read_or_unusable(tmp_path, format_):
    noise = np.random.default_rng(3).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), format_)
    (tmp_path / "picture").write_bytes(whole)
    assert read_upright(tmp_path / "picture").size == (24, 24)
    generator = np.random.default_rng(4)
    for _ in range(60):
        damaged = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for place in generator.integers(0, min(len(damaged), 400), generator.integers(0, 9)):
            damaged[place] = generator.integers(256)
        (tmp_path / "picture").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read_upright(tmp_path / "picture").mode == "RGB"
            except UnusableImageError as error:
                assert (
                    "\n" not in str(error) and "0x" not in error.reason and str(tmp_path) not in error.reason
                )


def test_too_few_handles_end_the_run_and_are_no_fault_of_the_picture(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    image = ImageRecord(1, "picture.png", 4, 4, (), (), None)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        with pytest.raises(DatasetError, match=r"picture.png: cannot be read: Too many open files") as error:
            decode(image, tmp_path, np.asarray)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not isinstance(error.value, UnusableImageError)


def test_threads_that_read_their_first_pictures_together_read_them(tmp_path):
    (tmp_path / "picture.avif").write_bytes(saved(Image.new("RGB", (8, 8), "red"), "AVIF"))
    read = []
    threads = [
        threading.Thread(target=lambda: read.append(read_upright(tmp_path / "picture.avif").size))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [(8, 8)] * 8
