"""Keeping freed memory in the process of a command, for forward passes and training steps on a CPU."""

import ctypes

KEPT_BYTES = 1 << 30
"""Largest piece of memory that is kept, and most that lies unused at the end of the heap."""

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed, up to `KEPT_BYTES` at a time; for the whole process, and for good.

    By default glibc gives tensors of more than some MB back to the system as soon as they are freed. Every layer of a
    batch then gets its memory anew, a page fault for each 4 KB, which can take a quarter of a small model's forward
    pass or of a training step. In exchange the process holds on to its largest working set.

    Returns:
        Whether this system's malloc can be told so; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept, served = mallopt(_TRIM_THRESHOLD, KEPT_BYTES), mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
    return bool(kept and served)
