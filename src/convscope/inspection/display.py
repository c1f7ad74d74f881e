"""From values of any range to values a screen can show, on a scale that is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convscope.errors import ShapeError

__all__ = [
    "OnOneScale",
    "Scale",
    "averaged",
    "common_limit",
    "min_max_image",
    "on_one_scale",
    "scale_of",
    "tensor_facts",
]


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


def averaged(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return planes made smaller, each new value the mean of those that it stands for.

    Shapes:
        planes (..., H, W); returns (..., *size) float32
    Example:
        >>> averaged(torch.tensor([[[0.0, 2.0, 4.0, 6.0]]]), (1, 2)).tolist()
        [[[1.0, 5.0]]]
    """
    if tuple(planes.shape[-2:]) == tuple(size):
        return planes.float()
    flat = planes.float().reshape(-1, 1, *planes.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(flat, size).reshape(*planes.shape[:-2], *size)


def tensor_facts(layer: str, kind: str, values: Tensor) -> dict[str, object]:
    """Return shape and range of a layer's tensor as plain values for JSON."""
    facts: dict[str, object] = {"layer": layer, "kind": kind, "shape": list(values.shape)}
    if values.numel() and values.dtype.is_floating_point:
        low, high = values.aminmax()
        facts |= {
            "min": float(low),
            "max": float(high),
            "mean": float(values.mean()),
            "share_of_zeros": 1 - int(values.count_nonzero()) / values.numel(),
        }
    return facts


_SHARE = 0.99  # of the values of all tensors that the common range holds
_SAMPLED = 2**22  # values at most that the range is found from
_STEPS = 127  # of colour on each side of zero
NO_VALUE = 0  # the level of NaN and infinity


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of values that a picture shows as its range of colours.

    With values below zero it is symmetric about zero, so that zero has the same colour everywhere; without, it
    begins at zero. It holds 99 % of the values: a few outliers would leave the rest without colour.

    Attributes:
        low, high: what the first and the last colour stand for; what lies outside has the nearer one.
        smallest, largest: of the finite values.
        num_not_finite: how many are NaN or infinite; they have a colour of their own.
    """

    low: float
    high: float
    smallest: float
    largest: float
    num_not_finite: int = 0

    @property
    def signed(self) -> bool:
        """Tell whether there are values below zero."""
        return self.low < 0

    @property
    def clipped(self) -> bool:
        """Tell whether values lie outside the range."""
        return self.smallest < self.low or self.largest > self.high

    def levels(self, values: Tensor) -> np.ndarray:
        """Return values as numbers of colours, uint8: 1 for `low` to 255 for `high`, 0 for NaN and infinity.

        Example:
            >>> scale_of([torch.tensor([-2.0, 2.0])]).levels(torch.tensor([-2.0, 0.0, 2.0, 9.0, math.nan])).tolist()
            [1, 128, 255, 255, 0]
        """
        shares = _real(values) / self.high
        if self.signed:
            levels = shares.clamp(-1, 1) * _STEPS + (_STEPS + 1)
        else:
            levels = shares.clamp(0, 1) * (2 * _STEPS) + 1
        return torch.where(shares.isfinite(), levels.round(), NO_VALUE).byte().numpy()

    def to_dict(self) -> dict[str, object]:
        """Return the range as plain values for JSON."""
        return {
            "low": self.low,
            "high": self.high,
            "smallest": self.smallest,
            "largest": self.largest,
            "num_not_finite": self.num_not_finite,
        }


def scale_of(tensors: Sequence[Tensor]) -> Scale:
    """Return the one scale that some tensors are drawn on together; of complex numbers the magnitudes count.

    Example:
        >>> scale = scale_of([torch.tensor([0.0, 1.0]), torch.tensor([4.0])])
        >>> scale.low, scale.high, scale.signed
        (0.0, 4.0, False)
    """
    finite, num_not_finite = [], 0
    for each in map(_real, tensors):
        good = each.isfinite()
        bad = each.numel() - int(good.sum())
        num_not_finite += bad
        finite.append(each[good] if bad else each)
    ranges = [each.aminmax() for each in finite if each.numel()]
    if not ranges:
        return Scale(0.0, 1.0, 0.0, 0.0, num_not_finite)
    smallest = min(float(low) for low, _ in ranges)
    largest = max(float(high) for _, high in ranges)
    # Of maps that are nearly all zero the limit is zero; then the largest counts, then anything.
    limit = common_limit(finite) or max(-smallest, largest) or 1.0
    return Scale(-limit if smallest < 0 else 0.0, limit, smallest, largest, num_not_finite)


def _real(values: Tensor) -> Tensor:
    return values.detach().abs().float() if values.is_complex() else values.detach().float()


@dataclass(frozen=True, eq=False)
class OnOneScale:
    """Two sets of maps or filters of one layer, and the one scale that both are drawn on."""

    name: str
    before: Tensor
    after: Tensor
    scale: Scale

    @property
    def low(self) -> float:
        """Return what the first colour stands for."""
        return self.scale.low

    @property
    def high(self) -> float:
        """Return what the last colour stands for."""
        return self.scale.high

    @property
    def root_mean_squares(self) -> tuple[float, float]:
        """Return how large the values are before and after: the root of their mean square."""
        return root_mean_square(self.before), root_mean_square(self.after)

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
            "root_mean_square_change": root_mean_square(self.after - self.before),
        }


def root_mean_square(values: Tensor) -> float:
    """Return how large values are: the root of their mean square, 0 if there are none."""
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0


def on_one_scale(name: str, before: Tensor, after: Tensor) -> OnOneScale:
    """Pair two tensors of one shape with the scale that holds 99 % of the values of both.

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
    return OnOneScale(name, before, after, scale_of([before, after]))


def common_limit(tensors: Sequence[Tensor]) -> float:
    """Return the magnitude that 99 % of the values of all tensors together do not exceed.

    Of more than four million values it is that of an even sample.

    Example:
        >>> import torch
        >>> common_limit([torch.tensor([-1.0, 3.0]), torch.tensor([2.0])])
        3.0
    """
    step = (
        math.ceil(sum(each.numel() for each in tensors) / _SAMPLED) | 1
    )  # odd: even widths would give few columns
    magnitudes = torch.cat([each.flatten()[::step].abs() for each in tensors])
    return float(magnitudes.kthvalue(math.ceil(_SHARE * (len(magnitudes) - 1)) + 1).values)
