"""Compiles every kernel for a GPU that need not be here: the interpreter accepts what the compiler may not.

Started by `test_kernels.py` in a process of its own, where Triton does not interpret.
"""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.sparse import products_triton, top_k_triton

WIDTHS = {"ENTRIES": 8, "CHANNELS": 64, "PART": 512, "HEAD": 128, "TAIL": 32, "ROWS": 4, "PLACES": 16}
WHOLE = {"indices", "entries", "bounds", "part_starts", "part_latents", "ranked"}
READ = {"values", "table", "rows", "scores"}
WRITTEN = {"out", "parts"}


def signature(kernel: triton.JITFunction) -> dict[str, str]:
    types = dict.fromkeys(WHOLE, "*i64") | dict.fromkeys(READ, "*bf16") | dict.fromkeys(WRITTEN, "*fp32")
    return {name: "constexpr" if name in WIDTHS else types.get(name, "i32") for name in kernel.arg_names}


def compile_all() -> None:
    kernels = [
        kernel
        for module in (products_triton, top_k_triton)
        for name, kernel in vars(module).items()
        if name.endswith("_kernel")
    ]
    assert len(kernels) == 6
    for kernel in kernels:
        constants = {name: WIDTHS[name] for name in kernel.arg_names if name in WIDTHS}
        source = ASTSource(fn=kernel, signature=signature(kernel), constexprs=constants)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]


if __name__ == "__main__":
    compile_all()
