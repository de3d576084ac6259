"""Reading one array of activations together with whatever decoding its rows needs."""

import functools
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy.typing import NDArray

from cache.format.storage import Calibration, StoredRows, as_tensor
from cache.reading.chunk_buffer import COPIED_VALUES
from cache.reading.sharded_array import ShardedArray
from cache.reading.together import Task

_TASK_VALUES = 1 << 21
"""int8 values that a thread reads and decodes at a time."""


class StoredArray:
    """One array of activations of a cache, for any number of threads.

    The mean and standard deviation of every shard that was read from are kept: 8 bytes for each channel and shard.
    """

    def __init__(self, name: str, arrays: Mapping[str, ShardedArray]) -> None:
        """Refer to the array `name` among all `arrays` of the cache."""
        self._array = arrays[name]
        self._arrays = arrays
        self._side = name.split("/", maxsplit=1)[0]
        self._moments: dict[int, NDArray[np.float32]] = {}

    @property
    def scratch_bytes(self) -> int:
        """Bytes that each thread needs for itself to decode."""
        decoding = max(_TASK_VALUES, self._array.layout.row_bytes) + 16 * COPIED_VALUES
        return decoding if self._array.layout.dtype == np.int8 else 0

    def tasks(self, rows: Int[np.ndarray, "row"], out: Float32[np.ndarray, "row ..."]) -> list[Task]:
        """The work of reading and decoding `rows` into contiguous `out`; see `ShardedArray.tasks`."""
        if self._array.layout.dtype != np.int8:
            return self._array.tasks(rows, out)
        size = max(1, _TASK_VALUES // self._array.layout.row_bytes)
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        return [functools.partial(self._decode, rows[part], out[part]) for part in parts]

    def calibration(self, rows: Int[np.ndarray, "row"]) -> Calibration | None:
        """What decoding int8 rows takes, in their order; None for all other dtypes. Raises as `tasks`."""
        return self._calibration(rows) if self._array.layout.dtype == np.int8 else None

    def _calibration(self, rows: NDArray[np.int64]) -> Calibration:
        shards, shard = np.unique(rows // self._array.layout.shard_rows, return_inverse=True)
        mean, std = self._channel_moments(shards)
        scale = as_tensor(self._arrays[f"{self._side}/token_scale"].read_rows(rows))
        return Calibration(scale, as_tensor(shard.astype(np.int32)), mean, std)

    def _decode(self, rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Read int8 rows and decode them, a few tokens at a time."""
        calibration = self._calibration(rows)
        channels = out.shape[-1]
        values = as_tensor(self._array.read_rows(rows)).view(-1, channels)
        scale = calibration.token_scale.reshape(-1)
        shard = calibration.shard.repeat_interleave(len(scale) // max(1, len(rows)))
        tokens = StoredRows(values, calibration._replace(token_scale=scale, shard=shard))
        target = torch.from_numpy(out).view(-1, channels)
        size = max(1, COPIED_VALUES // channels)
        for start in range(0, len(values), size):
            part = slice(start, start + size)
            target[part] = tokens.take(part).decoded()

    def _channel_moments(self, shards: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of every channel, float32 [shard, channel] each."""
        unknown = np.array([shard for shard in shards.tolist() if shard not in self._moments], np.int64)
        names = (f"{self._side}/channel_mean", f"{self._side}/channel_std")
        found = np.stack([self._arrays[name].read_rows(unknown) for name in names], axis=1)
        self._moments.update(zip(unknown.tolist(), found, strict=True))
        moments = np.stack([self._moments[shard] for shard in shards.tolist()], axis=1)
        return as_tensor(moments[0]), as_tensor(moments[1])
