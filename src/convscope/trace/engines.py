"""How a traced operator runs: for real, or on meta tensors that have a shape and no memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from convscope.errors import UsageError
from convscope.trace.meta_shapes import SHORTCUTS
from convscope.trace.operators import OperatorInfo

__all__ = [
    "FUSED_ATTENTION",
    "Engine",
    "RealEngine",
    "ShapeEngine",
    "ShapeFunctions",
    "rebuilt",
    "tensors_in",
]

_SMALL = 65_536  # elements: constants up to this size are really computed in a shape-only trace
_META = torch.device("meta")


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors among arguments, which may stand in lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for entry in value.values() for tensor in tensors_in(entry)]
    if isinstance(value, (list, tuple)):
        return [tensor for entry in value for tensor in tensors_in(entry)]
    return []


def rebuilt(value: Any, entries: list[Any]) -> Any:
    """Return a list, tuple or named tuple of the same type with other entries."""
    return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)


_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


class ShapeFunctions(TorchFunctionMode):
    """Gives recurrent layers, which refuse weights of another device than their input's, meta twins of theirs."""

    def __init__(self, engine: ShapeEngine) -> None:
        super().__init__()
        self.engine = engine

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch's."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _RECURRENT:
            args = tuple(map(self.engine.lowered, args))
        return func(*args, **kwargs)


class _FusedAttention:
    """Lets attention of meta tensors take the operator that the CPU would take, while any shape-only trace runs.

    Torch chooses it by device, before any operator runs, and from inside its own Python functions, where no mode
    looks. So the function itself is replaced, once for all threads, and put back by the last trace.
    """

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.plain: Callable[..., Tensor] = F.scaled_dot_product_attention

    def __enter__(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.plain = F.scaled_dot_product_attention
                F.scaled_dot_product_attention = self.attention

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                F.scaled_dot_product_attention = self.plain

    def attention(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return fused attention of meta tensors where the CPU would take it, else torch's own answer."""
        made = _flash_attention(*args, **kwargs) if args and args[0].device == _META else None
        return self.plain(*args, **kwargs) if made is None else made


FUSED_ATTENTION = _FusedAttention()


def _flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Return what the CPU's fused attention returns, or None where it would not be taken."""
    shapes = {tensor.dim() for tensor in (query, key, value)}
    if shapes != {4} or query.device != _META or dropout_p or enable_gqa or 0 in query.shape:
        return None
    if not query.shape[-1] == key.shape[-1] == value.shape[-1] or not query.dtype.is_floating_point:
        return None
    if query.dtype == torch.float64 and attn_mask is not None:
        return None
    if attn_mask is not None and attn_mask.dim() not in (2, 4):
        return None
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]


class RealEngine:
    """Runs every operator as it is."""

    def run(
        self, func: Callable[..., Any], info: OperatorInfo, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return what the operator returns."""
        return func(*args, **kwargs)


class ShapeEngine:
    """Runs operators on meta tensors; the network's own tensors get a meta twin when they meet one.

    Small constants that depend on no input (index tables, `torch.arange`) are computed, so that control flow may
    read them. Results are remembered by shapes, strides and settings, so a block that repeats costs little.
    """

    _results: dict[Any, Any] = {}  # noqa: RUF012  shared by all traces: shapes in, shapes out

    def __init__(self) -> None:
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._born: dict[int, Tensor] = {}
        self.names: dict[int, tuple[str, str]] = {}  # of parameters and buffers, filled in by the capture

    def run(
        self, func: Callable[..., Any], info: OperatorInfo, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Return tensors of the right shape, stride and type, or a computed constant."""
        tensors = tensors_in((args, kwargs))
        if not tensors:
            return self._create(func, info, args, kwargs)
        if all(tensor.device != _META and id(tensor) not in self._twins for tensor in tensors) and (
            self._may_compute(info, args, kwargs, tensors)
        ):
            result = func(*args, **kwargs)
            if info.kind != "view" or id(tensors[0]) in self._born:  # a view of the network's own is its own
                self._born.update((id(tensor), tensor) for tensor in tensors_in(result))
            return result
        if info.name == "aten._local_scalar_dense":
            raise UsageError(
                "the network reads a value (`.item()`, `if tensor:`), and a shape has none; give a real tensor.",
                call="trace",
            )
        lowered = tuple(map(self._lower, args))
        named = {key: self._lower(value) for key, value in kwargs.items()}
        if named.get("device") is not None:
            named["device"] = _META
        shortcut = SHORTCUTS.get(info.name)
        made = None
        if shortcut is not None and (info.kind == "fresh" or tensors[0].device == _META):
            made = shortcut(info.bind(lowered, named))
        if made is not None:
            return made
        if info.kind == "fresh":
            return self._remembered(func, lowered, named)
        result = func(*lowered, **named)
        if info.kind == "view":
            return result
        # An operator in place returns the very tensor it was given.
        given = {id(new): old for old, new in zip(tensors, tensors_in((lowered, named)), strict=True)}
        if isinstance(result, Tensor):
            return given.get(id(result), result)
        if isinstance(result, (tuple, list)):
            return rebuilt(result, [given.get(id(entry), entry) for entry in result])
        return result

    def _create(
        self, func: Callable[..., Any], info: OperatorInfo, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        size = info.bind(args, kwargs).get("size")
        count = 1
        for length in size if isinstance(size, (list, tuple)) else ():
            count *= int(length)
        if count > _SMALL:
            kwargs = {**kwargs, "device": _META}
        result = func(*args, **kwargs)
        self._born.update((id(tensor), tensor) for tensor in tensors_in(result) if tensor.device != _META)
        return result

    def _may_compute(
        self, info: OperatorInfo, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> bool:
        if info.kind == "view":
            return True
        if info.written:
            bound = info.bind(args, kwargs)
            return all(
                id(tensor) in self._born for name in info.written for tensor in tensors_in(bound.get(name))
            )
        return all(tensor.numel() <= _SMALL for tensor in tensors)

    def lowered(self, value: Any) -> Any:
        """Return a meta twin for each real tensor, known by the same name."""
        with torch._C._DisableTorchDispatch():  # making twins is none of the network's doing
            twins = self._lower(value)
        for own, twin in zip(tensors_in(value), tensors_in(twins), strict=True):
            if id(own) in self.names:
                self.names[id(twin)] = self.names[id(own)]
        return twins

    def _lower(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.device == _META:
                return value
            known = self._twins.get(id(value))
            if known is None:
                # detached, because a leaf that wants a gradient may not be changed in place
                twin = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=_META)
                known = self._twins[id(value)] = (value, twin)
            return known[1]
        if isinstance(value, (list, tuple)) and any(isinstance(entry, Tensor) for entry in value):
            return rebuilt(value, list(map(self._lower, value)))
        return value

    def _remembered(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            key = (func, _written(args), _written(tuple(kwargs.items())))
            known = self._results.get(key)
        except TypeError:  # an argument without a hash
            return func(*args, **kwargs)
        if known is None:
            result = func(*args, **kwargs)
            known = _described(result)
            if known is None:
                return result
            if len(self._results) > 20_000:
                self._results.clear()
            self._results[key] = known
            return result
        single, entries = known
        made = tuple(
            None if entry is None else torch.empty_strided(entry[0], entry[1], dtype=entry[2], device=_META)
            for entry in entries
        )
        return made[0] if single else made


Engine = RealEngine | ShapeEngine


def _written(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(map(_written, value))
    return (type(value), value)


def _described(result: Any) -> tuple[bool, tuple[Any, ...]] | None:
    """Return how to make the result again, or None where it is no tensor or tuple of tensors."""
    entries = (result,) if isinstance(result, Tensor) else result
    if not isinstance(entries, tuple):
        return None
    if not all(entry is None or isinstance(entry, Tensor) for entry in entries):
        return None
    return isinstance(result, Tensor), tuple(
        None if entry is None else (entry.shape, entry.stride(), entry.dtype) for entry in entries
    )
