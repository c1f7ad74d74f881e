"""Scenes put together from small pictures on a textured backdrop, of which it is known what every pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Scene", "backdrops", "compose"]

_CELLS = (1, 2, 4, 8)  # pixels a side of what a backdrop is mixed from, from grain to patches
_CONTRAST = 2.0  # of the mixture, so that it is about as bright and as varied as the garments
_FAINTEST = 0.1  # of a picture's pixels that cover the backdrop


@dataclass(frozen=True, eq=False)
class Scene:
    """A grey picture and what each of its pixels shows.

    Shapes:
        image (H, W) float32, 0 black to 1 white; shown (H, W) int64: 0 the backdrop, n the n-th picture put there
    """

    image: Tensor
    shown: Tensor


def backdrops(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return random textures with grain and patches, (count, height, width) from 0 to 1.

    Example:
        >>> backdrops(2, 20, 30, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 20, 30])
    """
    mixed = torch.zeros(count, height, width)
    for cell in _CELLS:
        rows, columns = (-(-side // cell) + 1 for side in (height, width))
        grains = torch.rand(count, 1, rows, columns, generator=generator)
        sheet = F.interpolate(grains, scale_factor=cell, mode="bilinear") if cell > 1 else grains
        mixed += sheet[:, 0, :height, :width]
    return (0.5 + _CONTRAST * (mixed / len(_CELLS) - 0.5)).clamp(0, 1)


def compose(backdrop: Tensor, pictures: Tensor, corners: Sequence[tuple[int, int]]) -> Scene:
    """Put pictures on a backdrop, one after the other; what is not nearly black in them covers what is there.

    Shapes:
        backdrop (H, W), pictures (N, h, w), both from 0 to 1
    Args:
        corners: row and column of each picture's first pixel; the pictures lie inside the backdrop.
    Example:
        >>> scene = compose(torch.zeros(2, 3), torch.tensor([[[0.5, 0.0]], [[0.9, 1.0]]]), [(0, 0), (1, 1)])
        >>> scene.shown.tolist()
        [[1, 0, 0], [0, 2, 2]]
    """
    image, shown = backdrop.clone(), torch.zeros(backdrop.shape, dtype=torch.long)
    for number, (picture, (top, left)) in enumerate(zip(pictures, corners, strict=True), start=1):
        place = (slice(top, top + picture.shape[0]), slice(left, left + picture.shape[1]))
        covers = picture > _FAINTEST
        image[place] = torch.where(covers, picture, image[place])
        shown[place] = torch.where(covers, number, shown[place])
    return Scene(image, shown)
