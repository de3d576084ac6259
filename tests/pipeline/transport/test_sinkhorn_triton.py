"""Sinkhorn's fused kernels are right in Triton's interpreter (on a GPU: on the GPU), and compile for a GPU."""

import sys
from pathlib import Path

import pytest
import torch

from pipeline.sparse.availability import triton_reason
from pipeline.transport.sinkhorn import sinkhorn
from tests.processes.alone import run_alone

FOLDER = Path(__file__).parent

COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pipeline.transport import sinkhorn_triton

for kernel in (sinkhorn_triton._solve_kernel, sinkhorn_triton._differentiate_kernel):
    constants = {name: size for name, size in (("ROWS", 256), ("COLUMNS", 16)) if name in kernel.arg_names}
    numbers = {"rows", "columns", "iterations"}
    types = {
        name: "constexpr" if name in constants
        else "*u8" if name == "valid"
        else "fp32" if name == "epsilon"
        else "i32" if name in numbers or name.endswith(("_pair", "_row", "_column"))
        else "*fp32"
        for name in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=types, constexprs=constants)
    assert compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["cubin"]
"""


def test_the_kernels_agree_with_their_eager_twin() -> None:
    pytest.importorskip("triton")
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / "interpreted_sinkhorn.py"))
    run_alone(*command, TRITON_INTERPRET=str(int(not torch.cuda.is_available())))


def test_the_kernels_compile_for_a_hopper_gpu() -> None:
    pytest.importorskip("triton")
    run_alone("-c", COMPILE, TRITON_INTERPRET="0")


def test_sinkhorn_works_where_triton_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "pipeline.transport.sinkhorn_triton", raising=False)
    triton_reason.cache_clear()
    mass = torch.full((1, 2), 0.5)
    plan = sinkhorn(torch.rand(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), mass, mass, 0.1, 3)
    assert torch.allclose(plan.sum(), torch.ones(()))
    assert triton_reason(torch.device("cpu")) == "triton is not installed"
    assert "pipeline.transport.sinkhorn_triton" not in sys.modules
    triton_reason.cache_clear()
