"""Memory for batches."""

import math
import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

Allocate = Callable[[tuple[int, ...], torch.dtype], Tensor]
"""Makes an uninitialised tensor of a shape and dtype in host memory."""

_SMALLEST = 1 << 20
"""Bytes below which memory is left to the allocator, which keeps it anyway."""


def ordinary(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory as torch allocates it."""
    return torch.empty(shape, dtype=dtype)


def pinned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Page-locked memory, which a GPU fetches without waiting for the processor; torch recycles it."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


class RecycledBuffers:
    """Memory of tensors that nobody refers to any more, given to the tensors to come; an `Allocate`.

    The system clears memory before it hands it out, which for large batches takes as long as reading them. A tensor
    that is kept keeps its memory: only what has become garbage is used again. There is never more memory here than
    was in use at once.
    """

    def __init__(self) -> None:
        self._unused: deque[UInt8[np.ndarray, "byte"]] = deque()

    def __call__(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """See `Allocate`."""
        size = math.prod(shape) * dtype.itemsize
        if size < _SMALLEST:
            return ordinary(shape, dtype)
        # Captions make batches of slightly different sizes; what is not touched of a buffer takes no memory.
        memory = self._memory(1 << (size - 1).bit_length())
        used = memory[:size]
        weakref.finalize(used, self._unused.append, memory).atexit = False
        return torch.from_numpy(used).view(dtype).view(shape)

    def _memory(self, size: int) -> UInt8[np.ndarray, "byte"]:
        """An unused buffer of `size` bytes, or a new one in place of the oldest unused one."""
        for place, memory in enumerate(self._unused):
            if len(memory) == size:
                del self._unused[place]
                return memory
        if self._unused:
            self._unused.popleft()
        return np.empty(size, np.uint8)
