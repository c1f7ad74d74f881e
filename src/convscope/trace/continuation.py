"""What a traced network makes of one of its tensors, run once more and with gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.trace.engines import tensors_in
from convscope.trace.index import NetworkIndex
from convscope.trace.record import Record, Ref
from convscope.trace.rules import Call
from convscope.trace.tracing import Trace

__all__ = ["Continuation", "continuation"]

_RESHAPED = ("aten.view", "aten._unsafe_view", "aten._reshape_alias")


@dataclass(frozen=True, eq=False)
class Continuation:
    """The operators of a trace through which one tensor enters another; made by `continuation`.

    Operators in place run as their twins that are not, so a value that the network overwrote keeps its gradient.

    Attributes:
        source, target: numbers of the tensor that is handed in and of the one that is computed.
        records: the operators, in order.
        given: numbers of the tensors that they read beside `source`: what was computed before or past it.
    """

    source: int
    target: int
    records: tuple[Record, ...]
    given: tuple[int, ...]
    _own: dict[int, Tensor]

    def run(self, values: Mapping[int, Tensor]) -> Tensor:
        """Compute the target; gradients reach those of the values that want them, never the network's parameters.

        Args:
            values: the tensors of `source` and `given` by their numbers.
        Raises:
            UsageError: an operator that cannot run apart from the network.
        Example:
            >>> from torch import nn
            >>> from convscope.trace import trace
            >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
            >>> found = trace(net, (1, 2))
            >>> before = torch.tensor([[-1.0, 3.0]], requires_grad=True)
            >>> after = continuation(found, found.tensor_of("0").index, found.outputs[0])
            >>> after.run({after.source: before}).sum().backward()
            >>> before.grad.tolist()
            [[0.0, 1.0]]
        """
        known = {**self._own, **values}
        device = known[self.source].device
        for record in self.records:
            made = tensors_in(_run(record, known, device))
            if len(made) != len(record.outputs):
                raise UsageError(
                    f"{record.name} looks at one of several parts of a tensor that another part changed in place; that "
                    "cannot be run apart from the network. Change it out of place.",
                    call="continuation",
                )
            known.update(zip(record.outputs, made, strict=True))
        return known[self.target]


def continuation(found: Trace, source: int, target: int) -> Continuation:
    """Return what leads from one tensor of a trace to another, by their numbers.

    Raises:
        UsageError: `target` does not depend on `source`.
    """
    depends, after = set(found.inputs), {source}
    for record in found.records:
        for reached in (depends, after):
            if any(number in reached for number in record.inputs):
                reached.update(record.outputs)
    if target not in after:
        raise UsageError("the one tensor has no part in the other.", call="continuation")
    wanted, given = {target} - {source}, set[int]()
    chosen: list[Record] = []
    for record in reversed(found.records):
        made = wanted.intersection(record.outputs)
        if not made:
            continue
        behind = source not in record.outputs and any(number in after for number in record.inputs)
        constant = not any(number in depends for number in record.inputs) and not _draws(record)
        if behind or constant:
            chosen.append(record)
            wanted.update(number for number in record.inputs if number != source)
        else:
            given.update(made)
    index = NetworkIndex(found.network)
    own: dict[int, Tensor] = {}
    for number in wanted:
        facts = found.tensors[number]
        if facts.producer is not None:
            continue
        tensor = (index.parameters | index.buffers).get(facts.name)
        if facts.kind in ("parameter", "buffer") and tensor is not None:
            own[number] = tensor.detach().clone() if tensor.is_inference() else tensor.detach()
        else:
            given.add(number)
    return Continuation(source, target, tuple(reversed(chosen)), tuple(sorted(given)), own)


def _draws(record: Record) -> bool:
    """Tell whether an operator draws random numbers: it would draw others when it runs again."""
    if record.operator.startswith("convscope."):
        return False
    return torch.Tag.nondeterministic_seeded in getattr(record.function(), "tags", ())


def _run(record: Record, known: Mapping[int, Tensor], device: torch.device) -> Any:
    """Run a record's operator out of place."""

    def put(given: Any) -> Any:
        if isinstance(given, Ref):
            return known[given.value]
        if isinstance(given, tuple) and any(isinstance(entry, Ref) for entry in given):
            return [put(entry) for entry in given]
        return given

    if record.operator == "convscope.write":
        return _write(record, known, device)
    arguments = {name: put(given) for name, given in record.arguments.items()}
    if record.operator in _RESHAPED:  # strides may be others than in the trace
        return arguments["self"].reshape(arguments["size"])
    if record.operator in ("aten.copy_", "aten.copy"):
        return arguments["src"].to(arguments["self"].dtype).expand(arguments["self"].shape)
    if "_scaled_dot_product" in record.operator:  # reads memory as if it were in order
        for name in ("query", "key", "value"):
            arguments[name] = arguments[name].contiguous()
    if arguments.get("device") is not None:
        arguments["device"] = device  # a trace of a shape says meta
    return record.function()(**arguments)


def _write(record: Record, known: Mapping[int, Tensor], device: torch.device) -> Tensor:
    """Put a changed part back into what it is a view of."""
    base, part = (known[record.arguments[name].value] for name in ("base", "part"))
    call: Call = record.arguments["view"]
    places = torch.arange(prod(base.shape), device=device).reshape(base.shape)
    seen = tensors_in(_run(call.record, {call.record.inputs[0]: places}, device))
    fitting = [entry for entry in seen if entry.shape == part.shape]
    if len(fitting) != 1:
        raise UsageError(
            f"{record.name} changes one of several parts of a tensor in place; that cannot be run apart from the "
            "network. Change it out of place.",
            call="continuation",
        )
    return base.reshape(-1).scatter(0, fitting[0].reshape(-1), part.reshape(-1)).reshape(base.shape)
