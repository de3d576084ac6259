"""How an operation becomes an operator of torch, in the namespace `concord`."""

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload


def define_operator(
    name: str,
    signature: str,
    function: Callable[..., Any],
    empty: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., Any] | None = None,
) -> OpOverload:
    """Define `concord::NAME` for all devices and hand it out; what compiles or records a step sees one operation.

    Not by `torch.library.custom_op`: its first call imports torch's compiler, a second of every training's start.

    Args:
        name: of the operator.
        signature: in torch's schema language, without the name.
        function: computes it.
        empty: makes results of the same shapes and types, from tensors without content.
        backward: as in `torch.library.register_autograd`, as is `setup_context`; without it there is no gradient.
        setup_context: keeps what `backward` needs.
    """
    qualified = f"concord::{name}"
    torch.library.define(qualified, signature)
    torch.library.impl(qualified, "default", function)
    torch.library.register_fake(qualified, empty)
    if backward is not None:
        torch.library.register_autograd(qualified, backward, setup_context=setup_context)
    overload: OpOverload = getattr(torch.ops.concord, name).default  # calling it looks for no overload
    return overload
