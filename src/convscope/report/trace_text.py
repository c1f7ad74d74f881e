"""A trace's operators in the terminal, one a line, with what each reads."""

from __future__ import annotations

from convscope.errors import printable
from convscope.report.summary_text import quantity
from convscope.trace import Trace

__all__ = ["trace_text"]


def trace_text(trace: Trace, *, width: int = 100) -> str:
    """Return the graph as text: number, name, operator, output shape, MACs, field, and the operators read."""
    readers: dict[int, list[int]] = {}
    for source, target in trace.edges:
        readers.setdefault(target, []).append(source)
    numbers = {record.index: place for place, record in enumerate(trace.visible)}
    rows: list[tuple[str, str, str, str, str, str]] = []
    for record in trace.visible:
        sources = ", ".join(
            trace.tensors[trace.inputs[-1 - s]].name if s < 0 else str(numbers[s])
            for s in readers.get(record.index, [])
        )
        shape = "x".join(map(str, trace.tensors[record.outputs[0]].shape)) if record.outputs else ""
        field = trace.field_of(record.outputs[0]).short() if record.outputs else ""
        rows.append(
            (
                f"{numbers[record.index]:>4}  {printable(record.name)}",
                record.short_operator,
                shape,
                quantity(record.macs) if record.macs else "-",
                field,
                sources,
            )
        )
    head = ("   #  name", "operator", "output", "MACs", "receptive field", "reads")
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(6)]
    room = width - sum(widths[1:5]) - 10 - len("reads")
    widths[0] = max(min(widths[0], room), 14)
    lines: list[str] = []
    for row in table:
        first = row[0] if len(row[0]) <= widths[0] else row[0][: widths[0] - 1] + "…"
        cells = [
            first.ljust(widths[0]),
            row[1].ljust(widths[1]),
            *(row[n].rjust(widths[n]) for n in (2, 3, 4)),
        ]
        lines.append(("  ".join(cells) + "  " + row[5]).rstrip()[: max(width, 40)])
    if trace.not_counted:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(trace.not_counted.items()))
        lines.append(f"not counted: {listed}")
    return "\n".join([*lines, str(trace)])
