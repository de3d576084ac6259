import pytest

from benchmarks.storage_page import CODECS, PAGE, RESULT, codec_page, storage_page, whole_page

RUNS = [
    {"seed": 0, "r2_vision": 0.5, "r2_text": 0.7, "point_at_1": 0.25},
    {"seed": 1, "r2_vision": 0.6, "r2_text": 0.7, "point_at_1": 0.35},
]
LOST = {"all": 3.6e-5, "worst": 4.2e-4}


def measured(size, lost):
    return {"bytes_per_pair": size, "unexplained_variance": {"vision": lost, "text": lost}, "runs": RUNS}


def test_the_page_has_a_row_for_each_dtype_with_mean_and_deviation():
    result = {
        "dtypes": {
            "float32": measured(107416.4, {"all": 0.0, "worst": 0.0}),
            "int8": measured(27892.4, LOST),
        },
        "conditions": {
            "variant": "lucid", "epochs": 4, "pairs": 6000, "vision_channels": 128, "text_channels": 128,
            "patches": 196, "backbone": "tiny",
        },
        "machine": {"processor": "any", "cores": 2, "threads": 1, "seconds": 60},
        "versions": {"torch": "2"},
        "command": "python -m benchmarks.storage",
    }  # fmt: skip
    rows = [line for line in storage_page(result).splitlines() if line.startswith("| `")]
    quality = "0.5500 ± 0.0707 | 0.7000 ± 0.0000 | 0.3000 ± 0.0707 |"
    assert rows == [
        f"| `float32` | 107,416 | 0 | 0 | 0 | 0 | {quality}",
        f"| `int8` | 27,892 | 3.6e-05 | 4.2e-04 | 3.6e-05 | 4.2e-04 | {quality}",
    ]


def test_the_page_has_a_row_for_each_codec_and_dtype():
    measured = {
        "codec": "zstd",
        "dtype": "float16",
        "bytes_per_pair": 51234.5,
        "encode": 120,
        "decode": 345.6,
    }
    lost = {"unexplained_variance": {"vision": 0.0, "text": 2e-5}}
    result = {
        "codecs": [{**measured, "stream": 1234, **lost}, {**measured, "codec": "none", **lost}],
        "conditions": {"pairs": 600, "rounds": 5, "load_average_at_end": 1.5},
        "machine": {"processor": "any", "cores": 2},
        "versions": {"zarr": "3"},
        "command": "python -m benchmarks.codecs",
    }
    rows = [line for line in codec_page(result).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `zstd` | `float16` | 51,234 | 120 | 346 | 1,234 | 0 | 2.0e-05 |",
        "| `none` | `float16` | 51,234 | 120 | 346 |  | 0 | 2.0e-05 |",
    ]


@pytest.mark.skipif(not (RESULT.exists() and CODECS.exists()), reason="the benchmarks have not been run")
def test_the_storage_page_is_what_the_results_say():
    assert PAGE.read_text(encoding="utf-8") == whole_page()
