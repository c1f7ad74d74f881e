"""Outlines: where a picture changes, and how far maps stand out there."""

from __future__ import annotations

import torch
from torch import Tensor

from convscope.ops import conv2d

__all__ = ["outline_agreement", "sobel_magnitude"]


def sobel_magnitude(images: Tensor) -> Tensor:
    """Return how steep each picture's brightness is, by Sobel's two filters.

    Shapes:
        images (N, C, H, W), the brightness being the channels' mean; returns (N, 1, H, W)
    Example:
        >>> step = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
        >>> sobel_magnitude(step)[0, 0, 1].tolist()
        [0.0, 4.0, 4.0, 0.0]
    """
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    filters = torch.stack([across, across.T]).unsqueeze(1)
    brightness = images.mean(dim=1, keepdim=True)
    slopes = conv2d(brightness, filters, padding=1, padding_mode="replicate")
    return slopes.square().sum(dim=1, keepdim=True).sqrt()


def outline_agreement(maps: Tensor, edges: Tensor, margin: int = 0) -> float:
    """Measure how far maps stand out where a picture has its outlines.

    The distance of a map's values from their mean is correlated with the edges over the positions of each picture;
    the mean over pictures and channels is returned. A map or picture without any contrast counts 0.

    Shapes:
        maps (N, C, H, W); edges (N, 1, H, W)
    Args:
        margin: positions at each border that are left out.
    Example:
        >>> edges = torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]])
        >>> outline_agreement(torch.tensor([[[[0.0, 2.0, 0.0, -2.0]]]]), edges)
        1.0
    """
    inner = slice(margin, -margin or None)
    values = maps[..., inner, inner].double().flatten(2)
    there = edges[..., inner, inner].double().flatten(2)
    distance = (values - values.mean(dim=2, keepdim=True)).abs()
    distance, there = (each - each.mean(dim=2, keepdim=True) for each in (distance, there))
    lengths = distance.norm(dim=2) * there.norm(dim=2)
    correlation = (distance * there).sum(dim=2) / lengths.where(lengths > 0, torch.ones_like(lengths))
    return float(correlation.mean())
