"""A linear probe: how much of the classes can be read off features by weighing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import ShapeError

__all__ = ["Probe", "linear_probe"]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Probe:
    """The accuracy of a probe on the test features, and the strength of the ridge that was chosen."""

    accuracy: float
    strength: float


def linear_probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    strengths: Sequence[float] = _STRENGTHS,
    held_out: float = 0.2,
) -> Probe:
    """Fit ridge regression to the classes, one target of 0 or 1 a class, and tell how many test rows it gets right.

    Each feature is brought to mean 0 and deviation 1 by the training rows. The strength is the one that gets most of
    the last `held_out` rows right when fitted to the others; with it all training rows are fitted. Solved in float64,
    so that no learning rate or number of steps comes into it.

    Shapes:
        features (N, D), labels (N,) not sorted by class; test_features (M, D), test_labels (M,)
    Args:
        strengths: what is added to the diagonal of the features' correlation matrix.
    Raises:
        ShapeError: the features are no two matrices of one width with a label a row.
    Cost:
        N * D^2 multiplications twice, and D^3 / 3 for each strength.
    Example:
        >>> features = torch.tensor([[-1.0], [1.0], [-2.0], [3.0], [2.0]])
        >>> labels = torch.tensor([0, 1, 0, 1, 1])
        >>> linear_probe(features, labels, torch.tensor([[-4.0], [4.0]]), torch.tensor([0, 1])).accuracy
        1.0
    """
    fits = features.dim() == test_features.dim() == 2 and features.shape[1] == test_features.shape[1]
    if not fits or labels.shape != features.shape[:1] or test_labels.shape != test_features.shape[:1]:
        raise ShapeError(
            f"features are {tuple(features.shape)} and {tuple(test_features.shape)}, labels {tuple(labels.shape)} and "
            f"{tuple(test_labels.shape)}; give (N, D) and (M, D) with a label a row.",
            call="linear_probe",
        )
    kept = max(1, len(features) - max(1, round(held_out * len(features))))
    pilot = _Ridge(features[:kept], labels[:kept])
    right = {each: pilot.right(each, features[kept:], labels[kept:]) for each in strengths}
    best = max(strengths, key=lambda each: right[each])
    whole = _Ridge(features, labels)
    return Probe(whole.right(best, test_features, test_labels) / len(test_features), best)


class _Ridge:
    """Normal equations of standardised features, to be solved for several strengths."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        values = features.double()
        self.mean = values.mean(dim=0)
        deviation = values.std(dim=0, correction=0)
        self.deviation = deviation.where(
            deviation > 0, torch.ones_like(deviation)
        )  # a feature that never changes
        values = (values - self.mean) / self.deviation
        targets = torch.nn.functional.one_hot(labels).double()
        self.bias = targets.mean(dim=0)
        self.correlations = values.T @ values / len(values)
        self.shares = values.T @ (targets - self.bias) / len(values)

    def right(self, strength: float, features: Tensor, labels: Tensor) -> int:
        """Return how many rows get their own label."""
        ridge = strength * torch.eye(len(self.mean), dtype=torch.float64)
        weights = torch.linalg.solve(self.correlations + ridge, self.shares)
        scores = (features.double() - self.mean) / self.deviation @ weights + self.bias
        return int((scores.argmax(dim=1) == labels).sum())
