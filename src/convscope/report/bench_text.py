"""What `convscope bench` prints: what tuning changed, then the variants side by side."""

from __future__ import annotations

from convscope.acceleration import Comparison, Contest
from convscope.errors import printable
from convscope.report.columns import table
from convscope.report.doctor_text import PASS_NAMES, case_label, flush_table

__all__ = ["bench_text"]


def bench_text(found: Comparison) -> str:
    """Return the comparison as text."""
    threads = f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    blocks = [
        f"{printable(found.name)} on {'x'.join(map(str, found.shape))}, {threads}, accelerated in {found.dtype}; "
        f"medians of {found.rounds} rounds, in turns"
    ]
    if found.tuned is not None:
        blocks.append(_tuned_text(found))
    blocks += [_contest_text(contest) for contest in found.contests]
    blocks.append(
        "All run in one process that keeps its memory and counts denormal numbers as zero; PyTorch without that is "
        "slower.\nDifferences are from PyTorch: of results relative to the largest, of gradients to their norm."
    )
    if found.problems:
        blocks.append("\n".join(f"problem: {each}" for each in found.problems))
    return "\n\n".join(blocks)


def _contest_text(contest: Contest) -> str:
    rows = []
    for each in contest.variants:
        lower, upper = each.quartiles
        off = each.gradient_difference
        rows.append(
            (
                each.name,
                f"{each.median * 1e3:.2f}",
                f"{lower * 1e3:.2f} - {upper * 1e3:.2f}",
                f"{contest.images_per_second(each):,.1f}",
                f"{contest.ratio(each):.2f}x",
                f"{each.difference:.1e}",
                "-" if off is None else f"{off:.1e}",
                "-" if each.agreement is None else f"{each.agreement:.0%}",
            )
        )
    head = ("ms", "quartiles", "images/s", "ratio", "difference", "of gradients", "same class")
    return table((contest.mode, *head), rows)


def _tuned_text(found: Comparison) -> str:
    tuned = found.tuned or ()
    if not tuned:
        return "tuning: no convolution of this step goes through a route, so there was nothing to time"
    gained = sum(each.gain_seconds for each in found.changed)
    total = sum(each.count * each.timing.seconds[each.rule] for each in tuned)
    lines = [
        f"tuning: {len(tuned)} cases timed, {len(found.changed)} of them faster by another route than the rule's: "
        f"{gained * 1e3:.2f} of {total * 1e3:.2f} ms a step; kept in {printable(found.tuned_path)}"
    ]
    if found.changed:
        rows = [
            (
                case_label(each.timing.case),
                PASS_NAMES[each.timing.case.passing],
                f"{each.rule} {each.timing.seconds[each.rule] * 1e3:.3f} ms",
                f"{each.timing.best} {each.timing.seconds[each.timing.best] * 1e3:.3f} ms",
                str(each.count),
                f"{each.gain_seconds * 1e3:.3f}",
            )
            for each in sorted(found.changed, key=lambda each: -each.gain_seconds)
        ]
        lines.append(
            flush_table(
                ("convolution", "pass", "rule", "now", "count", "gained ms"), rows, ("pass", "rule", "now")
            )
        )
    return "\n".join(lines)
