"""Batches out of memory: shuffled, augmented and normalised as a pure function of seed, epoch and place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from convscope.data.augmentation import Augmentation, draw_generator, draw_variation
from convscope.data.image_set import ImageSet
from convscope.data.mixing import draw_mixing
from convscope.data.resize import check_picture, fit_image
from convscope.errors import ShapeError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from convscope.data.augmentation import Variation

__all__ = ["Batch", "Batches", "normalise", "prepare", "to_mode"]

_CHUNK_ELEMENTS = 2**20  # a few images at a time: each step finds what the one before wrote in the cache


class Batch(NamedTuple):
    """Images ready for a network, and what is known of them.

    Shapes:
        images (n, C, H, W) float32, in channels-last memory; labels (n,) int64;
        index (n,) int64: each image's place in the set;
        other_labels (n,) int64 and share (n,) float32: of mixed images, where `share` is the weight of `labels` and
        1 - share that of `other_labels`; None of images that are not mixed
    Example:
        >>> images = torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)
        >>> pets = ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets")
        >>> batch = next(Batches(pets, 2, mean=(0.5,), std=(0.5,)).epoch(0))
        >>> batch.images.shape, batch.labels, batch.index
        (torch.Size([2, 1, 2, 2]), tensor([0, 1]), tensor([0, 1]))
    """

    images: Tensor
    labels: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]
    other_labels: Tensor | None = None
    share: Tensor | None = None


class Batches:
    """Serve an `ImageSet` as normalised batches, epoch by epoch, without worker processes.

    The order is a pure function of (seed, epoch); how an image is varied, of (seed, epoch, its place in the set);
    how a batch is mixed, of (seed, epoch, number of the batch). So any epoch can be repeated, a run resumed in the
    middle of one, and several processes together serve what one would. The global random state is neither read
    nor changed.

    Args:
        batch_size: images of a batch, of all processes together.
        mean, std: one number per channel on the 0..1 scale; those of the training images, for the test images too.
        shuffle: a new order in each epoch; otherwise the order of the set.
        augment: None serves the images as they are.
        progressive_sizes: pixels to which the shorter side of the images is shrunk in epoch 0, 1, ...; further epochs
            see whole images. Bilinear with antialiasing, after augmentation and mixing.
        drop_last: leave out a last batch that is smaller than the others.
        rank, world_size: serve one process its share of each batch: neighbours, as many as the others or one less.
    Raises:
        UsageError: an argument is not as above, or no batch would be left, or a batch with fewer images than
            processes.
        ShapeError: `augment` does not fit the images, or a size is larger than they are.
    Example:
        >>> images = torch.full((5, 1, 2, 2), 255, dtype=torch.uint8)
        >>> pets = ImageSet(images, torch.tensor([0, 1, 1, 0, 1]), ("cat", "dog"), "pets")
        >>> batches = Batches(pets, 2, mean=(0.5,), std=(0.5,), shuffle=False, seed=0)
        >>> [tuple(batch.images.shape) for batch in batches.epoch(0)], next(batches.epoch(0)).images.max().item()
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
        progressive_sizes: Sequence[int] = (),
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
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
        if not _is_integer(world_size) or world_size < 1:
            raise UsageError(f"Batches: world_size must be an integer of at least 1, got {world_size!r}.")
        if not _is_integer(rank) or not 0 <= rank < world_size:
            raise UsageError(f"Batches: rank must be an integer from 0 to {world_size - 1}, got {rank!r}.")
        self.image_set = image_set
        self.batch_size = batch_size
        self.mean, self.std = _check_mean_std(mean, std, image_set.image_shape[0], "Batches")
        levels = torch.arange(256, dtype=torch.uint8).expand(1, len(self.mean), 1, 256)
        self._table = normalise(levels, self.mean, self.std).view(-1, 256)  # the value of each level
        self.shuffle = shuffle
        self.seed = seed
        self.augment = augment or Augmentation()
        self.augment.check_fits(image_set.image_shape, "Batches")
        self.progressive_sizes = tuple(_check_size(size, image_set) for size in progressive_sizes)
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self._check_shares()

    def __len__(self) -> int:
        full, rest = divmod(len(self.image_set), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    @property
    def num_images(self) -> int:
        """The images served in one epoch, by all processes together."""
        return len(self) * self.batch_size if self.drop_last else len(self.image_set)

    def image_shape(self, number: int) -> tuple[int, int, int]:
        """Return (C, H, W) of the images that an epoch serves.

        Example:
            >>> images = torch.zeros(4, 1, 8, 12, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1, 1]), ("cat", "dog"), "pets")
            >>> batches = Batches(pets, 2, mean=(0.5,), std=(0.5,), progressive_sizes=(4, 6))
            >>> [batches.image_shape(number) for number in range(4)]
            [(1, 4, 6), (1, 6, 9), (1, 8, 12), (1, 8, 12)]
        """
        channels, height, width = self.image_set.image_shape
        if number >= len(self.progressive_sizes):
            return channels, height, width
        scale = self.progressive_sizes[number] / min(height, width)
        return channels, round(height * scale), round(width * scale)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, or this process's share of each.

        Args:
            start: the first batch to serve; the batches before it are skipped, not computed.
        Raises:
            UsageError: `number` is below 0, or `start` outside 0 .. len(batches).
        Example:
            >>> images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1, 1]), ("cat", "dog"), "pets")
            >>> batches = Batches(pets, 1, mean=(0.5,), std=(0.5,), shuffle=True, seed=3)
            >>> whole = [batch.index.item() for batch in batches.epoch(7)]
            >>> [batch.index.item() for batch in batches.epoch(7, start=2)] == whole[2:]
            True
        """
        if not _is_integer(number) or number < 0:
            raise UsageError(f"Batches.epoch: number must be an integer of at least 0, got {number!r}.")
        if not _is_integer(start) or not 0 <= start <= len(self):
            raise UsageError(f"Batches.epoch: start must be a batch from 0 to {len(self)}, got {start!r}.")
        return self._serve(number, start)

    def order(self, number: int) -> Tensor:
        """Return the places in the image set, in the order in which that epoch serves them.

        Example:
            >>> images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets")
            >>> Batches(pets, 2, mean=(0.5,), std=(0.5,)).order(0)
            tensor([0, 1, 2])
        """
        if not self.shuffle:
            return torch.arange(len(self.image_set))
        return torch.randperm(len(self.image_set), generator=draw_generator("order", self.seed, number))

    def _serve(self, number: int, start: int) -> Iterator[Batch]:
        order, size = self.order(number), self.image_set.images.shape[2:]
        variation = draw_variation(self.augment, self.seed, number, len(order), *size)
        for batch in range(start, len(self)):
            whole = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            mixing = draw_mixing(self.augment, self.seed, number, batch, len(whole), *size)
            here = self._share(len(whole))
            index = whole[here]
            labels = self.image_set.labels[index]
            if mixing is None:
                yield Batch(self._sized(self._values(index, variation), number), labels, index)
                continue
            mixing, others = mixing.part(here), whole[mixing.partner[here]]
            # A partner may be in the share of another process: it is computed here too, and once.
            needed, place = torch.cat([index, others]).unique(return_inverse=True)
            own, other = place.split(len(index))
            values = self._values(needed, variation)
            mixed = values.index_select(0, own)
            for chunk in self._chunks(len(index)):
                mixing.part(chunk).mix(mixed[chunk], values.index_select(0, other[chunk]))
            other_labels = self.image_set.labels[others]
            yield Batch(self._sized(mixed, number), labels, index, other_labels, mixing.share)

    def _sized(self, values: Tensor, number: int) -> Tensor:
        """Return values (n, H, W, C) as (n, C, H, W) in channels-last memory, of the size of that epoch."""
        images, size = values.permute(0, 3, 1, 2), self.image_shape(number)[1:]
        if images.shape[2:] == size:
            return images
        return interpolate(images, size=size, mode="bilinear", antialias=True)

    def _values(self, index: Tensor, variation: Variation) -> Tensor:
        """Return the images at these places of the set, varied and normalised, as (n, H, W, C)."""
        channels, height, width = self.image_set.image_shape
        served = variation.served(self.image_set.images, index, self._table)
        if served is not None:
            return served
        # Whole rows at a time: a loop over the channels of each pixel alone would take ten times as long.
        mean, std = (torch.tensor(numbers * width, dtype=torch.float32) for numbers in (self.mean, self.std))
        values = torch.empty(len(index), height, width, channels)
        for chunk in self._chunks(len(index)):
            images, part = variation.vary(self.image_set.images, index[chunk]), values[chunk]
            for channel in range(channels):  # three times as fast as all at once
                part[..., channel].copy_(images[:, channel])
            _normalise(part.flatten(2), mean, std)
            variation.blank(part, index[chunk])
        return values

    def _chunks(self, num_images: int) -> Iterator[slice]:
        step = max(1, _CHUNK_ELEMENTS // self.image_set.images[0].numel())
        return (slice(low, min(low + step, num_images)) for low in range(0, num_images, step))

    def _share(self, num_images: int) -> slice:
        return share_of(num_images, self.rank, self.world_size)

    def _check_shares(self) -> None:
        rest = 0 if self.drop_last else len(self.image_set) % self.batch_size
        smallest = rest or min(self.batch_size, len(self.image_set))
        if smallest >= self.world_size:
            return
        where = "the last batch has" if smallest < self.batch_size else "a batch has"
        way_out = (
            "drop_last, or "
            if smallest == rest and len(self) > 1 and self.batch_size >= self.world_size
            else ""
        )
        raise UsageError(
            f"Batches: {where} {smallest} image(s) for world_size {self.world_size}; each process needs one. "
            f"Use {way_out}another batch_size or fewer processes."
        )


def share_of(count: int, rank: int, world_size: int) -> slice:
    """Return a process's share of so many things: contiguous, sizes differing by one at most.

    Example:
        >>> [share_of(8, rank, 3) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


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
    return _normalise(images.to(torch.float32), channel_mean, channel_std)


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


def _normalise(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise in place; each step rounds by itself, so the result does not depend on the layout."""
    return values.div_(255).sub_(mean).div_(std)


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


def _check_size(size: int, image_set: ImageSet) -> int:
    _, height, width = image_set.image_shape
    if not _is_integer(size) or size < 1:
        raise UsageError(f"Batches: progressive_sizes must be integers of at least 1, got {size!r}.")
    if size > min(height, width):
        raise ShapeError(
            f"Batches: progressive_sizes holds {size}, but the images of {image_set.name!r} have {height} x {width} "
            f"pixels. Use at most {min(height, width)}."
        )
    return size


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
