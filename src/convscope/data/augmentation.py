"""How training images are varied, on whole batches of uint8 images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from convscope.errors import ShapeError, UsageError

__all__ = ["Augmentation", "CropMode", "Flip", "Variation", "draw_generator", "draw_variation", "inside"]

Flip = Literal["none", "random", "alternating"]
CropMode = Literal["constant", "reflect"]

_GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue: ITU-R BT.601, rounded as torchvision does


@dataclass(frozen=True)
class Augmentation:
    """Say how training images are varied.

    The steps of an image, in this order: colour, mirror, crop, cutout; then images are mixed in pairs.

    Args:
        horizontal_flip: `random` mirrors each image with probability 1/2 in every epoch; `alternating` does so
            in epoch 0 and then mirrors what it did not mirror in the epoch before, so that two epochs show both.
        crop_padding: pixels added to every side before a window of the old size is cut out at a random place; the
            picture moves by up to that many pixels.
        crop_mode: the added pixels: `constant` is black, `reflect` the picture mirrored at its border.
        cutout: the side, in pixels, of a square blanked to the mean colour; its centre is any pixel, so it may
            reach over the border.
        color: brightness, contrast and saturation are multiplied by factors, each uniform in 1 - color .. 1 + color;
            grey images have no saturation.
        mixup, cutmix: alpha of the Beta(alpha, alpha) from which an image's share is drawn when it is blended with
            another one of its batch, or when a box of the other is pasted over it; 0 is off. With both on, a coin
            decides for each batch.
    Raises:
        UsageError: a value is not as above.
    Source:
        Alternating flip: Jordan, arXiv:2404.00498. Cutout: DeVries & Taylor, arXiv:1708.04552.
        Mixup: Zhang et al., arXiv:1710.09412. CutMix: Yun et al., arXiv:1905.04899.
    Example:
        >>> Augmentation(horizontal_flip="alternating", crop_padding=2).crop_mode
        'constant'
    """

    horizontal_flip: Flip = "none"
    crop_padding: int = 0
    crop_mode: CropMode = "constant"
    cutout: int = 0
    color: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("horizontal_flip", get_args(Flip)), ("crop_mode", get_args(CropMode))):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise UsageError(
                    f"Augmentation: {name} must be one of {', '.join(map(repr, known))}, got {value!r}."
                )
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UsageError(f"Augmentation: {name} must be an integer of at least 0, got {value!r}.")
        for name, most in (("color", 1.0), ("mixup", math.inf), ("cutmix", math.inf)):
            value = getattr(self, name)
            is_number = (
                isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            )
            if not is_number or not 0 <= value <= most:
                rule = "a finite number of at least 0" if most == math.inf else f"a number from 0 to {most:g}"
                raise UsageError(f"Augmentation: {name} must be {rule}, got {value!r}.")

    def check_fits(self, image_shape: Sequence[int], call: str) -> None:
        """Refuse images of (C, H, W) that cannot be varied like this.

        Raises:
            ShapeError: the padding or the square is larger than the image, or `color` meets other than 1 or 3
                channels.
        Example:
            >>> Augmentation(crop_padding=4).check_fits((3, 32, 32), "train")
        """
        channels, height, width = image_shape
        side = min(height, width)
        most = side - 1 if self.crop_mode == "reflect" else side
        if self.crop_padding > most:
            raise ShapeError(
                f"crop_padding is {self.crop_padding}; images of {height} x {width} pixels with crop_mode "
                f"{self.crop_mode!r} take at most {most}.",
                call=call,
            )
        if self.cutout > side:
            raise ShapeError(
                f"cutout is {self.cutout}; the shorter side of images of {height} x {width} pixels is {side}. "
                f"Use at most {side}.",
                call=call,
            )
        if self.color and channels not in (1, 3):
            raise ShapeError(
                f"color is {self.color:g}, but images of {channels} channels are neither grey (1) nor colour (3). "
                "Use color = 0.",
                call=call,
            )


@dataclass(frozen=True, eq=False)
class Variation:
    """What one epoch does to each image of a set of N, drawn by `draw_variation`; None is a step left out.

    Shapes:
        factors (N, 3) float32: of brightness, contrast, saturation; flips (N,) bool;
        corners (N, 2): row and column of the window's corner in the padded image;
        holes (N, 2): row and column of the blanked square's corner, which may lie outside the image
    """

    augment: Augmentation
    factors: Tensor | None
    flips: Tensor | None
    corners: Tensor | None
    holes: Tensor | None

    def vary(self, images: Tensor, index: Tensor) -> Tensor:
        """Take the images at these places of the set, with colour, mirroring and crop.

        Shapes:
            images (N, C, H, W) uint8, index (n,); returns (n, C, H, W) uint8
        """
        slots, num_kept = torch.arange(len(index)), len(index)
        if self.flips is not None:
            # Those to be mirrored lie behind the others, where one call mirrors them; the crop puts all in order.
            flips, by_flip = self.flips[index].sort(stable=True)
            num_kept, index, slots = len(index) - int(flips.sum()), index[by_flip], by_flip.argsort()
        taken = images.index_select(0, index)
        if self.factors is not None:
            taken = _recolor(taken, self.factors[index])
        if self.flips is None and self.corners is None:
            return taken
        padding = self.augment.crop_padding
        num, channels, height, width = taken.shape
        padded = taken.new_zeros(num, channels, height + 2 * padding, width + 2 * padding)
        middle = padded[:, :, padding : padding + height, padding : padding + width]
        middle[:num_kept].copy_(taken[:num_kept])
        middle[num_kept:].copy_(taken[num_kept:].flip(3))
        if self.corners is None:
            return padded.index_select(0, slots)
        if self.augment.crop_mode == "reflect":
            _reflect(padded, padding)
        return _windows(padded, slots, self.corners[index[slots]], height, width)

    def blank(self, values: Tensor, index: Tensor) -> None:
        """Set the square of each image to 0, the mean colour of normalised values (n, H, W, C)."""
        if self.holes is not None:
            low = self.holes[index]
            _, height, width, channels = values.shape
            values = values.flatten(2)  # rows, with the channels inside
            values.masked_fill_(inside(low, low + self.augment.cutout, height, width, channels), 0.0)


def draw_variation(
    augment: Augmentation, seed: int, epoch: int, num_images: int, height: int, width: int
) -> Variation:
    """Draw what an epoch does to each image of a set: a function of (seed, epoch, place in the set)."""
    factors = flips = corners = holes = None
    if augment.color:
        uniform = torch.rand(num_images, 3, generator=draw_generator("color", seed, epoch))
        factors = 1 + augment.color * (2 * uniform - 1)
    if augment.horizontal_flip != "none":
        alternates = augment.horizontal_flip == "alternating"
        generator = draw_generator("flip", seed, 0 if alternates else epoch)
        flips = torch.randint(2, (num_images,), generator=generator).bool()
        if alternates and epoch % 2:
            flips = ~flips
    if augment.crop_padding:
        places = 2 * augment.crop_padding + 1
        corners = torch.randint(places, (num_images, 2), generator=draw_generator("crop", seed, epoch))
    if augment.cutout:
        generator = draw_generator("cutout", seed, epoch)
        centres = [torch.randint(side, (num_images,), generator=generator) for side in (height, width)]
        holes = torch.stack(centres, 1) - augment.cutout // 2
    return Variation(augment, factors, flips, corners, holes)


def draw_generator(purpose: str, *numbers: int) -> torch.Generator:
    """Seed by a digest, so that neighbouring seeds, epochs and purposes share nothing."""
    digest = hashlib.blake2b(":".join((purpose, *map(str, numbers))).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))


def inside(low: Tensor, high: Tensor, height: int, width: int, channels: int) -> Tensor:
    """Return which pixels lie in each image's box, low <= (row, column) < high, as (n, H, W * C)."""
    rows, columns = (
        (low[:, axis, None] <= torch.arange(side)) & (torch.arange(side) < high[:, axis, None])
        for axis, side in enumerate((height, width))
    )
    return rows[:, :, None] & columns.repeat_interleave(channels, dim=1)[:, None, :]


def _reflect(padded: Tensor, padding: int) -> None:
    """Fill the border of (n, C, H, W) from the middle, without repeating its outermost pixels."""
    for axis in (3, 2):  # columns, then whole rows, which fills the corners
        side = padded.shape[axis]
        for border, source in ((0, padding + 1), (side - padding, side - 2 * padding - 1)):
            padded.narrow(axis, border, padding).copy_(padded.narrow(axis, source, padding).flip(axis))


def _windows(padded: Tensor, slots: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Cut a window at its corner out of each padded image (n, C, H, W), taken in the order of `slots`.

    Any row of any window is a run of bytes, so all are rows of one overlapping view of the memory: a copy of whole
    rows, where indexing the windows that `unfold` shows copies byte by byte.
    """
    num, channels, rows, columns = padded.shape
    runs = padded.view(-1).as_strided((padded.numel() - width + 1, width), (1, 1))
    first = (slots * channels * rows + corners[:, 0]) * columns + corners[:, 1]
    steps = torch.arange(channels)[:, None] * rows + torch.arange(height)
    starts = first[:, None] + steps.view(-1) * columns
    return runs.index_select(0, starts.view(-1)).view(num, channels, height, width)


def _recolor(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast, then saturation of (n, C, H, W) uint8, and round once.

    No fused operations: they round differently at the end of a row, and an image must not depend on its place.
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    values = images.to(torch.float32).mul_(brightness).clamp_(0, 255)
    # Whole levels add up to the same mean in any order.
    mean = _grey(values).round_().mean(dim=(1, 2, 3), keepdim=True, dtype=torch.float64).to(torch.float32)
    values.mul_(contrast).add_(mean.mul_(1 - contrast)).clamp_(0, 255)
    if images.shape[1] == 3:
        grey = _grey(values).mul_(1 - saturation)
        values.mul_(saturation).add_(grey).clamp_(0, 255)
    return values.round_().to(torch.uint8)


def _grey(values: Tensor) -> Tensor:
    """Return (n, 1, H, W): the brightness of colours."""
    if values.shape[1] == 1:
        return values.clone()
    red, green, blue = (values[:, [channel]] * share for channel, share in enumerate(_GREY))
    return red.add_(green).add_(blue)
