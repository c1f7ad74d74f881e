"""What the commands share: JSON on standard output, numbers from flags, one line about each written file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from convscope.errors import UsageError

__all__ = ["console", "int_list", "padding_of", "passing_line", "print_json", "say_written"]


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is, on standard output or standard error."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_json(facts: Mapping[str, object]) -> None:
    """Print what an analysis returned as `to_dict()`; NaN and infinity as null."""
    text = json.dumps(_finite(facts), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")


def _finite(value: object) -> object:
    """JSON knows no NaN and no infinity: both become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def say_written(*paths: Path) -> None:
    """Tell on standard error where files were written, so that standard output stays the result."""
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)


@contextmanager
def passing_line() -> Iterator[Callable[[str], None]]:
    """Yield what shows a text in the last line of a terminal until the next one; nothing elsewhere.

    No thread draws it, which would take time from what is being measured.
    """
    shown = sys.stderr is not None and sys.stderr.isatty()

    def show(text: str) -> None:
        if shown:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    try:
        yield show
    finally:
        show("")


def int_list(flag: str, text: str) -> tuple[int, ...]:
    """Read `32`, `32x48` or `32,48` as whole numbers.

    Example:
        >>> int_list("--input", "224x320")
        (224, 320)
    """
    try:
        return tuple(int(part) for part in text.replace(",", "x").split("x"))
    except ValueError:
        raise UsageError(f"{flag} {text!r} is no whole number nor several like 3x5.") from None


def padding_of(text: str) -> object:
    """Read a padding: `1`, `1x2` per axis, `0:1` before and after, `0:1x2:2`, or a word.

    Example:
        >>> padding_of("1"), padding_of("0:1x2"), padding_of("same")
        (1, ((0, 1), 2), 'same')
    """
    entries: list[object] = []
    for part in text.split("x"):
        sides = part.split(":")
        try:
            numbers = tuple(int(side) for side in sides)
        except ValueError:
            entries.append(part)  # a word; geometry knows which there are
            continue
        if len(numbers) > 2:
            raise UsageError(f"--padding {part!r} has {len(numbers)} sides; give before:after.")
        entries.append(numbers[0] if len(numbers) == 1 else numbers)
    if len(entries) == 1:
        return entries[0]
    return tuple(entries)
