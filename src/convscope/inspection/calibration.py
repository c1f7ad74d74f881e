"""Whether a network is as often right as it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int

__all__ = ["Calibration", "CalibrationBin", "calibration"]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The images whose confidence lies above `low` and not above `high`.

    Attributes:
        accuracy: share of them that were recognised, None where there are none; `confidence` is their mean.
    """

    low: float
    high: float
    count: int
    accuracy: float | None
    confidence: float | None


@dataclass(frozen=True)
class Calibration(Shown):
    """How far confidence and accuracy lie apart, bin by bin.

    Attributes:
        expected_error: mean over the images of the difference between accuracy and confidence of their bin.
        largest_error: the largest such difference of a bin.
    """

    bins: tuple[CalibrationBin, ...]
    expected_error: float
    largest_error: float

    def to_dict(self) -> dict[str, object]:
        """Return bins and errors as plain values for JSON."""
        return {
            "expected_error": self.expected_error,
            "largest_error": self.largest_error,
            "bins": [asdict(each) for each in self.bins],
        }


def calibration(labels: Tensor, predictions: Tensor, confidences: Tensor, num_bins: int = 15) -> Calibration:
    """Compare what a network is confident of with how often it is right.

    The interval 0 to 1 is divided into equal bins (low, high]; the expected calibration error is
    sum over the bins of count / N * |accuracy - mean confidence|.

    Shapes:
        labels, predictions (N,) int64; confidences (N,), the probability of the predicted class
    Raises:
        ShapeError: there is not one of each an image, or no image.
        UsageError: a confidence outside 0 to 1.
    Source:
        Guo, Pleiss, Sun & Weinberger, arXiv:1706.04599, equations 2, 3 and 5, who take 15 bins.
    Example:
        >>> said, sure = torch.tensor([0, 0, 0, 0]), torch.tensor([0.9, 0.9, 0.6, 0.6])
        >>> found = calibration(torch.tensor([0, 0, 0, 1]), said, sure, num_bins=2)
        >>> round(found.expected_error, 6), found.bins[1].accuracy, found.bins[0].count
        (0.0, 0.75, 0)
    """
    num_bins = as_int("calibration: num_bins", num_bins, at_least=1)
    if not labels.shape == predictions.shape == confidences.shape or labels.dim() != 1 or not len(labels):
        raise ShapeError(
            f"labels have the shape {tuple(labels.shape)}, predictions {tuple(predictions.shape)}, confidences "
            f"{tuple(confidences.shape)}; give one of each an image, and at least one.",
            call="calibration",
        )
    sure = confidences.double()
    if not bool(((sure >= 0) & (sure <= 1)).all()):
        raise UsageError("a confidence is outside 0 to 1; give probabilities.", call="calibration")
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    place = torch.bucketize(sure, edges[1:-1])  # an edge belongs to the bin below it
    counts = torch.bincount(place, minlength=num_bins)
    right = torch.bincount(place, (labels == predictions).double(), minlength=num_bins)
    total = torch.bincount(place, sure, minlength=num_bins)
    gaps = (right - total).abs()
    bins = tuple(
        CalibrationBin(low, high, count, *((r / count, c / count) if count else (None, None)))
        for low, high, count, r, c in zip(
            edges.tolist(), edges[1:].tolist(), counts.tolist(), right.tolist(), total.tolist(), strict=False
        )
    )
    largest = float((gaps / counts.clamp(min=1)).max())
    return Calibration(bins, float(gaps.sum()) / len(labels), largest)
