"""A look at one half of a data set: what is in it, what is not usable, and some images of each class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from convscope.data.image_set import ImageSet
from convscope.data.registry import load_dataset
from convscope.errors import DataError, UsageError

__all__ = ["DatasetSurvey", "survey_dataset"]

_COMMON_SIZE = 64  # pixels, for pictures whose own sizes differ


@dataclass(frozen=True, eq=False)
class DatasetSurvey:
    """Hold one half of a data set as it was found.

    Args:
        split: "train" or "test".
        resized: whether the images were brought to another size than their own.
    Example:
        >>> survey_dataset("fashion-mnist", "test").to_dict()["num_images"]
        2000
    """

    images: ImageSet
    split: str
    resized: bool

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values that JSON can hold; `skipped` are the files that cannot be decoded."""
        return {**self.images.to_dict(), "split": self.split, "resized": self.resized}

    def sample(self, count: int, seed: int = 0) -> tuple[tuple[int, ...], ...]:
        """Return positions of up to `count` images of each class, drawn at random, in the order of the classes.

        Raises:
            UsageError: `count` is below 1.
        Example:
            >>> [len(row) for row in survey_dataset("fashion-mnist", "test").sample(3)]
            [3, 3, 3, 3, 3, 3, 3, 3, 3, 3]
        """
        if count < 1:
            raise UsageError(f"count must be at least 1, got {count}.", call="sample")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator)
        labels = self.images.labels[order]
        return tuple(
            tuple(order[labels == label][:count].tolist()) for label in range(len(self.images.classes))
        )


def survey_dataset(
    name_or_path: str | os.PathLike[str],
    split: Literal["train", "test"] = "train",
    *,
    size: int | tuple[int, int] | None = None,
) -> DatasetSurvey:
    """Load one half of a data set, leaving out and listing what cannot be decoded.

    Args:
        name_or_path: as for `load_dataset`.
        size: bring every image to it. None keeps their own size; pictures whose sizes differ, or which do not fit
            into memory as they are, become 64 x 64.
    Raises:
        UsageError, UnknownNameError, DataError: as for `load_dataset`.
    Example:
        >>> survey_dataset("fashion-mnist", "test").images.image_shape
        (1, 28, 28)
    """
    if size is not None:
        return DatasetSurvey(load_dataset(name_or_path, split, size=size, skip_bad=True), split, True)
    try:
        return DatasetSurvey(load_dataset(name_or_path, split, skip_bad=True), split, False)
    except DataError as refusal:
        try:
            images = load_dataset(name_or_path, split, size=_COMMON_SIZE, skip_bad=True)
        except DataError:
            raise refusal from None
        return DatasetSurvey(images, split, True)
