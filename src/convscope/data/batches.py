"""Batches out of memory: shuffled, augmented and normalised as a pure function of seed, epoch and position."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from convscope.data.image_set import ImageSet
from convscope.data.resize import check_picture, fit_image
from convscope.errors import ShapeError, UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Augmentation", "Batches", "normalise", "prepare"]


@dataclass(frozen=True)
class Augmentation:
    """Say how training images are varied: mirrored left to right, and moved.

    Args:
        horizontal_flip: mirror each image with probability 1/2.
        crop_padding: pixels of black added to every side before a window of the old size is cut out at a
            random place; the picture moves by up to that many pixels.
    Raises:
        UsageError: `crop_padding` is not an integer of at least 0.
    Example:
        >>> Augmentation(horizontal_flip=True, crop_padding=4)
        Augmentation(horizontal_flip=True, crop_padding=4)
    """

    horizontal_flip: bool = False
    crop_padding: int = 0

    def __post_init__(self) -> None:
        if not _is_integer(self.crop_padding) or self.crop_padding < 0:
            raise UsageError(
                f"Augmentation: crop_padding must be an integer of at least 0, got {self.crop_padding!r}."
            )


class Batches:
    """Serve an `ImageSet` as normalised batches, epoch by epoch, without worker processes.

    The order is a pure function of (seed, epoch); how an image is varied, of (seed, epoch, its position in that
    order). So any epoch can be repeated, and a run resumed in the middle of one. The global random state is
    neither read nor changed.

    Args:
        mean, std: one number per channel on the 0..1 scale; those of the training images, for the test images too.
        shuffle: a new order in each epoch; otherwise the order of the set.
        augment: None serves the images as they are.
        drop_last: leave out a last batch that is smaller than the others.
    Raises:
        UsageError: `batch_size`, `seed`, `mean` or `std` is not as above, or no batch would be left.
    Example:
        >>> images = torch.full((5, 1, 2, 2), 255, dtype=torch.uint8)
        >>> pets = ImageSet(images, torch.tensor([0, 1, 1, 0, 1]), ("cat", "dog"), "pets")
        >>> batches = Batches(pets, 2, mean=(0.5,), std=(0.5,), shuffle=False, seed=0)
        >>> [tuple(x.shape) for x, _ in batches.epoch(0)], next(batches.epoch(0))[0].max().item()
        ([(2, 1, 2, 2), (2, 1, 2, 2), (1, 1, 2, 2)], 1.0)
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        shuffle: bool = False,
        seed: int = 0,
        augment: Augmentation | None = None,
        drop_last: bool = False,
    ) -> None:
        if not _is_integer(batch_size) or batch_size < 1:
            raise UsageError(f"Batches: batch_size must be an integer of at least 1, got {batch_size!r}.")
        if not _is_integer(seed):
            raise UsageError(f"Batches: seed must be an integer, got {seed!r}.")
        if drop_last and batch_size > len(image_set):
            raise UsageError(
                f"Batches: batch_size {batch_size} with drop_last leaves no batch of the {len(image_set)} images "
                f"of {image_set.name!r}. Use batch_size <= {len(image_set)}."
            )
        self.image_set = image_set
        self.batch_size = batch_size
        self.mean, self.std = _check_mean_std(mean, std, image_set.image_shape[0], "Batches")
        self.shuffle = shuffle
        self.seed = seed
        self.augment = augment
        self.drop_last = drop_last

    def __len__(self) -> int:
        full, rest = divmod(len(self.image_set), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    @property
    def num_images(self) -> int:
        """The images served in one epoch."""
        return len(self) * self.batch_size if self.drop_last else len(self.image_set)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch.

        Shapes:
            images (batch_size, C, H, W) float32, labels (batch_size,) int64; the last batch may be smaller
        Args:
            start: the first batch to serve; the batches before it are skipped, not computed.
        Raises:
            UsageError: `number` is below 0, or `start` outside 0 .. len(batches).
        Example:
            >>> images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1, 1]), ("cat", "dog"), "pets")
            >>> batches = Batches(pets, 1, mean=(0.5,), std=(0.5,), shuffle=True, seed=3)
            >>> whole = [labels.item() for _, labels in batches.epoch(7)]
            >>> [labels.item() for _, labels in batches.epoch(7, start=2)] == whole[2:]
            True
        """
        if not _is_integer(number) or number < 0:
            raise UsageError(f"Batches.epoch: number must be an integer of at least 0, got {number!r}.")
        if not _is_integer(start) or not 0 <= start <= len(self):
            raise UsageError(f"Batches.epoch: start must be a batch from 0 to {len(self)}, got {start!r}.")
        return self._serve(number, start)

    def order(self, number: int) -> Tensor:
        """Return the positions in the image set, in the order in which that epoch serves them.

        Example:
            >>> images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets")
            >>> Batches(pets, 2, mean=(0.5,), std=(0.5,)).order(0)
            tensor([0, 1, 2])
        """
        if not self.shuffle:
            return torch.arange(len(self.image_set))
        return torch.randperm(len(self.image_set), generator=_generator("order", self.seed, number))

    def _serve(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = self.order(number)
        flips, shifts = self._variation(number)
        for batch in range(start, len(self)):
            here = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            index = order[here]
            images = self.image_set.images[index]
            if shifts is not None and self.augment is not None:
                images = _shift(images, shifts[here], self.augment.crop_padding)
            if flips is not None:
                images = torch.where(flips[here, None, None, None], images.flip(3), images)
            yield normalise(images, self.mean, self.std), self.image_set.labels[index]

    def _variation(self, number: int) -> tuple[Tensor | None, Tensor | None]:
        """Draw for each position of the epoch: mirror or not (N,), and the corner of the crop (N, 2)."""
        augment, num_images = self.augment, len(self.image_set)
        flips = shifts = None
        if augment is not None and augment.horizontal_flip:
            generator = _generator("flip", self.seed, number)
            flips = torch.randint(2, (num_images,), generator=generator).bool()
        if augment is not None and augment.crop_padding:
            generator = _generator("crop", self.seed, number)
            shifts = torch.randint(2 * augment.crop_padding + 1, (num_images, 2), generator=generator)
        return flips, shifts


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn uint8 images into network input: (value / 255 - mean) / std, channel by channel.

    Shapes:
        images (N, C, H, W) uint8; returns (N, C, H, W) float32
    Raises:
        ShapeError: the images are not uint8 of that shape.
        UsageError: `mean` or `std` does not hold C numbers, or a std is not above 0.
    Example:
        >>> normalise(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), mean=(0.5,), std=(0.25,))
        tensor([[[[-2.,  2.]]]])
    """
    if images.dim() != 4 or images.dtype != torch.uint8:
        raise ShapeError(
            f"normalise: images must be uint8 of shape (N, C, H, W), got {images.dtype} of shape "
            f"{tuple(images.shape)}."
        )
    mean, std = _check_mean_std(mean, std, images.shape[1], "normalise")
    channel_mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
    channel_std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
    return images.to(torch.float32).div_(255).sub_(channel_mean).div_(channel_std)


def prepare(
    image: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    channels: int,
    size: int | tuple[int, int],
) -> Tensor:
    """Turn one decoded picture into network input, exactly as the training images were.

    Colour becomes grey, or grey three equal channels, if `channels` asks for it; then `fit_image`, then
    `normalise`.

    Shapes:
        image (H, W) or (H, W, 3) uint8; returns (1, channels, height, width) float32
    Args:
        mean, std: one number per channel on the 0..1 scale, those of the training images.
        channels: 1 or 3.
        size: pixels; an int for a square, or a (height, width) pair.
    Raises:
        UsageError: an argument is not as above.
    Example:
        >>> from convscope.data import cat
        >>> prepare(cat(), mean=(0.5,), std=(0.5,), channels=1, size=28).shape
        torch.Size([1, 1, 28, 28])
    """
    check_picture(image, "prepare")
    if channels not in (1, 3):
        raise UsageError(f"prepare: a picture has 1 or 3 channels, got channels = {channels!r}.")
    mean, std = _check_mean_std(mean, std, channels, "prepare")
    fitted = torch.from_numpy(fit_image(to_mode(image, "L" if channels == 1 else "RGB"), size))
    planes = fitted[None, None] if channels == 1 else fitted.permute(2, 0, 1)[None]
    return normalise(planes.contiguous(), mean, std)


def to_mode(image: np.ndarray, mode: str) -> np.ndarray:
    """Turn a picture into grey ("L", (H, W)) or colour ("RGB", (H, W, 3)), as `decode_image` does."""
    import numpy as np
    from PIL import Image

    if (image.ndim == 2) == (mode == "L"):
        return image
    return np.array(Image.fromarray(image).convert(mode))


def _shift(images: Tensor, corners: Tensor, padding: int) -> Tensor:
    """Cut each image at its own corner out of a copy with black borders."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2p+1, 2p+1, H, W), a view
    return windows[torch.arange(len(images)), :, corners[:, 0], corners[:, 1]]


def _generator(purpose: str, seed: int, epoch: int) -> torch.Generator:
    """Seed by a digest, so that neighbouring seeds, epochs and purposes share nothing."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{epoch}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))


def _check_mean_std(
    mean: Sequence[float], std: Sequence[float], channels: int, call: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for what, values in (("mean", mean), ("std", std)):
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != channels or not all(map(math.isfinite, numbers)):
            raise UsageError(
                f"{call}: {what} must hold one finite number for each of the {channels} channel(s), got {values!r}."
            )
    if min(std) <= 0:
        raise UsageError(
            f"{call}: std must be above 0 in every channel, got {tuple(std)}. A channel whose pixels are all "
            "equal has std 0: give 1.0 for it."
        )
    return tuple(map(float, mean)), tuple(map(float, std))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
