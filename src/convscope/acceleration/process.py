"""What an accelerated process changes for all its tensors: how memory is given back, and denormal numbers."""

from __future__ import annotations

import ctypes
import functools
import sys

import torch

from convscope import kernels

__all__ = ["keep_memory", "prepare_process"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


@functools.cache
def keep_memory() -> bool:
    """Tell glibc's allocator to keep freed memory for the next step; return whether it took it.

    By default every tensor above 32 MB is mapped anew and faulted in page by page, at each step of training.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def prepare_process() -> None:
    """Set the allocator, and count numbers below 1e-38 as zero, as arithmetic with them is 100 times slower."""
    keep_memory()
    torch.set_flush_denormal(True)
    library = kernels.load()
    if library.handle is not None:  # in the other threads of the pool, which torch's word does not reach
        library.flush_denormals(torch.get_num_threads())
