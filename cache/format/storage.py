"""How activations are stored: four dtypes, and the one way back to float32."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int, Int32, Shaped
from numpy.typing import NDArray
from torch import Tensor

from cache.format.storage_options import StorageDtype

TOKEN_DTYPE: Mapping[StorageDtype, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "int8": np.dtype("i1"),
}
"""Dtype of the tokens' array by storage dtype. numpy has no bfloat16, so its bits are kept as uint16."""

POOLED_DTYPE: Mapping[StorageDtype, np.dtype[Any]] = {**TOKEN_DTYPE, "int8": np.dtype("<f2")}
"""Dtype of the pooled embeddings' array by storage dtype; there are too few of them to be worth quantising."""

LARGEST: Mapping[StorageDtype, float] = {
    "float16": 65504.0,
    "bfloat16": float(torch.finfo(torch.bfloat16).max),
    "float32": float(torch.finfo(torch.float32).max),
    "int8": 2.0**126,
}
"""Largest value by storage dtype. For int8, values up to this one differ by what float32 can still hold."""


def clipped(values: Float[np.ndarray, "..."], largest: float) -> tuple[Float[np.ndarray, "..."], int]:
    """Finite values with those of a larger magnitude than `largest` replaced by it, and how many they were."""
    if _cannot_exceed(values, largest) or -largest <= values.min() <= values.max() <= largest:
        return values, 0
    return np.clip(values, -largest, largest), int(np.count_nonzero(np.abs(values) > largest))


def _cannot_exceed(values: NDArray[np.floating], largest: float) -> bool:
    return values.size == 0 or float(np.finfo(values.dtype).max) <= largest


def rounded(values: Float[np.ndarray, "..."], dtype: StorageDtype) -> NDArray[np.generic]:
    """Values in range as `float16`, `float32`, or the bits of `bfloat16`: the nearest, of two the even one.

    Values wider than float32 become float32 before they become bfloat16.
    """
    if dtype == "float16" and values.dtype == np.float32:
        return _float32(values).half().numpy()  # to the same bits as numpy, in a third of the time
    if dtype != "bfloat16":
        return values.astype(dtype, copy=False)
    return _float32(values).bfloat16().view(torch.int16).numpy().view(np.uint16)


def _float32(values: Float[np.ndarray, "..."]) -> Float32[Tensor, "..."]:
    return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))


class Calibration(NamedTuple):
    """What int8 tokens are decoded with; rows of several shards may be mixed.

    Attributes:
        token_scale: float16 [row] or [row, patch], of every token; 0 marks a token of zeros.
        shard: int32 [row], the shard of every row, as a row of `mean` and `std`.
        mean: float32 [shard, channel].
        std: float32 [shard, channel].
    """

    token_scale: Float16[Tensor, "row ..."]
    shard: Int32[Tensor, "row"]
    mean: Float32[Tensor, "shard channel"]
    std: Float32[Tensor, "shard channel"]


class StoredRows(NamedTuple):
    """Rows of an array of activations as they are stored, on any device, with what decoding them needs.

    Attributes:
        values: float16, bfloat16, float32 or int8 [row, ..., channel].
        calibration: of int8 values; None for all others.
    """

    values: Shaped[Tensor, "row ..."]
    calibration: Calibration | None = None

    def take(self, rows: Int[Tensor, "taken"] | slice) -> Self:
        """Some of the rows, gathered where they lie, still as stored."""
        if self.calibration is None:
            return type(self)(self.values[rows])
        scale, shard, mean, std = self.calibration
        return type(self)(self.values[rows], Calibration(scale[rows], shard[rows], mean, std))

    def placed(self, place: Callable[[Tensor], Tensor]) -> Self:
        """The same rows with every tensor moved by `place`."""
        calibration = self.calibration and Calibration(*map(place, self.calibration))
        return type(self)(place(self.values), calibration)

    def decoded(self, out: Float32[Tensor, "row ..."] | None = None) -> Float32[Tensor, "row ..."]:
        """The values in float32, on the same device, to the same bits everywhere; written into `out` if given.

        For int8 that is `value * token_scale * std + mean`, each operation rounded to float32 from left to right,
        and zeros where `token_scale` is 0. It is elementwise, so rows may be gathered before.
        """
        values = self.values.float() if out is None else out.copy_(self.values)
        if self.calibration is None:
            return values
        scale, shard, mean, std = self.calibration
        per_row = (len(shard), *[1] * (values.ndim - 2), values.shape[-1])
        values.mul_(scale.float().unsqueeze(-1))
        values.mul_(std.index_select(0, shard).view(per_row))
        values.add_(mean.index_select(0, shard).view(per_row))
        return values.masked_fill_((scale == 0).unsqueeze(-1), 0.0)


def as_tensor(values: NDArray[Any]) -> Tensor:
    """Stored values as a tensor on the same memory; uint16 holds the bits of bfloat16."""
    values = np.require(values, requirements=["C", "W"])
    if values.dtype == np.uint16:
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(values)
