"""How much a network's answer changes when its input moves by a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.inspection.feature_maps import feature_maps

__all__ = ["ShiftConsistency", "shift_consistency", "shifted"]

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, slots=True)
class ShiftConsistency(Shown):
    """Outputs of shifted inputs beside those of the input itself.

    Attributes:
        shifts: pixels down and to the right.
        agreement: the share of shifts, or for outputs that are images the share of pixels, with the same first class.
        changes: for each shift how far the output is from that of the input: the root of the sum of squared
            differences over that of the squares of the latter.
        probabilities: softmax of the class that the input itself is taken for, for each shift; () for images.
        probability: the same of the input itself; None for images.
    """

    shifts: tuple[tuple[int, int], ...]
    agreement: float
    changes: tuple[float, ...]
    probabilities: tuple[float, ...]
    probability: float | None

    @property
    def mean_change(self) -> float:
        """Return the mean of the changes."""
        return sum(self.changes) / len(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "shifts": [list(shift) for shift in self.shifts],
            "agreement": self.agreement,
            "changes": list(self.changes),
            "mean_change": self.mean_change,
            "probability": self.probability,
            "probabilities": list(self.probabilities),
        }


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Return an image moved by whole pixels; what comes in at an edge is that edge again.

    Shapes:
        image (N, C, H, W); returns the same
    Example:
        >>> shifted(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 0, 1).tolist()
        [[[[1.0, 1.0, 2.0]]]]
    """
    if image.dim() != 4:
        raise ShapeError(f"the image has the shape {tuple(image.shape)}; give (N, C, H, W).", call="shifted")
    height, width = image.shape[2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return image[:, :, rows][:, :, :, columns]


def shift_consistency(
    network: nn.Module, image: Tensor, shifts: Sequence[tuple[int, int]] = NEIGHBOURS
) -> ShiftConsistency:
    """Run a network on an image and on the image shifted, by default by one pixel to its eight neighbours.

    Of several outputs the first is taken. Outputs of the image's own height and width are shifted back before they are
    compared, without the edge that came in.

    Shapes:
        image (N, C, H, W), prepared as the network expects it; the network returns (N, K), or (N, K, H, W)
    Raises:
        UsageError: no shift; an output of another form.
        ShapeError: the network does not take such an image.
    Cost:
        A forward pass a shift, and one more.
    Source:
        Zhang, Making convolutional networks shift-invariant again, arXiv:1904.11486, section 4.1: how often the first
        class of two shifts agrees.
    Example:
        >>> pooled = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> shift_consistency(pooled, torch.zeros(1, 1, 8, 8)).agreement
        1.0
    """
    if not shifts:
        raise UsageError("no shift is given; name at least one.", call="shift_consistency")
    try:
        plain = _output(network, image)
        dense = plain.dim() == 4 and plain.shape[2:] == image.shape[2:]
        if plain.dim() != 2 and not dense:
            raise UsageError(
                f"the network returns {tuple(plain.shape)}; scores (N, K), or maps of the input's height and width, "
                f"can be compared."
            )
        classes = plain.argmax(1)
        agreements, changes, probabilities = [], [], []
        for down, right in shifts:
            output, own = _output(network, shifted(image, down, right)), plain
            if dense:
                margin = max(abs(down), abs(right))
                output = shifted(output, -down, -right)[
                    :, :, margin : -margin or None, margin : -margin or None
                ]
                own = plain[:, :, margin : -margin or None, margin : -margin or None]
            agreements.append(float((output.argmax(1) == own.argmax(1)).double().mean()))
            size = float(own.double().norm())
            changes.append(float((output.double() - own.double()).norm()) / size if size else 0.0)
            if not dense:
                probabilities.append(_probability(output, classes))
    except UsageError as error:
        raise error.at("shift_consistency") from error
    return ShiftConsistency(
        tuple((down, right) for down, right in shifts),
        sum(agreements) / len(agreements),
        tuple(changes),
        tuple(probabilities),
        None if dense else _probability(plain, classes),
    )


def _probability(scores: Tensor, classes: Tensor) -> float:
    return float(scores.softmax(1).gather(1, classes[:, None]).mean())


def _output(network: nn.Module, image: Tensor) -> Tensor:
    """Return the first tensor of what the network returns."""
    kept = feature_maps(network, image, [""])
    if not kept:
        raise UsageError("the network returns no tensor.")
    return kept[0].values
