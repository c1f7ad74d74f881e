"""One operator call of a traced network, and the tensors between the calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

__all__ = ["Record", "Ref", "TensorFacts"]


class Ref:
    """Stands for a tensor among the arguments of a call: the number of its value."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Ref({self.value})"


@dataclass(slots=True)
class TensorFacts:
    """One tensor at one moment; an operator in place makes a new one of it.

    Attributes:
        index: its number in `trace.tensors`.
        kind: where it comes from.
        name: of an input, parameter or buffer its path; of an activation "".
        producer: index of the record that made it; None for what was there before.
        numel: number of elements.
    """

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Literal["input", "parameter", "buffer", "constant", "activation"]
    name: str
    producer: int | None
    numel: int

    @property
    def size_bytes(self) -> int:
        """Return the bytes of its elements."""
        return self.numel * self.dtype.itemsize


@dataclass(slots=True)
class Record:
    """One operator call: where, on what, with what result, at what cost.

    Attributes:
        index: place in `trace.records`, in order of execution.
        name: unique; the module's path where the operator is all that the module does, else path/operator.
        operator, overload: torch's names, `aten.convolution` and `default`.
        path, kind, call: the innermost module, its class, and its how-manieth call (from 0) this belongs to.
        inputs, outputs: numbers of tensors in `trace.tensors`.
        arguments: by torch's names, with a `Ref` for each tensor.
        parameters: names of the network's parameters that the call reads.
        num_params: elements of those parameters that no earlier record has read.
        macs: multiply-accumulates of convolutions and matrix products; 1 MAC = 2 FLOPs.
        element_ops: additions, multiplications, comparisons and function calls of everything else.
        bytes_moved: each input, parameter and output element once.
        seconds: how long torch took; None in a shape-only trace.
        hidden: bookkeeping, such as views, that tables leave out.
    """

    index: int
    name: str
    operator: str
    overload: str
    path: str
    kind: str
    call: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arguments: dict[str, Any] = field(repr=False)
    parameters: tuple[str, ...] = ()
    num_params: int = 0
    macs: int = 0
    element_ops: int = 0
    bytes_moved: int = 0
    seconds: float | None = None
    hidden: bool = False
    counted: bool = True

    def function(self) -> Any:
        """Return torch's function of this operator; for one in place that of its twin which is not."""
        namespace, name = self.operator.split(".", 1)
        home = getattr(torch.ops, namespace)
        if name.endswith("_") and hasattr(home, name[:-1]):
            name = name[:-1]
        packet = getattr(home, name)
        return getattr(packet, self.overload or "default", packet)

    @property
    def short_operator(self) -> str:
        """Return the operator without its namespace."""
        return self.operator.split(".", 1)[-1]
