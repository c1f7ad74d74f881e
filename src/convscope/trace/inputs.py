"""What a network is called with and returns: shapes or tensors, one or several, in tuples, lists and dicts."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import ShapeError, UsageError
from convscope.trace.engines import rebuilt, tensors_in

__all__ = ["call_arguments", "cloned", "named_outputs", "named_tensors", "tensors_for"]


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and all(type(length) is int for length in value)


def tensors_for(value: Any, dtype: torch.dtype) -> Any:
    """Return the input with a meta tensor for each shape in it."""
    if isinstance(value, Tensor):
        return value
    if _is_shape(value):
        if min(value) < 0:
            raise ShapeError(f"input shape {tuple(value)} has a negative length.", call="trace")
        try:
            return torch.empty(tuple(value), dtype=dtype, device="meta")
        except (RuntimeError, OverflowError, TypeError) as error:
            raise ShapeError(f"input shape {tuple(value)} is too large for torch.", call="trace") from error
    if isinstance(value, dict):
        return {key: tensors_for(entry, dtype) for key, entry in value.items()}
    if isinstance(value, (tuple, list)) and value:
        return rebuilt(value, [tensors_for(entry, dtype) for entry in value])
    if isinstance(value, (int, float, bool, str)) or value is None:
        return value
    raise UsageError(
        f"the input is a {type(value).__name__}; give a shape such as (1, 3, 224, 224), a tensor, or a tuple or dict "
        "of them.",
        call="trace",
    )


def call_arguments(network: nn.Module, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what to call the network with."""
    if not tensors_in(value):
        raise UsageError("the input holds no tensor and no shape.", call="trace")
    if isinstance(value, Tensor):
        return (value,), {}
    try:
        accepted = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        accepted = ()
    positional = [p for p in accepted if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    starred = any(p.kind is p.VAR_POSITIONAL for p in accepted)
    if isinstance(value, dict):
        names = {p.name for p in accepted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if set(value) <= names or any(p.kind is p.VAR_KEYWORD for p in accepted):
            return (), value
        return (value,), {}
    required = [p for p in positional if p.default is p.empty]
    if isinstance(value, list) and len(required) == 1 and not starred:
        return (value,), {}
    return tuple(value), {}


def cloned(value: Any, meta: bool, memo: dict[int, Tensor] | None = None) -> Any:
    """Return the input once more, so that an operator in place changes no tensor of the caller's.

    A tensor that stands in it twice stands in the copy twice.
    """
    memo = {} if memo is None else memo
    if isinstance(value, Tensor):
        if id(value) not in memo:
            plain = value.detach()
            memo[id(value)] = (
                torch.empty_strided(plain.shape, plain.stride(), dtype=plain.dtype, device="meta")
                if meta
                else plain.clone()
            )
        return memo[id(value)]
    if isinstance(value, dict):
        return {key: cloned(entry, meta, memo) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return rebuilt(value, [cloned(entry, meta, memo) for entry in value])
    return value


def named_tensors(value: Any, name: str) -> list[tuple[str, Tensor]]:
    """Return the tensors of an input, each with its keyword or number as a name."""
    if isinstance(value, Tensor):
        return [(name, value)]
    if isinstance(value, dict):
        return [pair for key, entry in value.items() for pair in named_tensors(entry, str(key))]
    if isinstance(value, (tuple, list)):
        return [pair for place, entry in enumerate(value) for pair in named_tensors(entry, f"{name}{place}")]
    return []


def named_outputs(result: Any) -> list[tuple[str, Tensor]]:
    """Return the tensors that a network returned, in order; a mapping or a dataclass names its own.

    Example:
        >>> [name for name, _ in named_outputs({"out": torch.zeros(1), "aux": torch.zeros(1)})]
        ['out', 'aux']
    """
    if hasattr(result, "items") and not isinstance(result, dict):
        result = dict(result.items())
    elif not isinstance(result, (Tensor, list, tuple, dict)) and hasattr(result, "__dict__"):
        result = vars(result)
    return named_tensors(result, "output")
