"""Reading the two arguments of a convolution: their kind, and the fill value."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np

from convscope.errors import ShapeError, UsageError
from convscope.signal.arrays import ArrayEngine
from convscope.signal.engine import Engine

__all__ = ["check_fillvalue", "is_tensor", "read_operands"]


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor, without importing torch: if it is one, torch is already here."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def read_operands(call: str, f: Any, g: Any) -> tuple[Engine, Any, Any]:
    """Find the engine for two signals and bring them to their common dtype."""
    kinds = is_tensor(f), is_tensor(g)
    if all(kinds):
        from convscope.signal.tensors import TensorEngine

        engine: Engine = TensorEngine(call)
    elif any(kinds):
        raise UsageError(
            f"f is a {type(f).__name__} and g a {type(g).__name__}: a tensor goes with a tensor only. "
            "Convert one of them, for example with torch.as_tensor or tensor.numpy().",
            call=call,
        )
    else:
        engine = ArrayEngine(call)
        f, g = _read_array(call, "f", f), _read_array(call, "g", g)
    if f.ndim != g.ndim:
        raise ShapeError(
            f"f has {f.ndim} axes (shape {tuple(f.shape)}) but g has {g.ndim} (shape {tuple(g.shape)}). "
            "Give both the same number of axes, for example with reshape.",
            call=call,
        )
    f, g = engine.promote(f, g)
    return engine, f, g


def _read_array(call: str, name: str, value: Any) -> np.ndarray:
    if hasattr(value, "values") and hasattr(value, "dt"):
        raise UsageError(
            f"{name} is a sampled signal with a time step. Call its method, f.{call}(g), or pass its values.",
            call=call,
        )
    if isinstance(value, np.ma.MaskedArray):
        raise UsageError(
            f"{name} is a masked array, and a convolution cannot skip samples. "
            "Fill the masked ones first, for example with .filled(0).",
            call=call,
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise UsageError(f"{name} cannot be read as an array: {error}.", call=call) from error


def check_fillvalue(call: str, fillvalue: Any, boundary: str, engine: Engine, like: Any) -> None:
    """Refuse a fill value that would be ignored, or that the dtype of the signals cannot hold."""
    if not isinstance(fillvalue, numbers.Number | np.generic):
        raise UsageError(
            f"fillvalue={fillvalue!r} is not a number. Give one number for all samples outside.", call=call
        )
    if fillvalue == 0:
        return
    if boundary != "fill":
        raise UsageError(
            f"fillvalue={fillvalue!r} has no effect with boundary={boundary!r}. "
            "Use boundary='fill', or leave fillvalue out.",
            call=call,
        )
    dtype = engine.dtype_name(like)
    if not _holds(dtype, fillvalue):
        raise UsageError(
            f"fillvalue={fillvalue!r} is not a value of dtype {dtype}. "
            "Convert the signals first, or choose a value that the dtype holds.",
            call=call,
        )


def _holds(dtype: str, value: Any) -> bool:
    if dtype.startswith(("complex", "clongdouble")):
        return True
    if isinstance(value, complex | np.complexfloating):
        return False
    if dtype == "bool":
        return value in (0, 1)
    if "int" in dtype:
        limits = np.iinfo(dtype)
        return bool(limits.min <= value <= limits.max) and int(value) == value
    return True
