"""One thing found: what, where, how much, why it matters, what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["SEVERITIES", "Advice", "Finding", "NotChecked", "Severity"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of an audit.

    Attributes:
        kind: what it is, in kebab-case, such as `dropped-pixels`.
        severity: an `error` stops the network or breaks a limit that was set, a `warning` costs accuracy or
            resources, a `note` is worth knowing.
        place: the operator's name in the trace, or the parameter's; "" for the network as a whole.
        fact: what was found there, with its numbers.
        numbers: the same numbers by name; shares are fractions of 1, sizes are pixels or bytes.
        reason: why it matters, with its source.
        remedy: what helps.
    """

    kind: str
    severity: Severity
    place: str
    fact: str
    numbers: dict[str, int | float]
    reason: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values for JSON."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "place": self.place,
            "fact": self.fact,
            "numbers": dict(self.numbers),
            "reason": self.reason,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """What is said of every finding of one sort: it is told once, however many places there are."""

    kind: str
    severity: Severity
    reason: str
    remedy: str

    def at(
        self, place: str, fact: str, numbers: Mapping[str, int | float], severity: Severity | None = None
    ) -> Finding:
        """Return the finding at a place."""
        return Finding(
            self.kind, severity or self.severity, place, fact, dict(numbers), self.reason, self.remedy
        )


class NotChecked(Exception):
    """Raised by a check that cannot be made on this network and input; the text says why."""
