"""What is known of an ATen operator before it runs: names of its arguments, what it changes, what it shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

__all__ = ["OperatorInfo", "operator_info"]

_UNMARKED_WRITES = {  # batch norm's statistics, which these schemas do not mark as changed
    "aten.native_batch_norm": ("running_mean", "running_var"),
    "aten.miopen_batch_norm": ("running_mean", "running_var"),
    "aten.cudnn_batch_norm": ("running_mean", "running_var"),
}


@dataclass(frozen=True, slots=True)
class OperatorInfo:
    """The facts of one overload that a trace needs on every call, looked up once.

    Attributes:
        name: without the overload, `aten.convolution`.
        tensor_arguments: those that are tensors or lists of tensors.
        kind: `fresh` results, a `view` of an argument, or `inplace`, which changes one.
        written: names of the arguments that a call changes.
        composite: made of other operators by torch itself.
    """

    name: str
    overload: str
    arguments: tuple[str, ...]
    tensor_arguments: tuple[str, ...]
    defaults: dict[str, Any]
    kind: Literal["fresh", "view", "inplace"]
    written: tuple[str, ...]
    composite: bool
    passed_over: bool  # asks for a tensor's facts and makes nothing

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the call's arguments by name, defaults included."""
        bound = dict(self.defaults)
        bound.update(zip(self.arguments, args, strict=False))
        bound.update(kwargs)
        return bound


@cache
def operator_info(func: Any) -> OperatorInfo:
    """Return the facts of an operator overload."""
    schema = func._schema
    name = schema.name.replace("::", ".")
    written = tuple(
        entry.name for entry in schema.arguments if entry.alias_info is not None and entry.alias_info.is_write
    )
    shared = any(entry.alias_info is not None for entry in schema.returns)
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return OperatorInfo(
        name=name,
        overload=func._overloadname,
        arguments=tuple(entry.name for entry in schema.arguments),
        tensor_arguments=tuple(entry.name for entry in schema.arguments if "Tensor" in str(entry.type)),
        defaults={entry.name: entry.default_value for entry in schema.arguments},
        kind="inplace" if written else "view" if shared else "fresh",
        written=written + _UNMARKED_WRITES.get(name, ()),
        composite=composite,
        passed_over=func.namespace == "prim" or name in ("aten.is_same_size", "aten.sym_size"),
    )
