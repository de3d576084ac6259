"""The kernels are right in Triton's interpreter (on a GPU: on the GPU), and compile for a GPU that is not here."""

from pathlib import Path

import pytest
import torch

from pipeline.sparse.availability import triton_reason
from tests.processes.alone import run_alone

FOLDER = Path(__file__).parent


def test_the_kernels_agree_with_the_eager_operations_and_with_float64() -> None:
    pytest.importorskip("triton")
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / "interpreted_kernels.py"))
    run_alone(*command, TRITON_INTERPRET="0" if triton_reason(torch.device("cuda")) is None else "1")


def test_the_kernels_compile_for_a_hopper_gpu() -> None:
    pytest.importorskip("triton")
    run_alone(str(FOLDER / "compiled_kernels.py"), TRITON_INTERPRET="0")


def test_where_kernels_cannot_run_the_reason_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    triton_reason.cache_clear()
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert triton_reason(torch.device("cpu")) == "the device is a CPU"
    assert "'meta'" in str(triton_reason(torch.device("meta")))
    triton_reason.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert triton_reason(torch.device("cpu")) == "triton is not installed"
    triton_reason.cache_clear()


@pytest.mark.parametrize(("capability", "usable"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_that_is_too_old_takes_the_eager_path(
    capability: tuple[int, int], usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton_reason.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "RTX 8000")
    reason = triton_reason(torch.device("cuda", 0))
    triton_reason.cache_clear()
    assert (reason is None) == usable
    assert usable or reason == "RTX 8000 has compute capability 7.5, the kernels need 8.0"


def test_naming_the_operators_starts_no_triton() -> None:
    run_alone(
        "-c",
        "import sys, pipeline.sparse.products, pipeline.sparse.top_k; assert 'triton' not in sys.modules",
    )
