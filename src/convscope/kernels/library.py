"""The native library: found, chosen for this CPU, loaded beside torch, and called through its plain C functions.

Each library holds the same functions, compiled for one instruction set. It leaves OpenMP's symbols undefined and finds
them in the runtime that torch has loaded, so that both share one pool of threads.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch  # before the library is loaded: it brings the OpenMP runtime
from torch import Tensor

from convscope.geometry import Windows

__all__ = [
    "Convolution",
    "Library",
    "Settings",
    "convolution_of",
    "declare",
    "element_type",
    "load",
    "native",
]

_SWITCH = "CONVSCOPE_KERNELS"
# The functions of the families and their parameters; see `declare`.
_FUNCTIONS: dict[str, str] = {}
_C_TYPES = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
    "l": ctypes.c_int64,
}
_INSTRUCTION_SETS = ("avx512_bf16", "avx512", "avx2", "baseline")


@dataclass(frozen=True)
class Library:
    """What was loaded, or why nothing was."""

    instruction_set: str | None
    path: Path | None
    reason: str
    handle: ctypes.CDLL | None = None

    @property
    def lanes(self) -> int:
        """Floats in a vector, `kLanes` of csrc/vector.h."""
        return {"baseline": 4, "avx2": 8}.get(self.instruction_set or "baseline", 16)

    @functools.cached_property
    def digest(self) -> str:
        """What tells this build from any other: of what was measured or tested with it."""
        return "none" if self.path is None else hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    def __getattr__(self, name: str) -> Any:
        """Return a kernel's function by its name without the prefix."""
        function = getattr(self.handle, f"convscope_{name}")
        function.argtypes, function.restype = [_C_TYPES[letter] for letter in _FUNCTIONS[name]], None
        self.__dict__[name] = function
        return function


def declare(name: str, parameters: str) -> None:
    """Say which parameters a kernel's function has: p a pointer, i an int, l a 64-bit one, f a float, d a double."""
    _FUNCTIONS[name] = parameters


@functools.cache
def load() -> Library:
    """Load the library for the best instruction set that this CPU runs, once a process.

    Setting the environment variable CONVSCOPE_KERNELS to `off` leaves it out, to the name of an instruction set takes
    that one (one that the CPU does not run ends the process: it is for tests).
    """
    wish = os.environ.get(_SWITCH, "").strip().lower()
    if wish == "off":
        return Library(None, None, f"switched off by {_SWITCH}=off")
    if wish and wish not in _INSTRUCTION_SETS:
        return Library(None, None, f"{_SWITCH}={wish} is none of off, {', '.join(_INSTRUCTION_SETS)}")
    folder = _folder()
    if folder is None:
        return Library(None, None, "not built: there was no C++ compiler when convscope was installed")
    try:
        ask = ctypes.CDLL(str(folder / "convscope_kernels_baseline.so")).convscope_instruction_set
        ask.restype = ctypes.c_char_p
        best = wish or ask().decode()
        for instruction_set in _INSTRUCTION_SETS[_INSTRUCTION_SETS.index(best) :]:
            path = folder / f"convscope_kernels_{instruction_set}.so"
            if path.exists():
                return Library(instruction_set, path, "", ctypes.CDLL(str(path)))
    except (OSError, AttributeError) as error:
        return Library(None, None, f"cannot be loaded: {error}")
    return Library(None, None, f"no library for {best} or less in {folder}")


declare("flush_denormals", "i")


def native() -> Library | None:
    """Return the library if there is one."""
    library = load()
    return library if library.handle is not None else None


def _folder() -> Path | None:
    # An editable installation keeps Python files in the sources and what was built among the installed packages.
    installed = Path(sysconfig.get_path("platlib")) / "convscope" / "kernels" / "native"
    for folder in (Path(__file__).parent / "native", installed):
        if (folder / "convscope_kernels_baseline.so").exists():
            return folder
    return None


class Convolution(ctypes.Structure):
    """One convolution in numbers, laid out as `Convolution` in csrc/rows.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("batch", "in_channels", "in_height", "in_width")],
        *[(name, ctypes.c_int64) for name in ("out_channels", "out_height", "out_width")],
        *[(name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "padding", "dilation")],
        ("groups", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


Pair = Sequence[int]
Settings = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation, groups


def convolution_of(
    input: Tensor, weight: Tensor, settings: Settings
) -> tuple[ctypes._CArgObject, tuple[int, ...]]:  # pyright: ignore[reportPrivateUsage]
    """Return a pointer to the description of a convolution, to hand to a kernel, and the shape of its output."""
    *window, groups = settings
    return _described(
        tuple(input.shape),
        tuple(weight.shape),
        *(tuple(each) for each in window),
        groups,
        torch.get_num_threads(),
    )


@functools.lru_cache(4096)
def _described(
    input: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    threads: int,
) -> tuple[ctypes._CArgObject, tuple[int, ...]]:  # pyright: ignore[reportPrivateUsage]
    size = Windows.of(2, weight[2:], stride, padding, dilation).output_size(input[2:])
    described = Convolution(*input, weight[0], *size, weight[2:], stride, padding, dilation, groups, threads)
    return ctypes.byref(described), (input[0], weight[0], *size)


def element_type(tensor: Tensor) -> int:
    """Return the number by which the kernels know a tensor's type."""
    return 1 if tensor.dtype == torch.bfloat16 else 0
