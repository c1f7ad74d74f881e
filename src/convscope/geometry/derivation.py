"""A formula of the field with the caller's numbers put into it, line by line."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.display import Shown

__all__ = ["Derivation"]


@dataclass(frozen=True, slots=True)
class Derivation(Shown):
    """How one number comes about.

    Attributes:
        quantity: what is derived, `output_size` or `num_params`.
        steps: the formula, then the formula with numbers, then what it reduces to; the last is the value.
        value: the result.
        notes: what a careful reader should also know, such as pixels that no window reads.
    Example:
        >>> print(Derivation("area", ("width * height", "3 * 4", "12"), 12))
        area = width * height
             = 3 * 4
             = 12
    """

    quantity: str
    steps: tuple[str, ...]
    value: int | tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        indent = " " * len(self.quantity)
        heads = [self.quantity] + [indent] * (len(self.steps) - 1)
        lines = [f"{head} = {step}" for head, step in zip(heads, self.steps, strict=True)]
        return "\n".join([*lines, *(f"({note})" for note in self.notes)])

    def to_dict(self) -> dict[str, object]:
        """Return the derivation as plain values for JSON."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {
            "quantity": self.quantity,
            "steps": list(self.steps),
            "value": value,
            "notes": list(self.notes),
        }
