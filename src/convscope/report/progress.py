"""How training shows itself in a terminal: a bar where there is one, plain lines where there is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from convscope.errors import printable
from convscope.training import EpochDone, Event, Warned

__all__ = ["epoch_line", "training_progress", "transfer"]


def epoch_line(name: str, event: EpochDone) -> str:
    """Return one epoch's metrics as a line of text.

    Example:
        >>> row = {"train_loss": 0.5, "train_acc@1": 0.8, "val_loss": 0.4, "acc@1": 0.85, "seconds": 3.0,
        ...        "images_per_second": 4000.0}
        >>> epoch_line("cnn", EpochDone(1, 5, row))
        'cnn epoch 1/5  train loss 0.5000 acc 80.00%  test loss 0.4000 acc 85.00%  3.0 s, 4,000 images/s'
    """
    row = event.metrics
    measured = f"  test loss {row['val_loss']:.4f} acc {row['acc@1']:.2%}" if "acc@1" in row else ""
    return (
        f"{name} epoch {event.epoch}/{event.epochs}  train loss {row['train_loss']:.4f} acc {row['train_acc@1']:.2%}"
        f"{measured}  {row['seconds']:.1f} s, {row['images_per_second']:,.0f} images/s"
    )


@contextmanager
def training_progress(console: Console) -> Iterator[Callable[[str, Event], None]]:
    """Yield a listener (name, event): a live bar a name in a terminal, one line an epoch everywhere."""
    if not console.is_terminal:

        def plain(name: str, event: Event) -> None:
            if isinstance(event, Warned):
                console.print(f"warning: {printable(event.message)}", markup=False, highlight=False)
            elif isinstance(event, EpochDone):
                console.print(epoch_line(name, event))

        yield plain
        return

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def live(name: str, event: Event) -> None:
            if isinstance(event, EpochDone):
                progress.console.print(epoch_line(name, event))
                return
            if isinstance(event, Warned):
                text = f"warning: {printable(event.message)}"
                progress.console.print(text, markup=False, highlight=False)
                return
            if name not in bars:
                bars[name] = progress.add_task(name, total=event.epochs * event.steps, figures="")
            progress.update(
                bars[name],
                description=f"{name} epoch {event.epoch}/{event.epochs}",
                completed=(event.epoch - 1) * event.steps + event.step,
                figures=f"loss {event.loss:.3f} acc {event.accuracy:.1%} {event.images_per_second:,.0f} images/s",
            )

        yield live


@contextmanager
def transfer(name: str, console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what a download calls with the bytes that came and the bytes of the whole: a bar in a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda have, whole: progress.update(bar, completed=have, total=whole)
