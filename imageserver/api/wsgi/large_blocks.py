"""Give large blocks of memory back to the system as soon as they are free.

glibc keeps in its heap what is as large as the largest block that was freed, up to 32 MiB: 100 requests at once, with
images of 3 MB, left a worker with 913 MiB that nothing used; now with 121.
"""

import contextlib
import ctypes
import sys

# Of malloc.h. Whoever sets it has a limit that stays.
MMAP_THRESHOLD = -3
LARGE_BYTES = 2**18


def return_when_free() -> None:
    """Keep no free block of 256 KiB or more from now on, where the C library can be told so (glibc)."""
    if sys.platform == "linux":
        # musl has no such function, and keeps none.
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BYTES)
