"""What an audit found, as text and as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from convscope.display import Shown
from convscope.inspection.audit.finding import SEVERITIES, Finding, Severity
from convscope.trace import Trace

__all__ = ["Audit"]

_PLACES_SHOWN = 3
_WIDTH = 100


@dataclass(frozen=True, eq=False)
class Audit(Shown):
    """The findings about a network on an input.

    Attributes:
        network: its class, and the input.
        findings: the worst first; within a severity in the order of the checks and of execution.
        checked: the kinds that were looked for.
        skipped: the kinds that were not, and why.
        trace: what was audited; None where the network refused the input.
    """

    network: str
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: dict[str, str]
    trace: Trace | None = field(default=None, repr=False)

    def of(self, severity: Severity) -> list[Finding]:
        """Return the findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def of_kind(self, kind: str) -> list[Finding]:
        """Return the findings of one kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def groups(self) -> list[list[Finding]]:
        """Return the findings that are told together: of one kind and severity, for one reason."""
        groups: dict[tuple[str, ...], list[Finding]] = {}
        for finding in self.findings:
            key = (finding.severity, finding.kind, finding.reason, finding.remedy)
            groups.setdefault(key, []).append(finding)
        return list(groups.values())

    def to_dict(self) -> dict[str, Any]:
        """Return every finding, unfolded, as plain values for JSON."""
        return {
            "network": self.network,
            "counts": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "findings": [finding.to_dict() for finding in self.findings],
            "checked": list(self.checked),
            "skipped": dict(self.skipped),
        }

    def __str__(self) -> str:
        groups = self.groups
        counts = [
            f"{count} {severity}{'s' if count != 1 else ''}"
            for severity in SEVERITIES
            if (count := sum(group[0].severity == severity for group in groups))
        ]
        lines = [f"{self.network}: {', '.join(counts) or 'nothing found'}"]
        for group in groups:
            lines += ["", *_told(group)]
        lines += ["", f"{len(self.checked)} kinds looked for."]
        if self.trace is None:
            return "\n".join([*lines[:-1], "Nothing else was looked for: the network did not run."])
        reasons: dict[str, list[str]] = {}
        for kind, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(kind)
        lines += [_wrapped(f"Not looked for: {', '.join(kinds)}: {why}.") for why, kinds in reasons.items()]
        return "\n".join(lines)


def _told(group: list[Finding]) -> list[str]:
    first = group[0]
    many = f" at {len(group)} places" if len(group) > 1 else ""
    lines = [f"{first.severity}: {first.kind}{many}"]
    lines += [_wrapped(_line(finding), "  ", "      ") for finding in group[:_PLACES_SHOWN]]
    if len(group) > _PLACES_SHOWN:
        lines.append(f"  and {len(group) - _PLACES_SHOWN} more")
    return [*lines, _wrapped(f"Why: {first.reason}", "  "), _wrapped(f"Remedy: {first.remedy}", "  ")]


def _line(finding: Finding) -> str:
    return f"{finding.place}: {finding.fact}" if finding.place else finding.fact


def _wrapped(text: str, indent: str = "", hanging: str | None = None) -> str:
    hanging = indent + "  " if hanging is None else hanging
    return fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
