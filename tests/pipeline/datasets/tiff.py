"""Grey TIFF files of kinds that Pillow reads and does not write."""

import struct

import numpy as np


def grey_tiff(values, *, white_is_zero=False, bits=None, sample_format=1, byte_order="<", extra=()) -> bytes:
    """An uncompressed grey TIFF of one strip; 12 bits are packed, two values in three bytes."""
    height, width = values.shape
    bits = bits or values.dtype.itemsize * 8
    if bits == 12:
        pairs = values.astype(np.uint16).reshape(height, -1, 2)
        first, second = pairs[..., 0], pairs[..., 1]
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
        strip = packed.astype(np.uint8).tobytes()
    else:
        strip = values.astype(values.dtype.newbyteorder(byte_order)).tobytes()
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, 0 if white_is_zero else 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(strip)),
        (339, sample_format),
        *extra,
    ]
    entries = b"".join(struct.pack(f"{byte_order}HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    magic = b"II*\0" if byte_order == "<" else b"MM\0*"
    start = struct.pack(f"{byte_order}I", 8 + len(strip))
    return magic + start + strip + struct.pack(f"{byte_order}H", len(tags)) + entries + bytes(4)
