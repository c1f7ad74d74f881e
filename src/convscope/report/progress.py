"""How training shows itself in a terminal: a table where there is one, plain lines where there is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table

from convscope.errors import printable
from convscope.training import EpochDone, Event, StepDone, Warned

__all__ = ["epoch_line", "progress_table", "training_progress", "transfer"]


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
    """Yield a listener (name, event): a live table with a row a name in a terminal, one line an epoch everywhere."""
    if not console.is_terminal:

        def plain(name: str, event: Event) -> None:
            if isinstance(event, Warned):
                console.print(f"warning: {printable(event.message)}", markup=False, highlight=False)
            elif isinstance(event, EpochDone):
                console.print(epoch_line(name, event))

        yield plain
        return

    running: dict[str, StepDone] = {}
    with Live(
        console=console,
        transient=True,
        refresh_per_second=4,
        get_renderable=lambda: progress_table(running, console.width),
    ) as shown:

        def live(name: str, event: Event) -> None:
            if isinstance(event, StepDone):
                running[name] = event  # drawn by a thread, four times a second
            elif isinstance(event, EpochDone):
                shown.console.print(epoch_line(name, event))
            else:
                text = f"warning: {printable(event.message)}"
                shown.console.print(text, markup=False, highlight=False)

        yield live


def progress_table(running: Mapping[str, StepDone], width: int = 100) -> Table:
    """Return how far each training is, a row a network; a bar besides where `width` letters leave room for it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, max_width=14)
    for head in ("epoch", "step", "loss", "accuracy", "rate", "images/s", "of limit", "left"):
        table.add_column(head, justify="right", no_wrap=True)
    bar = 20 if width >= 100 else 0
    if bar:
        table.add_column("", width=bar)
    for name, event in list(running.items()):
        share, left = event.share_of_limit, event.seconds_left
        table.add_row(
            name,
            f"{event.epoch}/{event.epochs}",
            f"{event.step}/{event.steps}",
            f"{event.loss:.3f}",
            f"{event.accuracy:.1%}",
            f"{event.lr:.1e}",
            f"{event.images_per_second:,.0f}",
            "-" if share is None else f"{share:.0%}",
            "-" if left is None else _clock(left),
            *([ProgressBar(event.epochs * event.steps, event.whole_step, width=bar)] if bar else []),
        )
    return table


def _clock(seconds: float) -> str:
    """Return a time as people read it.

    Example:
        >>> _clock(75.4), _clock(7260)
        ('1:15', '2:01:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def transfer(name: str, console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """Yield what a download calls with the bytes that came and the bytes of the whole: a bar in a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda have, whole: progress.update(bar, completed=have, total=whole)
