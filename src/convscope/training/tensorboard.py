"""A run's figures for TensorBoard, if it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convscope.errors import UsageError
from convscope.training.events import EpochDone, Event, Listener, StepDone
from convscope.training.folder import TENSORBOARD

__all__ = ["check_tensorboard", "with_tensorboard"]

_QUEUED = 1000  # events that wait for the thread that writes them


def check_tensorboard() -> Any:
    """Return torch's writer of TensorBoard files.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            'tensorboard needs the package of that name; install it with: pip install "convscope[track]".',
            call="train",
        ) from error
    return SummaryWriter


@contextlib.contextmanager
def with_tensorboard(path: Path, listener: Listener | None) -> Iterator[Listener]:
    """Yield a listener that also writes each event's figures into the run folder, in a thread of its own.

    A resumed run goes on in the same curves: what an earlier process wrote of later steps is hidden.
    """
    writer = None

    def tell(event: Event) -> None:
        nonlocal writer
        if isinstance(event, (StepDone, EpochDone)):
            step = event.whole_step if isinstance(event, StepDone) else event.steps_done
            if writer is None:
                writer = check_tensorboard()(str(path / TENSORBOARD), purge_step=step, max_queue=_QUEUED)
            for name, value in _figures(event):
                writer.add_scalar(name, value, step)
        if listener is not None:
            listener(event)

    try:
        yield tell
    finally:
        if writer is not None:
            writer.close()


def _figures(event: StepDone | EpochDone) -> Iterator[tuple[str, float]]:
    if isinstance(event, StepDone):
        yield "step/loss", event.loss
        yield "step/lr", event.lr
        return
    for name, value in event.metrics.items():
        if isinstance(value, (int, float)) and name != "epoch":
            yield f"epoch/{name}", value
