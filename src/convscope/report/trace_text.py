"""A trace's operators in the terminal, one a line, with what each reads."""

from __future__ import annotations

from convscope.errors import printable
from convscope.report.summary_text import fitted_table, quantity, wrapped
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
    heads = {"operator": 1, "output": 2, "MACs": 3, "receptive field": 4, "reads": 5}
    columns = {head: (head, [row[place] for row in rows]) for head, place in heads.items()}
    lines, left_out = fitted_table(
        "   #  name",
        [row[0] for row in rows],
        columns,
        ("operator", "MACs", "receptive field", "reads", "output"),
        width,
        flush_left=("operator", "reads"),
        narrowest=10
        ** 6,  # names can be given to `explain` and are not shortened while a column can go instead
    )
    if trace.not_counted:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(trace.not_counted.items()))
        lines += wrapped(f"not counted: {listed}", width)
    lines += wrapped(str(trace), width)
    if left_out:
        lines += wrapped(f"columns left out at this width: {', '.join(left_out)}", width)
    return "\n".join(lines)
