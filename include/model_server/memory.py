"""The memory of this process, as the system sees it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

M_MMAP_THRESHOLD = -3
MAPPED_FROM_BYTES = 32 * 1024


def resident_bytes() -> int:
    """Memory this process takes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def map_large_blocks() -> None:
    """Let the C library take blocks from 32 KB on, packed trees among them, from the system one by one.

    They go back to it at once when they are freed; on the heap they would leave holes (glibc's ``mallopt``).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


def give_back() -> None:
    """Give memory that is not needed any more back to the system, where it can be told to."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def folder_bytes(folder: str) -> int:
    """Size of all files below a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
