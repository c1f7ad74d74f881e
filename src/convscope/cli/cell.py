"""A cell of a run's confusion matrix as a command names it, TRUE:PREDICTED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from convscope.data import ImageSet
    from convscope.training import Run

__all__ = ["classes_of_cell", "of_cell"]


def classes_of_cell(cell: str, call: str) -> tuple[str, str]:
    """Return the two classes that a cell names.

    Raises:
        UsageError: it is not TRUE:PREDICTED.
    Example:
        >>> classes_of_cell("dress:coat", "cam")
        ('dress', 'coat')
    """
    true, colon, predicted = cell.partition(":")
    if not colon:
        raise UsageError(f"--cell {cell!r} names no two classes; give TRUE:PREDICTED.", call=call)
    return true, predicted


def of_cell(run: Run, images: ImageSet, cell: str, call: str) -> Tensor:
    """Return the indices of the images of one class that the run takes for another, the most confident first.

    Raises:
        UnknownNameError: no such class; the nearest names are told.
        UsageError: no such image.
    """
    import torch

    from convscope.inspection import confused

    true, predicted = classes_of_cell(cell, call)
    told = run.evaluate(images)
    inside = confused(told.labels, told.predictions, told.confidences, told.classes, true, predicted)
    if not inside:
        raise UsageError(
            f"no image of {true!r} is taken for {predicted!r}; look at convscope eval.", call=call
        )
    return torch.tensor([entry.index for entry in inside])
