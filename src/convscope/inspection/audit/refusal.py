"""A network that cannot take the input: the same as a finding."""

from __future__ import annotations

import re

from convscope.errors import ShapeError
from convscope.inspection.audit.finding import Finding

__all__ = ["finding_of", "is_refusal"]


def is_refusal(error: ShapeError) -> bool:
    """Tell whether the network refused the input, rather than `trace` the call."""
    return error.__cause__ is not None


def finding_of(error: ShapeError, shape: tuple[int, ...] | None) -> Finding:
    """Return the finding of a refused input: the first operator that failed, the shapes, the sizes that fit.

    Args:
        shape: of the input; with it the finding tells whether only larger sizes fit.
    """
    message, _, hint = error.message.partition(". It takes ")
    hint = f"It takes {hint}" if hint else ""
    if not hint:
        found = re.search(
            r"(The nearest input sizes that fit: .*|No size near it was found to fit\.)$", message
        )
        hint = found.group(1) if found else ""
        message = message.removesuffix(hint).strip()
    place = re.search(r"(?:operator (\S+) in |: )(the network|\S+) \(\w+\)", message)
    sizes = [tuple(map(int, text.split(", "))) for text in re.findall(r"\((\d+(?:, \d+)+)\)", hint)]
    small = (
        shape is not None
        and bool(sizes)
        and all(size[-1] > shape[-1] and size[1] == shape[1] for size in sizes)
    )
    numbers: dict[str, int | float] = {}
    if small and shape is not None:
        smallest = min(sizes, key=lambda size: size[-1])
        numbers = {"input_size": shape[-1], "smallest_size": smallest[-1]}
    name = place.group(2) if place else ""
    operator = place.group(1) if place else None
    return Finding(
        "input-too-small" if small else "input-refused",
        "error",
        "" if name == "the network" else name,
        re.sub(r"^input [^:]*: ", "", message),
        numbers,
        f"{operator or 'A layer'} is the first to fail; nothing behind it was audited.",
        hint or "Give an input of the shape that the network was made for.",
    )
