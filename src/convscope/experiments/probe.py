"""A linear probe: how much of the classes can be read off features by weighing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import ShapeError
from convscope.ops import softmax_cross_entropy

__all__ = ["Probe", "linear_probe"]

_STRENGTHS = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True, slots=True)
class Probe:
    """The accuracy of a probe on the test features, and the strength of the penalty that was chosen."""

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
    iterations: int = 60,
) -> Probe:
    """Fit softmax regression to features and tell how many test rows it gets right.

    Each feature is brought to mean 0 and deviation 1 by the training rows. What is minimised is the mean cross-entropy
    plus strength / 2 times the sum of the squared weights, by L-BFGS, so that no learning rate comes into it. The
    strength is the one that gets most of the last `held_out` rows right when fitted to the others; with it all
    training rows are fitted.

    Shapes:
        features (N, D), labels (N,) not sorted by class; test_features (M, D), test_labels (M,)
    Args:
        strengths: of equally good ones the first is taken; each fit starts from the one before.
        iterations: of L-BFGS at most, for each fit.
    Raises:
        ShapeError: the features are no two matrices of one width with a label a row.
    Source:
        Alain & Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644.
    Cost:
        Some 3 * iterations * N * D * classes MACs for each strength.
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
    num_classes = int(labels.max()) + 1
    pilot = _SoftmaxRegression(features[:kept], labels[:kept], num_classes)
    right: dict[float, int] = {}
    for strength in strengths:
        pilot.fit(strength, iterations)
        right[strength] = pilot.hits(features[kept:], labels[kept:])
    best = max(strengths, key=lambda each: right[each])
    whole = _SoftmaxRegression(features, labels, num_classes)
    whole.fit(best, iterations)
    return Probe(whole.hits(test_features, test_labels) / len(test_features), best)


class _SoftmaxRegression:
    """Weights and biases on standardised features."""

    def __init__(self, features: Tensor, labels: Tensor, num_classes: int) -> None:
        self.mean = features.double().mean(dim=0).float()
        deviation = features.double().std(dim=0, correction=0).float()
        self.deviation = deviation.where(
            deviation > 0, torch.ones_like(deviation)
        )  # a feature that never changes
        self.features, self.labels = self.standardised(features), labels
        self.weights = torch.zeros(features.shape[1], num_classes, requires_grad=True)
        self.biases = torch.zeros(num_classes, requires_grad=True)

    def standardised(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) / self.deviation

    def fit(self, strength: float, iterations: int) -> None:
        """Minimise from where the weights are."""
        optimizer = torch.optim.LBFGS(
            [self.weights, self.biases], max_iter=iterations, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            scores = self.features @ self.weights + self.biases
            value = softmax_cross_entropy(scores, self.labels) + strength / 2 * self.weights.square().sum()
            value.backward()
            return value

        optimizer.step(loss)

    def hits(self, features: Tensor, labels: Tensor) -> int:
        """Return how many rows get their own label."""
        with torch.no_grad():
            scores = self.standardised(features) @ self.weights + self.biases
        return int((scores.argmax(dim=1) == labels).sum())
