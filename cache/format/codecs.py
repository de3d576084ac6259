"""How a chunk of tokens becomes bytes: the codecs of numcodecs that a cache can use, and their names in Zarr.

A codec is one entry of `CODECS`, and a name in `cache.format.storage_options`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numcodecs.bitround import BitRound
from numcodecs.pcodec import PCodec
from numcodecs.zstd import Zstd
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import BytesCodec, ZstdCodec, numcodecs

from cache.format.storage_options import StorageCodec

_ZSTD_LEVEL = 1
"""Higher levels make activations no smaller, only slower."""

_PCODEC: Mapping[str, Any] = {"level": 6, "mode_spec": "classic"}
"""Levels above take twice as long and save a hundredth more. Activations are no multiples, so none are looked for."""

KEPT_BITS = 6
"""Bits of the mantissa that bit-rounding keeps. What it loses of the variance is less than what int8 loses."""


@dataclass(frozen=True)
class Codec:
    """A codec: what numcodecs calls it, and what Zarr.

    Attributes:
        compressor: of numcodecs; None leaves chunks as they are.
        takes_values: whether the compressor takes numbers, and not just bytes.
        kept_bits: bits of the mantissa to which values are rounded before; None rounds nothing.
        serializer: makes the Zarr codec that turns numbers into bytes.
        compressors: the Zarr codecs that turn these into others.
    """

    compressor: Any = None
    takes_values: bool = False
    kept_bits: int | None = None
    serializer: Callable[[], ArrayBytesCodec] = BytesCodec
    compressors: tuple[BytesBytesCodec, ...] = ()

    def rounded(self, values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """Values as they are stored: float16 or float32 rounded to `kept_bits`, the nearest, of two the even one."""
        if self.kept_bits is None:
            return values
        rounded: NDArray[Any] = BitRound(self.kept_bits).encode(values).view(values.dtype)
        return rounded

    def largest(self, limit: float) -> float:
        """The largest value that does not become infinite when it is rounded, of a dtype whose largest is `limit`."""
        if self.kept_bits is None:
            return limit
        _, exponent = np.frexp(limit)
        return float(np.ldexp(1 - 2.0 ** -(self.kept_bits + 1), exponent))

    def encode(self, chunk: UInt8[np.ndarray, "byte"], dtype: np.dtype[Any]) -> bytes:
        """The bytes that a chunk of values of `dtype` becomes, without their checksum."""
        encoded: bytes = self.compressor.encode(chunk.view(dtype) if self.takes_values else chunk)
        return encoded

    def decode(
        self, encoded: UInt8[np.ndarray, "_"], chunk: UInt8[np.ndarray, "byte"], dtype: np.dtype[Any]
    ) -> None:
        """Fill a chunk from what `encode` made of it.

        Raises:
            ValueError, RuntimeError: it is something else.
        """
        chunk.fill(0)  # what a stranger encoded may be less than a chunk
        self.compressor.decode(encoded, chunk.view(dtype) if self.takes_values else chunk)


_ZSTD: Mapping[str, Any] = {
    "compressor": Zstd(level=_ZSTD_LEVEL),
    "compressors": (ZstdCodec(level=_ZSTD_LEVEL),),
}

CODECS: Mapping[StorageCodec, Codec] = {
    "none": Codec(),
    "zstd": Codec(**_ZSTD),
    "pcodec": Codec(PCodec(**_PCODEC), takes_values=True, serializer=lambda: numcodecs.PCodec(**_PCODEC)),
    "bitround": Codec(**_ZSTD, kept_bits=KEPT_BITS),
}
"""By name. Bit-rounding makes numbers that zstd finds more to save in, and so is a codec with it only."""


def largest_encoded(size: int) -> int:
    """Most bytes that `size` bytes of values become."""
    return size + size // 64 + 256
