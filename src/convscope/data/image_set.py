"""A set of labelled pictures of one size, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from convscope.errors import DataError, ShapeError, UsageError

__all__ = ["ImageSet"]

_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Hold pictures and their labels.

    Shapes:
        images (N, C, H, W) uint8, 0 black to 255 white; labels (N,) int64, each an index into `classes`
    Args:
        name: what a person calls this set.
        ignored: files that the loader passed over because they are hidden or not named like a picture.
        skipped: files that the loader was asked to leave out because they cannot be decoded.
    Raises:
        ShapeError: the shapes are not as above, or the counts disagree.
        UsageError: a dtype or a class name is not as above.
        DataError: there is no image, or a label is outside 0 .. len(classes) - 1.
    Example:
        >>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
        >>> ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets")
        ImageSet('pets': 3 images of 1 x 28 x 28, 2 classes)
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str
    ignored: int = 0
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        images, labels = self.images, self.labels
        for what, value, dtype in (("images", images, torch.uint8), ("labels", labels, torch.int64)):
            if not isinstance(value, Tensor) or value.dtype != dtype:
                got = value.dtype if isinstance(value, Tensor) else type(value).__name__
                raise UsageError(f"ImageSet: {what} must be a {dtype} tensor, got {got}. Convert it first.")
        if images.dim() != 4:
            raise ShapeError(
                f"ImageSet: images must have the shape (N, C, H, W), got {tuple(images.shape)}. "
                "Add the missing axes with unsqueeze or reshape."
            )
        if labels.dim() != 1 or len(labels) != len(images):
            raise ShapeError(
                f"ImageSet: {len(images)} images need labels of shape ({len(images)},), "
                f"got {tuple(labels.shape)}. Give each image one label."
            )
        if images.numel() == 0:
            raise DataError(
                f"ImageSet: images of shape {tuple(images.shape)} hold no pixel. Give at least one image."
            )
        names_are_good = all(isinstance(name, str) and name for name in self.classes)
        if not names_are_good or len(set(self.classes)) != len(self.classes):
            raise UsageError(
                f"ImageSet: classes must be different, non-empty strings, got {self.classes}. Rename them."
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"ImageSet: labels run from {low} to {high}, but {len(self.classes)} classes allow "
                f"0 to {len(self.classes) - 1}. Add the missing class names or correct the labels."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        channels, height, width = self.image_shape
        return (
            f"ImageSet({self.name!r}: {len(self)} images of {channels} x {height} x {width}, "
            f"{len(self.classes)} classes)"
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The (C, H, W) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def class_counts(self) -> tuple[int, ...]:
        """Count the images of each class, in the order of `classes`.

        Example:
            >>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
            >>> ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets").class_counts()
            (1, 2)
        """
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())

    def picture(self, index: int) -> np.ndarray:
        """Return one image as an array to draw or to `prepare`: (H, W) for one channel, else (H, W, C), uint8.

        Example:
            >>> images = torch.zeros(1, 1, 28, 20, dtype=torch.uint8)
            >>> ImageSet(images, torch.tensor([0]), ("cat",), "pets").picture(0).shape
            (28, 20)
        """
        image = self.images[index]
        return image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).contiguous().numpy()

    def subset(self, indices: Sequence[int] | Tensor) -> ImageSet:
        """Pick images by position, in the order given; the class names stay.

        Raises:
            UsageError: no index, or one outside -N .. N - 1.
        Example:
            >>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
            >>> ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets").subset([2, 0]).labels
            tensor([1, 0])
        """
        try:
            index = torch.as_tensor(indices)
        except (TypeError, ValueError, RuntimeError):
            index = torch.tensor([])  # refused with the rest
        if index.dim() != 1 or index.numel() == 0 or index.dtype not in (torch.int64, torch.int32):
            raise UsageError(
                f"ImageSet.subset: indices must be a non-empty list of integers, got {_brief(indices)}."
            )
        low, high = int(index.min()), int(index.max())
        if low < -len(self) or high >= len(self):
            worst = high if high >= len(self) else low
            raise UsageError(
                f"ImageSet.subset: index {worst} is outside the {len(self)} images of {self.name!r}. "
                f"Use 0 to {len(self) - 1}."
            )
        index = index.long()
        return replace(self, images=self.images[index], labels=self.labels[index])

    def take(self, n: int) -> ImageSet:
        """Keep the first `n` images, as a view.

        A set read from a folder lies class by class: use `take_balanced` there.

        Raises:
            UsageError: `n` is below 1 or above the number of images.
        Example:
            >>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
            >>> len(ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets").take(2))
            2
        """
        self._check_count("take", n)
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def take_balanced(self, n: int) -> ImageSet:
        """Keep `n` images spread as evenly over the classes as the counts allow, in their present order.

        Raises:
            UsageError: `n` is below 1 or above the number of images.
        Example:
            >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 0, 0, 1]), ("cat", "dog"), "pets")
            >>> pets.take_balanced(2).labels
            tensor([0, 1])
        """
        self._check_count("take_balanced", n)
        return self.subset(self.balanced_indices(n))

    def balanced_indices(self, n: int) -> Tensor:
        """Return which images `take_balanced` keeps, (n,) int64.

        Raises:
            UsageError: `n` is below 1 or above the number of images.
        Example:
            >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
            >>> ImageSet(images, torch.tensor([0, 0, 0, 1]), ("cat", "dog"), "pets").balanced_indices(2)
            tensor([0, 3])
        """
        self._check_count("balanced_indices", n)
        by_class = torch.argsort(self.labels, stable=True)
        starts = torch.tensor((0, *self.class_counts()[:-1])).cumsum(0)
        rank = torch.empty_like(by_class)  # how many images of the same class come before this one
        rank[by_class] = torch.arange(len(self)) - starts[self.labels[by_class]]
        return torch.argsort(rank, stable=True)[:n].sort().values

    def split(self, share: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """Hold out a share of each class's images; return those that stay and those held out, in their present order.

        Of each class at least one image stays, and at least one is held out where it has two.

        Args:
            share: above 0 and below 1.
            seed: decides which images are held out, and nothing else does.
        Raises:
            UsageError: a share outside 0 to 1, or nothing would be held out.
        Example:
            >>> images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 0, 0, 0, 1, 1]), ("cat", "dog"), "pets")
            >>> kept, held_out = pets.split(0.25)
            >>> kept.class_counts(), held_out.class_counts()
            ((3, 1), (1, 1))
        """
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
            raise UsageError(f"ImageSet.split: share is {share!r}; it must be above 0 and below 1.")
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        held_out = torch.zeros(len(self), dtype=torch.bool)
        for label, count in enumerate(self.class_counts()):
            ours = shuffled[self.labels[shuffled] == label]
            held_out[ours[: min(max(1, round(share * count)), count - 1)]] = True
        if not held_out.any():
            raise UsageError(
                f"ImageSet.split: no class of {self.name!r} has two images, so none can be held out. Give more images."
            )
        kept, apart = (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
        return self.subset(kept), self.subset(apart)

    def normalised(self, which: slice, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Return some of the images as network input; see `normalise`.

        Example:
            >>> images = torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)
            >>> pets = ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets")
            >>> pets.normalised(slice(1), (0.5,), (0.5,))
            tensor([[[[1., 1.],
                      [1., 1.]]]])
        """
        from convscope.data.batches import normalise

        return normalise(self.images[which], mean, std)

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Measure each channel's mean and standard deviation (population) on the 0..1 scale.

        Counts the 256 levels as integers, so the result does not depend on the order of summation.

        Example:
            >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
            >>> ImageSet(images, torch.tensor([0, 1]), ("black", "white"), "two").mean_std()
            ((0.5,), (0.5,))
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.zeros(self.image_shape[0], 256, dtype=torch.int64)
        for part in self.images.split(_IMAGES_AT_ONCE):  # a set may be larger than memory
            for channel, planes in enumerate(part.unbind(1)):
                counts[channel] += torch.bincount(planes.reshape(-1), minlength=256)
        means, stds = [], []
        for count in counts:
            weights = count.double() / count.sum()
            mean = weights @ levels
            means.append(float(mean))
            stds.append(float(torch.sqrt(weights @ (levels - mean) ** 2)))
        return tuple(means), tuple(stds)

    def to_dict(self) -> dict[str, object]:
        """Return the facts of this set as plain values that JSON can hold.

        Example:
            >>> images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
            >>> facts = ImageSet(images, torch.tensor([0, 1, 1]), ("cat", "dog"), "pets").to_dict()
            >>> facts["class_counts"]
            {'cat': 1, 'dog': 2}
        """
        channels, height, width = self.image_shape
        mean, std = self.mean_std()
        return {
            "name": self.name,
            "num_images": len(self),
            "channels": channels,
            "height": height,
            "width": width,
            "classes": list(self.classes),
            "class_counts": dict(zip(self.classes, self.class_counts(), strict=True)),
            "size_bytes": self.images.numel(),
            "mean": list(mean),
            "std": list(std),
            "ignored": self.ignored,
            "skipped": list(self.skipped),
        }

    def _check_count(self, method: str, n: int) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(self):
            raise UsageError(
                f"ImageSet.{method}: n must be an integer from 1 to {len(self)} (the images of "
                f"{self.name!r}), got {n!r}."
            )


def _brief(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
