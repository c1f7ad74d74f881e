"""How the C library's allocator gives memory: kept from step to step for maps, apart from them for gradients.

Gradients of weights and the optimiser's state that fit no gap between the maps must not lengthen what is kept: it would
stay that long, with gaps into which no large map fits.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable, Iterator

__all__ = ["apart", "keep_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_OF_MAPS = 1 << 30
_APART = 1 << 18  # bytes; below, pages of its own would be more than what lies in them


@functools.cache
def _mallopt() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return None  # another C library


@functools.cache
def keep_memory() -> bool:
    """Tell glibc's allocator to keep freed memory for the next step; return whether it took it.

    By default every tensor above 32 MB is mapped anew and faulted in page by page, at each step of training.
    """
    mallopt = _mallopt()
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _OF_MAPS)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Give tensors made in the block pages of their own where they fit no gap, if memory is kept."""
    mallopt = _mallopt() if keep_memory.cache_info().currsize else None
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _APART)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _OF_MAPS)
