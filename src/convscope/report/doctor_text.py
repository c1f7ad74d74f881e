"""What `convscope doctor` prints: the machine's facts, and a network's convolutions against the machine's limits."""

from __future__ import annotations

from collections.abc import Sequence

from convscope.acceleration import Diagnosis, Machine, NetworkDiagnosis, OneDnnCall
from convscope.errors import printable
from convscope.kernels.cases import Case
from convscope.report.summary_text import fitted_table, quantity

__all__ = ["PASS_NAMES", "case_label", "doctor_text", "flush_table"]

_DENORMALS = {
    "zero": "counted as zero",
    "zero in some threads": "counted as zero in some threads; the others were started before this was set",
    "kept": "kept, so arithmetic with them is slow: this processor or PyTorch cannot leave them out",
}
PASS_NAMES = {"forward": "forward", "backward_input": "grad input", "backward_weight": "grad weight"}


def doctor_text(found: Diagnosis) -> str:
    """Return the diagnosis as text: the machine, then the network if there is one."""
    blocks = [_machine_text(found.machine)]
    if found.network is not None:
        blocks.append(_network_text(found.network))
    return "\n\n".join(blocks)


def case_label(case: Case) -> str:
    """Return a convolution in one cell: channels, kernel, stride, groups and dilation where they matter, input size.

    Example:
        >>> case_label(Case("forward", (2, 32, 28, 14), (64, 1, 3, 3), (2, 2), (1, 1), (1, 1), 32, "float32", 1))
        '32 > 64, 3x3 /2, 32 groups, on 28x14'
    """
    parts = [f"{case.input[1]} > {case.weight[0]}", _pair(case.weight[2:])]
    if set(case.stride) != {1}:
        parts[-1] += f" /{_pair(case.stride, once=True)}"
    if set(case.dilation) != {1}:
        parts.append(f"dilation {_pair(case.dilation, once=True)}")
    if case.groups > 1:
        parts.append(
            "depthwise" if case.groups == case.input[1] == case.weight[0] else f"{case.groups} groups"
        )
    return f"{', '.join(parts)}, on {_pair(case.input[2:])}"


def flush_table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str]) -> str:
    """Lay rows out in columns: the first and those of `words` flush left, numbers flush right.

    Example:
        >>> print(flush_table(("layer", "ms", "route"), [("conv1", "2.5", "dense"), ("c2", "10.0", "gemm")], ["route"]))
        layer    ms  route
        conv1   2.5  dense
        c2     10.0  gemm
    """
    columns = {name: (name, [row[place] for row in rows]) for place, name in enumerate(head) if place}
    names = [row[0] for row in rows]
    lines, _ = fitted_table(head[0], names, columns, (), 10**6, flush_left=words, narrowest=10**6)
    return "\n".join(lines)


def _pair(numbers: Sequence[int], once: bool = False) -> str:
    numbers = numbers[:1] if once and len(set(numbers)) == 1 else numbers
    return "x".join(map(str, numbers))


def _machine_text(machine: Machine) -> str:
    processor = machine.processor
    bf16 = "bfloat16 native" if processor.native_bf16 else "no bfloat16 instructions"
    features = " ".join(processor.features) or "no features of interest"
    keeps = (
        "keeps freed memory for the next step" if machine.keeps_memory else "cannot be told to keep memory"
    )
    rows = (
        ("CPU", f"{processor.name} ({processor.architecture}), {_count(processor.cores, 'core')}"),
        ("", f"{features}; {bf16}"),
        (
            "PyTorch",
            f"{machine.torch_version}, {_count(machine.threads, 'thread')}, "
            f"{'with' if machine.onednn else 'without'} oneDNN",
        ),
        ("OpenMP", _openmp(machine)),
        ("memory", f"{machine.allocator} {keeps}"),
        ("denormals", _DENORMALS[machine.denormals]),
        (
            "kernels",
            f"{machine.instruction_set}, {machine.library}" if machine.library else f"none: {machine.reason}",
        ),
        ("routes", f"{machine.tuned} timed on this machine, in {machine.tuned_path}"),
    )
    lines = [f"{head:<11}{printable(text)}" for head, text in rows]
    if machine.library and machine.verdicts:
        tests = [
            (
                each.family,
                "passed" if each.passed else "WRONG, switched off",
                str(each.cases),
                f"{each.error:.1e}",
                f"{each.bound:.1e}",
                each.worst,
            )
            for each in machine.verdicts
        ]
        lines += [
            "",
            flush_table(
                ("kernel family", "verdict", "cases", "worst error", "bound", "in"), tests, ("verdict", "in")
            ),
        ]
    lines += ["", *(f"problem: {each}" for each in machine.problems)] if machine.problems else []
    return "\n".join(lines)


def _openmp(machine: Machine) -> str:
    names = ", ".join(machine.openmp)
    if len(machine.openmp) != 1:
        return f"{len(machine.openmp)} runtimes: {names}" if names else "no runtime found in this process"
    sharers = "PyTorch and the kernels share its threads" if machine.library else "PyTorch's"
    return f"one runtime, {names}: {sharers}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _network_text(found: NetworkDiagnosis) -> str:
    limits = found.limits
    bf16 = f", bfloat16 {limits.bf16_flops / 1e9:.0f} GFLOP/s" if limits.bf16_flops else ""
    lines = [
        f"limits, measured now with {_count(limits.threads, 'thread')}: float32 {limits.fp32_flops / 1e9:.0f} GFLOP/s"
        f"{bf16}, memory {limits.bytes_per_second / 1e9:.1f} GB/s",
        "",
        f"{printable(found.name)}, one step of {found.mode} on {'x'.join(map(str, found.shape))}, accelerated: "
        f"{quantity(found.step_seconds, 's')}",
    ]
    if not found.accelerated_parts:
        lines.append("no part of it could be fused: it runs as PyTorch runs it")
    if found.rows:
        lines += ["", _rows_text(found), "", *_totals(found)]
    else:
        lines.append("no convolution of it goes through a route")
    for title, calls in (("PyTorch alone", found.plain_fallbacks), ("accelerated", found.fallbacks)):
        lines += ["", _fallbacks_text(title, calls)]
    return "\n".join(lines)


def _rows_text(found: NetworkDiagnosis) -> str:
    rows = [
        (
            case_label(row.case),
            PASS_NAMES[row.case.passing],
            row.route,
            str(row.count),
            f"{row.seconds * 1e3:.3f}",
            f"{row.total_seconds * 1e3:.3f}",
            f"{row.flops / 1e9:.1f}",
            f"{row.share:.0%}",
        )
        for row in found.rows
    ]
    head = ("convolution", "pass", "route", "count", "ms", "total ms", "GFLOP/s", "of limit")
    return flush_table(head, rows, ("pass", "route", "implementation", "type"))


def _totals(found: NetworkDiagnosis) -> list[str]:
    calls = sum(row.count for row in found.rows)
    lines = [
        f"{calls} convolutions, {quantity(found.macs)} MACs, {found.seconds * 1e3:.3f} ms: "
        f"{2 * found.macs / found.seconds / 1e9:.1f} GFLOP/s, {found.limit_seconds / found.seconds:.0%} of the limit "
        f"({found.limit_seconds * 1e3:.3f} ms)",
        "The limit of a pass is the longer of its arithmetic at the measured GFLOP/s and its bytes at the measured "
        "GB/s.",
    ]
    if any(row.share > 1 for row in found.rows):
        lines.append(
            "More than 100 %: its maps stay in the caches, which are faster than memory, or the machine was busier "
            "when the limits were measured."
        )
    return lines


def _fallbacks_text(title: str, calls: Sequence[OneDnnCall]) -> str:
    if not calls:
        return f"{title}: no convolution fell to a reference or gemm implementation of oneDNN"
    rows = [
        (
            call.shape,
            PASS_NAMES.get(call.passing, call.passing),
            call.implementation,
            call.dtype,
            str(call.count),
            f"{call.seconds * 1e3:.3f}",
        )
        for call in calls
    ]
    head = (f"{title}: slow implementations of oneDNN", "pass", "implementation", "type", "count", "total ms")
    return flush_table(head, rows, ("pass", "route", "implementation", "type"))
