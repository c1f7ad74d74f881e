"""From values of any range to values a screen can show, on a scale that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.errors import ShapeError

__all__ = ["OnOneScale", "common_limit", "min_max_image", "on_one_scale", "tensor_facts"]


def min_max_image(maps: Tensor) -> np.ndarray:
    """Scale maps so that their smallest value becomes 0 and their largest 255: the document's normalisation.

    All channels share the scale. A constant map becomes 0.

    Shapes:
        maps (C, H, W); returns (H, W, C) uint8
    Example:
        >>> import torch
        >>> min_max_image(torch.tensor([[[-1.0, 0.0, 1.0]]])).ravel().tolist()
        [0, 128, 255]
    """
    if maps.dim() != 3:
        raise ShapeError(f"maps have the shape {tuple(maps.shape)}; give (C, H, W).", call="min_max_image")
    values = maps.double()
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return scaled.round().byte().permute(1, 2, 0).contiguous().numpy()


def tensor_facts(layer: str, kind: str, values: Tensor) -> dict[str, object]:
    """Return shape and range of a layer's tensor as plain values for JSON."""
    facts: dict[str, object] = {"layer": layer, "kind": kind, "shape": list(values.shape)}
    if values.numel() and values.dtype.is_floating_point:
        facts |= {
            "min": float(values.min()),
            "max": float(values.max()),
            "mean": float(values.mean()),
            "share_of_zeros": float((values == 0).double().mean()),
        }
    return facts


_SHARE = 0.99  # of the values of all tensors that the common range holds


@dataclass(frozen=True, eq=False)
class OnOneScale:
    """Two sets of maps or filters of one layer, and the one range that both are drawn on.

    The range is symmetric about zero, so that zero has the same colour everywhere, and holds 99 % of the values
    of both together: a few outliers would leave the rest without colour.
    """

    name: str
    before: Tensor
    after: Tensor
    low: float
    high: float

    @property
    def root_mean_squares(self) -> tuple[float, float]:
        """Return how large the values are before and after: the root of their mean square."""
        return _root_mean_square(self.before), _root_mean_square(self.after)

    def to_dict(self) -> dict[str, object]:
        """Return shapes, ranges and how far training moved the values, as plain values for JSON."""
        before, after = self.root_mean_squares
        return {
            "name": self.name,
            "shape": list(self.before.shape),
            "before": {
                "min": float(self.before.min()),
                "max": float(self.before.max()),
                "root_mean_square": before,
            },
            "after": {
                "min": float(self.after.min()),
                "max": float(self.after.max()),
                "root_mean_square": after,
            },
            "root_mean_square_change": _root_mean_square(self.after - self.before),
        }


def _root_mean_square(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def on_one_scale(name: str, before: Tensor, after: Tensor) -> OnOneScale:
    """Pair two tensors of one shape with the symmetric range that holds 99 % of the values of both.

    Example:
        >>> import torch
        >>> pair = on_one_scale("conv1", torch.tensor([-1.0, 3.0]), torch.tensor([-3.0, 3.0]))
        >>> pair.low, pair.high
        (-3.0, 3.0)
    """
    if before.shape != after.shape:
        raise ShapeError(
            f"{name}: {tuple(before.shape)} before and {tuple(after.shape)} after cannot be laid side by side.",
            call="on_one_scale",
        )
    high = common_limit([before, after])
    return OnOneScale(name, before, after, -high, high)


def common_limit(tensors: Sequence[Tensor]) -> float:
    """Return the magnitude that 99 % of the values of all tensors together do not exceed.

    Example:
        >>> import torch
        >>> common_limit([torch.tensor([-1.0, 3.0]), torch.tensor([2.0])])
        3.0
    """
    magnitudes = torch.cat([each.flatten() for each in tensors]).abs().sort().values
    return float(magnitudes[math.ceil(_SHARE * (len(magnitudes) - 1))])
