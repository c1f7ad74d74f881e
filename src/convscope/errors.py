"""What can go wrong, as one tree.

    ConvscopeError
    ├── UsageError (ValueError)      the call itself is wrong; exit code 2
    │   ├── ShapeError               sizes, channels or windows that do not fit together
    │   └── UnknownNameError         a name nobody registered; carries the nearest ones
    ├── BadImageError                bytes that are not a picture we can show; exit code 1
    ├── DataError                    a data set that cannot be trained or tested on; exit code 1
    ├── OutputError                  a result that cannot be written; exit code 1
    ├── DownloadError                a file that cannot be fetched, or is another than was published; exit code 1
    ├── RunError                     a run folder that cannot be read or used; exit code 1
    │   └── WeightsError             weights that are damaged, tampered with, or hold code
    ├── NonFiniteLossError           training diverged; exit code 1
    └── OutOfMemoryError             a step that does not fit into memory; exit code 1

Each message says which call, the caller's numbers, the rule and the way out, in one line.
The command line prints `str(error)` and exits with `error.exit_code`; it never shows a traceback for these.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable
from typing import Self

_NAMES_AT_MOST = 20  # of the known names in one message

__all__ = [
    "BadImageError",
    "ConvscopeError",
    "DataError",
    "DownloadError",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "OutputError",
    "RunError",
    "ShapeError",
    "UnknownNameError",
    "UsageError",
    "WeightsError",
    "printable",
]


class ConvscopeError(Exception):
    """Base of every error that this library raises on purpose.

    `call` names the public call that refuses; `at` gives the same error another name, so that an inner rule
    is reported under the call that the person made.

    Example:
        >>> str(ConvscopeError("stride is 0; it must be at least 1.", call="Window").at("conv2d"))
        'conv2d: stride is 0; it must be at least 1.'
    """

    exit_code = 1

    def __init__(self, message: str, *, call: str | None = None) -> None:
        self.message, self.call = message, call
        super().__init__(f"{call}: {message}" if call else message)

    def at(self, call: str) -> Self:
        """Return this error as if `call` had refused."""
        renamed = copy.copy(self)
        ConvscopeError.__init__(renamed, self.message, call=call)
        return renamed


class UsageError(ConvscopeError, ValueError):
    """The call is wrong whatever the data: a value outside its range, a combination that has no meaning."""

    exit_code = 2


class ShapeError(UsageError):
    """Sizes, channels or windows that do not fit together."""


class UnknownNameError(UsageError):
    """A name that is not known, told together with the nearest names that are.

    Example:
        >>> str(UnknownNameError("model", "lenet", ["lenet5", "mlp"]))
        "unknown model 'lenet': did you mean 'lenet5'? Known: 'lenet5', 'mlp'."
    """

    def __init__(self, kind: str, name: object, known: Iterable[str], *, call: str | None = None) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        self.nearest = tuple(difflib.get_close_matches(str(name), self.known, n=3, cutoff=0.5))
        hint = f"did you mean {' or '.join(map(repr, self.nearest))}? " if self.nearest else ""
        known_text = ", ".join(map(repr, self.known[:_NAMES_AT_MOST])) or "none"
        if len(self.known) > _NAMES_AT_MOST:
            known_text += f" and {len(self.known) - _NAMES_AT_MOST} more"
        super().__init__(f"unknown {kind} {name!r}: {hint}Known: {known_text}.", call=call)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_unknown_name, (self.kind, self.name, self.known, self.call)


def _rebuild_unknown_name(
    kind: str, name: object, known: tuple[str, ...], call: str | None
) -> UnknownNameError:
    return UnknownNameError(kind, name, known, call=call)


class BadImageError(ConvscopeError):
    """Bytes that are not a picture this library decodes."""


class DataError(ConvscopeError):
    """A data set that cannot be used as asked: empty, one class only, of the wrong layout."""


class OutputError(ConvscopeError):
    """A result that cannot be written: no permission, no space, a file where a folder should be."""


class DownloadError(ConvscopeError):
    """A file that cannot be fetched, or that is another than was published."""


class RunError(ConvscopeError):
    """A run folder that cannot be read, or that another process is writing."""


class WeightsError(RunError):
    """Weights that are damaged, tampered with, or hold code; nothing was loaded."""


class NonFiniteLossError(ConvscopeError):
    """The loss became NaN or infinite; the run keeps its last good weights."""


class OutOfMemoryError(ConvscopeError):
    """A training step that does not fit into memory; the message says which batch size does."""


def printable(text: str) -> str:
    """Make a text of unknown origin safe for a terminal: no control characters, no line breaks.

    Example:
        >>> printable("cat\\x1b[31m\\n")
        'cat?[31m?'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)
