"""Pictures of a set as a batch of network input, in one pass over the memory.

What happens to each is drawn elsewhere (`convscope.data.Augmentation`); here it is done: mirrored, moved by a crop out
of the padded image, normalised through a table of the 256 levels, a square blanked, written channels-last.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import torch
from torch import Tensor

from convscope.kernels.layouts import pointer
from convscope.kernels.library import Library, declare, native
from convscope.kernels.registry import Comparison, family, verdict

__all__ = ["serve_pictures"]

_EQUAL = 1e-12  # values are read from a table, so any difference is a fault

declare("serve_pictures", "pppppppp")


class Pictures(ctypes.Structure):
    """A batch in numbers, laid out as `Pictures` in csrc/pictures.cpp."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("count", "channels", "height", "width", "padding", "reflects", "cutout", "threads")
    ]


def serve_pictures(
    images: Tensor,
    index: Tensor,
    table: Tensor,
    *,
    flips: Tensor | None = None,
    corners: Tensor | None = None,
    padding: int = 0,
    reflects: bool = False,
    holes: Tensor | None = None,
    cutout: int = 0,
) -> Tensor | None:
    """Return the pictures at these places of a set as values, or None if there is no kernel to do it.

    Shapes:
        images (N, C, H, W) uint8, contiguous; index (n,) int64; table (C, 256) float32: the value of each level
        flips (n,) bool; corners, holes (n, 2) int64: row and column; returns (n, H, W, C) float32
    Args:
        corners: of the window in the image padded on all sides, with black or (`reflects`) its own mirror image.
        holes: of the square of `cutout` pixels a side that is set to 0; it may lie outside.
    """
    if images.device.type != "cpu" or not images.is_contiguous() or not verdict("pictures").passed:
        return None
    library = native()
    if library is None:
        return None
    return _serve(library, images, index, table, flips, corners, padding, reflects, holes, cutout)


def _serve(
    library: Library,
    images: Tensor,
    index: Tensor,
    table: Tensor,
    flips: Tensor | None,
    corners: Tensor | None,
    padding: int,
    reflects: bool,
    holes: Tensor | None,
    cutout: int,
) -> Tensor:
    _, channels, height, width = images.shape
    values = torch.empty(len(index), height, width, channels)
    described = Pictures(
        len(index), channels, height, width, padding, reflects, cutout, torch.get_num_threads()
    )
    operands = [each if each is None else each.contiguous() for each in (index, flips, corners, holes, table)]
    index_, flips, corners, holes, table_ = operands
    library.serve_pictures(
        ctypes.byref(described),
        pointer(images),
        pointer(index_),
        pointer(flips),
        pointer(corners),
        pointer(holes),
        pointer(table_),
        pointer(values),
    )
    return values


@family("pictures")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernel with the same steps by torch, one image at a time; all bits must be equal."""
    padding, cutout = 3, 4
    for channels, height, width in ((3, 9, 12), (1, 8, 7), (2, 6, 21)):
        images = torch.randint(256, (5, channels, height, width), dtype=torch.uint8)
        table = torch.randn(channels, 256)
        index = torch.tensor([4, 0, 2, 2, 1, 3])
        flips = torch.tensor([True, False, True, False, False, True])
        corners = torch.randint(2 * padding + 1, (6, 2))
        holes = torch.randint(-2, 8, (6, 2))
        for reflects in (False, True):
            mine = _serve(library, images, index, table, flips, corners, padding, reflects, holes, cutout)
            mode = "reflect" if reflects else "constant"
            worst = 0.0
            for at in range(6):
                picture = images[index[at]].float()
                picture = picture.flip(2) if flips[at] else picture
                padded = torch.nn.functional.pad(picture[None], [padding] * 4, mode=mode)[0].long()
                row, column = corners[at].tolist()
                window = padded[:, row : row + height, column : column + width]
                right = torch.stack([table[c][window[c]] for c in range(channels)], -1)
                top, left = holes[at].tolist()
                right[max(0, top) : max(0, top + cutout), max(0, left) : max(0, left + cutout)] = 0.0
                worst = max(worst, float((mine[at] - right).abs().max()))
            yield Comparison(f"{channels} x {height} x {width}, {mode}", worst, _EQUAL)
        plain = _serve(library, images, index, table, None, None, 0, False, None, 0)
        levels = images[index].permute(0, 2, 3, 1).long()
        right = torch.stack([table[c][levels[..., c]] for c in range(channels)], -1)
        yield Comparison(
            f"{channels} x {height} x {width}, as they are", float((plain - right).abs().max()), _EQUAL
        )
