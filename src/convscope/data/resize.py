"""Bring a picture to the size a network wants: shorter side resized, centre kept."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from convscope.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RESIZE_RULE", "fit_box", "fit_box_quickly", "fit_image", "size_pair"]

RESIZE_RULE = 1  # to be raised when `fit_image` changes its pixels: kept caches are then made anew
_NEAR_ENOUGH = 0.03  # pixels of the result


def size_pair(size: int | tuple[int, int], call: str) -> tuple[int, int]:
    """Turn a size into a (height, width) pair, or refuse it.

    Raises:
        UsageError: not an integer of at least 1, nor a pair of them.
    Example:
        >>> size_pair(224, "fit_image")
        (224, 224)
    """
    pair = (size, size) if isinstance(size, int) else size
    try:
        height, width = pair
    except (TypeError, ValueError):
        height = width = None
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 16384:
            raise UsageError(
                f"{call}: size must be an integer or a (height, width) pair, each 1 to 16384 pixels, got {size!r}."
            )
    return pair[0], pair[1]


def fit_image(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize a picture until it covers `size`, and cut the centre out of it.

    The proportions stay; what sticks out on the longer side is lost, half at each end.
    Bilinear with antialiasing: shrinking averages over all the pixels that are merged.
    A picture that has the size already is returned unchanged.

    Shapes:
        image (H, W) or (H, W, 3) uint8; returns the same with the new height and width
    Args:
        size: pixels; an int for a square, or a (height, width) pair.
    Raises:
        UsageError: the array or the size is not of that kind.
    Example:
        >>> import numpy as np
        >>> fit_image(np.zeros((300, 451, 3), np.uint8), 224).shape
        (224, 224, 3)
    """
    pair = size_pair(size, "fit_image")
    check_picture(image, "fit_image")
    return fit_box(image, pair, (0.0, 0.0, image.shape[1], image.shape[0]))


def fit_box(image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Do the work of `fit_image` on the box (left, top, right, bottom) of the array that a picture fills."""
    from PIL import Image

    height, width = size
    if box == (0, 0, width, height) == (0, 0, image.shape[1], image.shape[0]):
        return image
    part = _centre(box, size)[0]
    return _writable(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR, box=part))


def fit_box_quickly(
    image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]
) -> np.ndarray:
    """Do the work of `fit_box` by torch, in a third of the time, to within about a level.

    Its resizing starts at whole pixels only. So some more pixels than wanted are computed, on the left and at the
    top, such that the first that is kept lies where it should to within a few hundredths of a pixel. Where no number
    of them does that, `fit_box` does the work.
    """
    import numpy as np
    import torch

    height, width = size
    (left, top, _, _), shrink = _centre(box, size)
    more_x, first_x, off_x = _whole_start(left, shrink)
    more_y, first_y, off_y = _whole_start(top, shrink)
    pixels = np.atleast_3d(image)[first_y:, first_x:]
    new_height, new_width = height + more_y, width + more_x
    # torch takes an axis whose number of pixels does not change for one that is not resized at all.
    if max(off_x, off_y) > _NEAR_ENOUGH or pixels.shape[0] == new_height or pixels.shape[1] == new_width:
        return fit_box(image, size, box)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = torch.ops.aten._upsample_bilinear2d_aa(
        planes, (new_height, new_width), False, 1 / shrink, 1 / shrink
    )
    kept = resized[0, :, more_y:, more_x:].permute(1, 2, 0).numpy()
    return kept[:, :, 0] if image.ndim == 2 else kept


def _centre(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], float]:
    """Return the part of the box with the proportions of `size`, and how many of its pixels make one of the result."""
    old_left, old_top, old_right, old_bottom = box
    old_height, old_width = old_bottom - old_top, old_right - old_left
    height, width = size
    shrink = min(old_height / height, old_width / width)  # the same along both axes
    left = max(0.0, (old_width - shrink * width) / 2)
    top = max(0.0, (old_height - shrink * height) / 2)
    return (old_left + left, old_top + top, old_right - left, old_bottom - top), shrink


@functools.lru_cache(1024)  # the pictures of a folder have few sizes
def _whole_start(start: float, shrink: float) -> tuple[int, int, float]:
    """Return how many result pixels before `start` begin nearly at a whole source pixel, which, and how far off."""
    best = (0, round(start), abs(start - round(start)) / shrink)
    for more in range(1, int(start / shrink) + 1):
        if best[2] < _NEAR_ENOUGH:
            break
        place = start - more * shrink
        best = min(best, (more, round(place), abs(place - round(place)) / shrink), key=lambda found: found[2])
    return best


def check_picture(image: object, call: str) -> None:
    """Refuse what is not a (H, W) or (H, W, 3) uint8 array with at least one pixel."""
    import numpy as np

    if not isinstance(image, np.ndarray):
        raise UsageError(
            f"{call}: the picture must be a numpy array, got {type(image).__name__}. Use decode_image first."
        )
    is_grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not is_grey_or_rgb or image.size == 0:
        raise UsageError(
            f"{call}: the picture must be uint8 of shape (H, W) or (H, W, 3), got {image.dtype} of shape "
            f"{image.shape}. Use decode_image to get one."
        )


def _writable(image: object) -> np.ndarray:
    import numpy as np

    return np.array(image)
