"""Which classes a network takes for which, and the very images it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from convscope.display import Shown
from convscope.errors import ShapeError, UnknownNameError

__all__ = [
    "ConfusionMatrix",
    "Mistake",
    "Unsure",
    "confused",
    "confusion_matrix",
    "mistakes",
    "most_unsure",
]


@dataclass(frozen=True, eq=False)
class ConfusionMatrix(Shown):
    """Counts of (true class, predicted class).

    Shapes:
        counts (K, K) int64; row: true class, column: predicted class
    """

    counts: Tensor
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """Return the share of images on the diagonal."""
        return int(self.counts.diagonal().sum()) / int(self.counts.sum())

    @property
    def shares(self) -> Tensor:
        """Return each row as shares of its true class, (K, K) float64; 0 for a class without images."""
        return self.counts.double() / self.counts.sum(dim=1, keepdim=True).clamp(min=1)

    @property
    def recall(self) -> tuple[float, ...]:
        """Return, for each true class, the share that was recognised; NaN for a class without images."""
        return tuple((self.counts.diagonal().double() / self.counts.sum(dim=1)).tolist())

    @property
    def precision(self) -> tuple[float, ...]:
        """Return, for each predicted class, the share that was right; NaN for a class never predicted."""
        return tuple((self.counts.diagonal().double() / self.counts.sum(dim=0)).tolist())

    def worst_pairs(self, count: int = 5) -> tuple[tuple[str, str, int], ...]:
        """Return the most frequent mistakes as (true, predicted, how often)."""
        errors = self.counts.clone().fill_diagonal_(0).flatten()
        order = errors.argsort(descending=True, stable=True)[:count].tolist()
        return tuple(
            (
                self.classes[cell // len(self.classes)],
                self.classes[cell % len(self.classes)],
                int(errors[cell]),
            )
            for cell in order
            if errors[cell] > 0
        )

    def to_dict(self) -> dict[str, object]:
        """Return the matrix and its summaries as plain values for JSON; NaN becomes null."""
        return {
            "classes": list(self.classes),
            "counts": self.counts.tolist(),
            "accuracy": self.accuracy,
            "recall": [None if value != value else value for value in self.recall],
            "precision": [None if value != value else value for value in self.precision],
            "worst_pairs": [
                {"true": true, "predicted": predicted, "count": count}
                for true, predicted, count in self.worst_pairs()
            ],
        }


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: Sequence[str]) -> ConfusionMatrix:
    """Count the pairs of true and predicted class.

    Shapes:
        labels, predictions (N,) int64, values 0 to len(classes) - 1
    Example:
        >>> matrix = confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), ("cat", "dog"))
        >>> matrix.counts.tolist(), matrix.worst_pairs()
        ([[1, 1], [0, 1]], (('cat', 'dog', 1),))
    """
    if labels.shape != predictions.shape or labels.dim() != 1:
        raise ShapeError(
            f"labels have the shape {tuple(labels.shape)}, predictions {tuple(predictions.shape)}; "
            "give one of each an image.",
            call="confusion_matrix",
        )
    size = len(classes)
    cells = torch.bincount(labels * size + predictions, minlength=size * size)
    return ConfusionMatrix(cells.reshape(size, size), tuple(classes))


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image that was taken for another class: its index in the set, both classes, the confidence."""

    index: int
    true: str
    predicted: str
    confidence: float

    def to_dict(self) -> dict[str, object]:
        """Return the mistake as plain values for JSON."""
        return asdict(self)


def mistakes(
    labels: Tensor, predictions: Tensor, confidences: Tensor, classes: Sequence[str], count: int | None = None
) -> tuple[Mistake, ...]:
    """Return the wrongly recognised images, the most confident mistakes first.

    Example:
        >>> labels, said = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0])
        >>> mistakes(labels, said, torch.tensor([0.6, 0.9, 0.8]), ("cat", "dog"))[0]
        Mistake(index=2, true='dog', predicted='cat', confidence=0.800000011920929)
    """
    wrong = (labels != predictions).nonzero().flatten()
    order = wrong[confidences[wrong].argsort(descending=True, stable=True)][:count]
    return tuple(
        Mistake(i, classes[int(labels[i])], classes[int(predictions[i])], float(confidences[i]))
        for i in order.tolist()
    )


def confused(
    labels: Tensor,
    predictions: Tensor,
    confidences: Tensor,
    classes: Sequence[str],
    true: str,
    predicted: str,
) -> tuple[Mistake, ...]:
    """Return the images of one cell of a confusion matrix, the most confident first; on its diagonal the right ones.

    Shapes:
        labels, predictions (N,) int64; confidences (N,)
    Raises:
        UnknownNameError: no such class; the nearest names are told.
    Example:
        >>> labels, said = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 0])
        >>> cell = confused(labels, said, torch.tensor([0.5, 0.6, 0.7, 0.8]), ("cat", "dog"), "dog", "cat")
        >>> [image.index for image in cell]
        [3, 1]
    """
    for name in (true, predicted):
        if name not in classes:
            raise UnknownNameError("class", name, classes, call="confused")
    row, column = (list(classes).index(name) for name in (true, predicted))
    inside = ((labels == row) & (predictions == column)).nonzero().flatten()
    order = inside[confidences[inside].argsort(descending=True, stable=True)]
    return tuple(Mistake(i, true, predicted, float(confidences[i])) for i in order.tolist())


@dataclass(frozen=True, slots=True)
class Unsure:
    """One image between two classes: its index in the set, what it is, the two likeliest classes.

    Attributes:
        margin: by how much the probability of `predicted` exceeds that of `runner_up`.
    """

    index: int
    true: str
    predicted: str
    runner_up: str
    margin: float

    def to_dict(self) -> dict[str, object]:
        """Return the image's facts as plain values for JSON."""
        return asdict(self)


def most_unsure(
    labels: Tensor,
    predictions: Tensor,
    runners_up: Tensor,
    margins: Tensor,
    classes: Sequence[str],
    count: int | None = None,
) -> tuple[Unsure, ...]:
    """Return the images whose two likeliest classes are nearest to each other, the smallest margin first.

    Shapes:
        labels, predictions, runners_up (N,) int64; margins (N,)
    Example:
        >>> labels, said, second = torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([1, 1])
        >>> most_unsure(labels, said, second, torch.tensor([0.5, 0.25]), ("cat", "dog"), 1)
        (Unsure(index=1, true='dog', predicted='cat', runner_up='dog', margin=0.25),)
    """
    return tuple(
        Unsure(
            i,
            classes[int(labels[i])],
            classes[int(predictions[i])],
            classes[int(runners_up[i])],
            float(margins[i]),
        )
        for i in margins.argsort(stable=True)[:count].tolist()
    )
