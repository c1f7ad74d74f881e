"""The command line: parse, call one public function, render, set the exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.console import Console

from convscope import __version__
from convscope.cli import (
    audit,
    bench,
    cam,
    data,
    demo,
    doctor,
    draw,
    excite,
    experiment,
    explain,
    geometry,
    look,
    lr_range,
    models,
    predict,
    runs,
    signal,
    summary,
    sweep,
    trace,
    train,
)
from convscope.cli import eval as eval_
from convscope.errors import ConvscopeError, UsageError, printable

__all__ = ["app", "main"]

_HELP = "A convolutional neural network, laid open: every shape, count and value explained."
# Modules that import nothing heavy until they run.
_COMMANDS = {
    "demo": demo,
    "look": look,
    "signal": signal,
    "geometry": geometry,
    "summary": summary,
    "trace": trace,
    "explain": explain,
    "excite": excite,
    "audit": audit,
    "draw": draw,
    "train": train,
    "lr-range": lr_range,
    "sweep": sweep,
    "eval": eval_,
    "predict": predict,
    "cam": cam,
    "doctor": doctor,
    "bench": bench,
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
for _name, _module in _COMMANDS.items():
    app.command(_module.run, name=_name)
app.command(models.app)
app.command(data.app)
app.command(runs.app)
app.command(experiment.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 misused, 130 and 143 stopped."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a name that the terminal cannot spell stops nothing
    try:
        app(arguments, exit_on_error=False, print_error=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except CycloptsError as error:
        return _report(f"{_one_line(error)} Try: convscope {_command(arguments)}--help", UsageError.exit_code)
    except ConvscopeError as error:
        return _report(str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _report(str(error) or "stopped.", getattr(error, "exit_code", 130))
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; leave nothing for the interpreter to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        place = f"{error.filename!r}: " if error.filename else ""
        return _report(f"{place}{error.strerror or error}.", 1)
    except MemoryError:
        return _report("the memory does not suffice; ask for less at once.", 1)
    return 0


def _command(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in (*_COMMANDS, "models", "data", "runs") else ""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith((".", "?", "!")) else text + "."


def _report(message: str, code: int) -> int:
    if sys.stderr is not None:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        console.print(f"convscope: {printable(' '.join(message.split()))}")
    return code
