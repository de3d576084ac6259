"""The names of the storage dtypes; apart from the arrays they name, since options are read without torch."""

from typing import Literal, get_args

StorageDtype = Literal["float16", "bfloat16", "float32", "int8"]

STORAGE_DTYPES: tuple[StorageDtype, ...] = get_args(StorageDtype)
