"""A network's table in the terminal: as wide as it is, the most wanted columns first."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

from convscope.errors import UnknownNameError, printable
from convscope.inspection import Summary, SummaryRow

__all__ = ["COLUMNS", "fitted_table", "quantity", "summary_text", "wrapped"]

_NARROWEST = 18  # of the first column
_WANTED = (
    "input",
    "kernel",
    "ops",
    "bytes",
    "time",
    "rf",
    "macs",
    "params",
    "output",
)  # the most wanted last


def quantity(value: float, unit: str = "") -> str:
    """Write a number with four digits and a prefix.

    Example:
        >>> quantity(4_089_184_256), quantity(1500, "B"), quantity(12), quantity(0.00123, "s")
        ('4.089 G', '1.500 kB', '12', '1.230 ms')
    """
    if value == 0:
        return f"0 {unit}".strip()
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{_four(value / factor)} {prefix}{unit}"
    if isinstance(value, int) or unit != "s":
        return f"{value:g} {unit}".strip()
    if value >= 1:
        return f"{_four(value)} s"
    return f"{_four(value * 1e3)} ms" if value >= 1e-3 else f"{_four(value * 1e6)} us"


def _four(value: float) -> str:
    digits = 3 if value < 10 else 2 if value < 100 else 1
    return f"{value:.{digits}f}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _params(row: SummaryRow) -> str:
    if row.shared:
        return "(shared)"
    return f"{row.num_params:,}" if row.num_params else "-"


# name: (heading, cell)
COLUMNS: dict[str, tuple[str, Callable[[SummaryRow], str]]] = {
    "input": ("input", lambda row: _shape(row.input_shape)),
    "output": ("output", lambda row: _shape(row.output_shape)),
    "kernel": ("kernel", lambda row: row.kernel),
    "params": ("params", _params),
    "macs": ("MACs", lambda row: quantity(row.macs) if row.macs else "-"),
    "rf": ("receptive field", lambda row: row.receptive_field),
    "ops": ("element ops", lambda row: quantity(row.element_ops) if row.element_ops else "-"),
    "bytes": ("bytes", lambda row: quantity(row.bytes_moved, "B") if row.bytes_moved else "-"),
    "time": ("time", lambda row: quantity(row.seconds, "s") if row.seconds is not None else "-"),
}


def summary_text(
    summary: Summary, columns: Sequence[str] = ("output", "params", "macs", "rf"), width: int = 100
) -> str:
    """Return the table and its totals, no line longer than `width` letters.

    Columns that do not fit are left out, the least wanted first, and it is said which.

    Raises:
        UnknownNameError: a column that there is not.
    """
    for name in columns:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, COLUMNS, call="summary")
    rows = summary.rows
    cells = {name: (COLUMNS[name][0], [COLUMNS[name][1](row) for row in rows]) for name in columns}
    lines, left_out = fitted_table("layer", [_label(row) for row in rows], cells, _WANTED, width)
    rule = "-" * min(max(map(len, lines)), width)
    lines = [lines[0], rule, *lines[1:], rule]
    lines += [part for line in _totals(summary) for part in wrapped(line, width)]
    if left_out:
        lines += wrapped(f"columns left out at this width: {', '.join(left_out)}", width)
    return "\n".join(lines)


def fitted_table(
    heading: str,
    names: Sequence[str],
    columns: Mapping[str, tuple[str, Sequence[str]]],
    wanted: Sequence[str],
    width: int,
    *,
    flush_left: Sequence[str] = (),
    narrowest: int = _NARROWEST,
) -> tuple[list[str], list[str]]:
    """Lay out a first column of names and further columns in lines of `width`; return them and what was left out.

    Args:
        columns: heading and cells of each further column, in order.
        wanted: the columns' names, the most wanted last: the others are left out first.
        flush_left: columns that are no numbers.
        narrowest: letters of the first column below which columns are left out instead.
    """
    widths = {name: max(len(head), *map(len, cells), 1) for name, (head, cells) in columns.items()}
    kept = list(columns)
    needed = min(max(map(len, (heading, *names))), narrowest)
    while kept and needed + sum(widths[name] + 2 for name in kept) > width:
        kept.remove(min(kept, key=list(wanted).index))
    room = width - sum(widths[name] + 2 for name in kept)
    first = min(max(len(heading), *map(len, names)), room)
    lines: list[str] = []
    for place in range(-1, len(names)):
        label = heading if place < 0 else _elided(names[place], first)
        line = label.ljust(first)
        for name in kept:
            cell = columns[name][0] if place < 0 else columns[name][1][place]
            line += "  " + (cell.ljust(widths[name]) if name in flush_left else cell.rjust(widths[name]))
        lines.append(line.rstrip())
    return lines, [columns[name][0] for name in columns if name not in kept]


def _label(row: SummaryRow) -> str:
    times = f"{row.repeats} x " if row.repeats > 1 else ""
    kind = f" ({times}{row.kind})" if row.kind and row.level else f" ({times.strip()})" if times else ""
    return "  " * row.level + printable(row.name) + printable(kind)


def _elided(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return text[: width - 1] + "…"


def _totals(summary: Summary) -> list[str]:
    found = summary.trace
    inputs = ", ".join(f"{found.tensors[n].name} {_shape(found.tensors[n].shape)}" for n in found.inputs)
    fixed = found.num_params - summary.trainable_params
    lines = [
        f"input: {printable(inputs)}",
        f"parameters: {found.num_params:,}"
        + (f", {fixed:,} of them frozen" if fixed else "")
        + f" ({quantity(summary.params_bytes, 'B')}); buffers: {found.num_buffers:,}",
        f"MACs: {found.macs:,} ({quantity(found.macs)}; FLOPs are twice that); other element operations: "
        f"{quantity(found.element_ops)}",
        f"moved: {quantity(found.bytes_moved, 'B')}; most activations at once: {quantity(found.peak_bytes, 'B')}",
    ]
    if found.seconds is not None:
        lines.append(f"time in operators: {quantity(found.seconds, 's')}, one run")
    if found.unused_parameters:
        names = ", ".join(found.unused_parameters[:4]) + (", ..." if len(found.unused_parameters) > 4 else "")
        lines.append(f"parameters never used: {printable(names)}")
    if found.not_counted:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(found.not_counted.items()))
        lines.append(f"not counted: {listed}")
    return lines


def wrapped(line: str, width: int) -> list[str]:
    """Break a line at spaces; what follows is indented."""
    return textwrap.wrap(line, max(width, 20), subsequent_indent="  ") or [""]
