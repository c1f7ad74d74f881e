"""The table of a network's layers: shapes, parameters, costs and receptive fields, added up module by module."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from convscope.display import Shown
from convscope.errors import UsageError
from convscope.geometry import as_int
from convscope.trace import Record, Trace

__all__ = ["Summary", "SummaryRow", "summary"]


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One module call, operator, or run of equal ones.

    Attributes:
        level: how deep in the tree, 0 for the network.
        name: the module's path below the row that it stands under, or the operator's name; `1 to 5` for a run.
        path: the module's path; of a run that of its last member.
        kind: the module's class; of an operator outside any leaf module "".
        repeats: how many equal ones the row stands for; its numbers are their sums.
        shared: its parameters were counted in an earlier row.
        receptive_field: in a few letters, that of the last output: `427`, `7x5`, `7, all`.
    """

    level: int
    name: str
    path: str
    kind: str
    repeats: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: str
    num_params: int
    shared: bool
    macs: int
    element_ops: int
    bytes_moved: int
    seconds: float | None
    receptive_field: str
    children: tuple[SummaryRow, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what two rows must have in common to be folded into one."""
        return (self.kind, self.output_shape, self.kernel, self.macs, self.element_ops, self.shared, self.num_params,
                tuple((child.name, child.key) for child in self.children))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Summary(Shown):
    """A network's layers and totals.

    Attributes:
        rows: the tree, the network itself first.
        depth: levels of it that are shown.
    """

    trace: Trace
    root: SummaryRow
    depth: int

    @property
    def rows(self) -> tuple[SummaryRow, ...]:
        """Return the rows in order, down to `depth`."""
        found: list[SummaryRow] = []

        def walk(row: SummaryRow) -> None:
            found.append(row)
            if row.level < self.depth:
                for child in row.children:
                    walk(child)

        walk(self.root)
        return tuple(found)

    @property
    def trainable_params(self) -> int:
        """Return the elements of the parameters that want a gradient."""
        return sum(p.numel() for p in self.trace.network.parameters() if p.requires_grad)

    @property
    def params_bytes(self) -> int:
        """Return the bytes of the distinct parameters."""
        return sum(p.numel() * p.element_size() for p in self.trace.network.parameters())

    def to_dict(self) -> dict[str, Any]:
        """Return rows and totals as plain values for JSON."""
        found = self.trace
        return {
            "network": type(found.network).__name__,
            "inputs": [list(found.tensors[number].shape) for number in found.inputs],
            "num_params": found.num_params,
            "trainable_params": self.trainable_params,
            "params_bytes": self.params_bytes,
            "num_buffers": found.num_buffers,
            "macs": found.macs,
            "flops": 2 * found.macs,
            "element_ops": found.element_ops,
            "bytes_moved": found.bytes_moved,
            "peak_bytes": found.peak_bytes,
            "seconds": found.seconds,
            "not_counted": dict(found.not_counted),
            "unused_parameters": found.unused_parameters,
            "rows": [
                {key: value for key, value in asdict(row).items() if key != "children"} for row in self.rows
            ],
        }


def summary(trace: Trace, *, depth: int = 3) -> Summary:
    """Add a trace up into the table that people know from torchinfo; equal neighbours are folded into one row.

    Args:
        depth: levels of the module tree below the network.
    Raises:
        UsageError: a depth below 0.
    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> table = summary(trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 1, 6, 6)))
        >>> [(row.name, row.kind, row.output_shape, row.num_params, row.macs) for row in table.rows[1:]]
        [('0', 'Conv2d', (1, 2, 4, 4), 20, 288), ('1', 'ReLU', (1, 2, 4, 4), 0, 0)]
    """
    if not isinstance(trace, Trace):
        raise UsageError(f"got a {type(trace).__name__}; give what `trace` returned.", call="summary")
    depth = as_int("depth", depth, at_least=0)
    return Summary(trace, _Builder(trace).root(), depth)


class _Builder:
    """Turns module calls and records into a tree of rows."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        modules = dict(trace.network.named_modules(remove_duplicate=False))
        self.parameters = {
            path: {id(p): p.numel() for p in module.parameters()} for path, module in modules.items()
        }
        self.seen: set[int] = set()
        self.fields = trace.fields()

    def root(self) -> SummaryRow:
        """Return the row of the network."""
        calls = list(self.trace.calls)
        row, _ = self._call(calls, 0, 0)
        # What the network has and never used counts here, and only here.
        return replace(row, num_params=self.trace.num_params, shared=False)

    def _call(
        self, calls: list[Any], place: int, level: int, under: str | None = None
    ) -> tuple[SummaryRow, int]:
        """Return the row of the call at `place`, made by the module `under`, and the place of the next call."""
        entry = calls[place]
        own = self.parameters.get(entry.path, {})
        fresh = {key: count for key, count in own.items() if key not in self.seen}
        children: list[SummaryRow] = []
        at = entry.first
        place += 1
        while place < len(calls) and calls[place].depth > entry.depth:
            children += self._operators(entry, at, calls[place].first, level + 1)
            at = max(at, calls[place].last + 1)
            row, place = self._call(calls, place, level + 1, entry.path)
            children.append(row)
        children += self._operators(entry, at, entry.last + 1, level + 1)
        self.seen |= set(own)
        records = self.trace.records[entry.first : entry.last + 1]
        name = type(self.trace.network).__name__
        if entry.path:
            # Lists of modules are no calls and have no row: what they hold is named with them.
            inside = under is not None and entry.path.startswith(f"{under}." if under else "")
            name = entry.path[len(under) + 1 if under else 0 :] if inside else entry.path.rsplit(".", 1)[-1]
        shown = [record for record in records if not record.hidden]
        leaf = len(shown) <= 1 and all(not child.kind for child in children)
        row = SummaryRow(
            level=level,
            name=name,
            path=entry.path,
            kind=entry.kind,
            repeats=1,
            input_shape=self._shape(entry.inputs),
            output_shape=self._shape(entry.outputs),
            kernel=_kernel(self.trace, shown[0]) if leaf and shown else "",
            num_params=sum(fresh.values()),
            shared=bool(own) and not fresh,
            macs=sum(record.macs for record in records),
            element_ops=sum(record.element_ops for record in records),
            bytes_moved=sum(record.bytes_moved for record in records),
            seconds=_total([record.seconds for record in records]),
            receptive_field=self._field(entry.outputs),
            children=() if leaf else tuple(_folded(children)),
        )
        return row, place

    def _operators(self, entry: Any, first: int, last: int, level: int) -> list[SummaryRow]:
        """Return rows for the operators that a module calls itself, not through a module inside it."""
        return [
            SummaryRow(
                level=level,
                name=record.name.rsplit("/", 1)[-1],
                path=record.name,
                kind="",
                repeats=1,
                input_shape=self._shape(record.inputs),
                output_shape=self._shape(record.outputs),
                kernel=_kernel(self.trace, record),
                num_params=record.num_params,
                shared=bool(record.parameters) and not record.num_params,
                macs=record.macs,
                element_ops=record.element_ops,
                bytes_moved=record.bytes_moved,
                seconds=record.seconds,
                receptive_field=self._field(record.outputs),
            )
            for record in self.trace.records[first:last]
            if not record.hidden
        ]

    def _shape(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        return self.trace.tensors[numbers[0]].shape if numbers else ()

    def _field(self, numbers: tuple[int, ...]) -> str:
        return self.trace.field_of(numbers[0]).short() if numbers else ""


def _total(times: list[float | None]) -> float | None:
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if known else None


def _kernel(trace: Trace, record: Record) -> str:
    """Return kernel and stride of a windowed operator: `7x7/2`."""
    sizes = record.arguments.get("kernel_size")
    if sizes is None and "convolution" in record.operator:
        sizes = trace.tensors[record.arguments["weight"].value].shape[2:]
    if not isinstance(sizes, (list, tuple, torch.Size)):
        return ""
    strides = [int(n) for n in record.arguments.get("stride") or sizes]
    text = "x".join(map(str, sizes))
    if any(stride != 1 for stride in strides):
        text += f"/{strides[0]}" if len(set(strides)) == 1 else "/" + "x".join(map(str, strides))
    return text


def _folded(rows: list[SummaryRow]) -> list[SummaryRow]:
    """Put runs of equal rows into one each."""
    folded: list[list[SummaryRow]] = []
    for row in rows:
        if folded and row.kind and folded[-1][0].key == row.key:
            folded[-1].append(row)
        else:
            folded.append([row])
    return [run[0] if len(run) == 1 else _sum_of(run) for run in folded]


def _sum_of(run: list[SummaryRow]) -> SummaryRow:
    """Return one row for equal ones: sums, and the receptive field of the last."""
    children = tuple(_sum_of(list(group)) for group in zip(*(row.children for row in run), strict=True))
    last = run[-1]
    name = last.name if run[0].name == last.name else f"{run[0].name} to {last.name}"
    return replace(
        last,
        name=name,
        repeats=sum(row.repeats for row in run),
        num_params=sum(row.num_params for row in run),
        macs=sum(row.macs for row in run),
        element_ops=sum(row.element_ops for row in run),
        bytes_moved=sum(row.bytes_moved for row in run),
        seconds=_total([row.seconds for row in run]),
        children=children,
    )
