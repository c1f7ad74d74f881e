"""The command line: parse, call one public function, render, set the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from convscope import __version__
from convscope.errors import ConvscopeError, UsageError

__all__ = ["app", "main"]

_HELP = "A convolutional neural network, laid open: every shape, count and value explained."
_COMMANDS = {
    "demo": "The source document's experiments and two small networks, trained and explained in one report.",
    "look": "Feature maps and filters of any layer, of a network of the zoo or of a run, for one picture.",
    "signal": "Convolution, cross-correlation and autocorrelation of two signals, side by side.",
    "geometry": "Output size, input size and cost of a window, with the formula and your numbers in it.",
    "train": "Train a network on the packaged images or on a folder of yours; leaves a run folder.",
    "eval": "Measure a run on its test images: accuracy, confusion matrix, the mistakes themselves.",
    "predict": "Name the likeliest classes of pictures.",
}

app = App(
    name="convscope",
    help=_HELP,
    version=__version__,
    help_format="plaintext",
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    result_action="return_none",
)
for _name, _help in _COMMANDS.items():
    # By path, so that only the command that runs is imported.
    app.command(f"convscope.cli.{_name}:run", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 misused, 130 and 143 stopped."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except CycloptsError as error:
        return _report(f"{_one_line(error)} Try: convscope {_command(arguments)}--help", UsageError.exit_code)
    except ConvscopeError as error:
        return _report(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _report(str(error) or "stopped.", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; leave nothing for the interpreter to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename!r}: " if error.filename else ""
        return _report(f"{place}{error.strerror or error}.", 1)
    except MemoryError:
        return _report("the memory does not suffice; give smaller pictures or a smaller batch.", 1)
    return 0


def _command(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in _COMMANDS else ""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith((".", "?", "!")) else text + "."


def _report(message: str, code: int) -> int:
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(f"convscope: {' '.join(message.split())}")
    return code


def entry() -> None:
    """Run as a program."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
