"""Prepare a picture as published weights want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope.errors import ShapeError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from convscope.models import Preprocessing

__all__ = ["preprocess", "visible_part"]

_PIXELS_AT_MOST = 40_000_000  # of a resized picture, as many as `decode_image` takes by default


def preprocess(image: np.ndarray, facts: Preprocessing) -> Tensor:
    """Resize the shorter side, cut out the centre, normalise: what torchvision's evaluation transforms do.

    Shapes:
        image (H, W) or (H, W, 3) uint8; returns (1, C, crop, crop) float32, or with no crop the resized picture
    Args:
        facts: of the weights; grey pictures get the channels that `facts.mean` has.
    Raises:
        UsageError: the array is no picture.
        ShapeError: the resized picture is smaller than the crop.
    Example:
        >>> from convscope.data import cat
        >>> from convscope.models import published_weights
        >>> preprocess(cat(), published_weights("resnet18").preprocessing).shape
        torch.Size([1, 3, 224, 224])
    """
    import torch

    from convscope.data.batches import normalise

    seen = torch.from_numpy(visible_part(image, facts))
    planes = seen[None, None] if seen.dim() == 2 else seen.permute(2, 0, 1)[None]
    return normalise(planes.contiguous(), facts.mean, facts.std)


def visible_part(image: np.ndarray, facts: Preprocessing) -> np.ndarray:
    """Return the resized and cropped picture, uint8: all that a network with these weights sees of it.

    Raises:
        UsageError, ShapeError: as in `preprocess`.
    Example:
        >>> from convscope.data import cat
        >>> from convscope.models import published_weights
        >>> visible_part(cat(), published_weights("resnet18").preprocessing).shape
        (224, 224, 3)
    """
    import numpy as np
    from PIL import Image

    from convscope.data.batches import to_mode
    from convscope.data.resize import check_picture

    check_picture(image, "preprocess")
    picture = Image.fromarray(to_mode(image, "L" if len(facts.mean) == 1 else "RGB"))
    if facts.resize is not None:
        shorter = min(picture.size)
        # The longer side is cut to whole pixels, as torchvision does.
        height, width = (int(facts.resize * side / shorter) for side in (picture.height, picture.width))
        if height * width > _PIXELS_AT_MOST:
            raise ShapeError(
                f"a picture of {picture.height}x{picture.width} becomes {height}x{width} when its shorter side is "
                f"resized to {facts.resize}; cut out what matters first.",
                call="preprocess",
            )
        kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[
            facts.interpolation
        ]
        if (height, width) != (picture.height, picture.width):
            picture = picture.resize((width, height), kind)
    if facts.crop is not None:
        if min(picture.size) < facts.crop:
            raise ShapeError(
                f"a picture of {picture.height}x{picture.width} is smaller than the crop of {facts.crop}; the weights' "
                "preparation is inconsistent.",
                call="preprocess",
            )
        top, left = (round((side - facts.crop) / 2) for side in (picture.height, picture.width))
        picture = picture.crop((left, top, left + facts.crop, top + facts.crop))
    return np.array(picture)
