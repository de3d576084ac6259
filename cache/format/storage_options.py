"""How activations may be stored, by name; apart from what the names mean, since options are read without torch."""

from collections.abc import Mapping
from typing import Literal, get_args

StorageDtype = Literal["float16", "bfloat16", "float32", "int8"]
"""The numbers that stand for activations."""

STORAGE_DTYPES: tuple[StorageDtype, ...] = get_args(StorageDtype)

StorageCodec = Literal["none", "zstd", "pcodec", "bitround"]
"""What makes these numbers of tokens smaller."""

CODEC_DTYPES: Mapping[StorageCodec, tuple[StorageDtype, ...]] = {
    "none": STORAGE_DTYPES,
    "zstd": STORAGE_DTYPES,
    "pcodec": ("float16", "bfloat16", "float32"),
    "bitround": ("float16", "float32"),
}
"""The dtypes that each codec takes."""


def refuse_codec(codec: StorageCodec, dtype: StorageDtype) -> None:
    """Check that a codec takes a storage dtype. Raises ValueError, naming those that do."""
    if dtype not in CODEC_DTYPES[codec]:
        fit = ", ".join(name for name, dtypes in CODEC_DTYPES.items() if dtype in dtypes)
        raise ValueError(f"codec {codec!r} does not take {dtype}; codecs that do are {fit}")
