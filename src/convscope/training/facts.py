"""What a network must know of the images it is trained on, and the network made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from convscope.data import ImageSet
from convscope.errors import DataError
from convscope.models import create_seeded_model, model_entry
from convscope.training.recipe import Recipe

__all__ = ["DataFacts", "build_network"]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a network must know of the images it was trained on.

    `input_shape` is (C, H, W); `mean` and `std` are one number a channel on the 0..1 scale.
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: ImageSet) -> DataFacts:
        """Measure the training images.

        Raises:
            DataError: a channel has one value everywhere; it cannot be normalised, and there is nothing to learn.
        """
        mean, std = images.mean_std()
        if min(std) == 0:
            raise DataError(
                f"channel {std.index(0)} of all {len(images)} images of {images.name!r} has one value, "
                f"{255 * mean[std.index(0)]:.0f}; nothing can be learned from it. Look at the files.",
                call="train",
            )
        return cls(images.classes, images.image_shape, mean, std)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> DataFacts:
        """Read what `to_dict` wrote."""
        channels, height, width = facts["input_shape"]
        return cls(
            tuple(facts["classes"]), (channels, height, width), tuple(facts["mean"]), tuple(facts["std"])
        )

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values for JSON."""
        return {
            "classes": list(self.classes),
            "input_shape": list(self.input_shape),
            "mean": list(self.mean),
            "std": list(self.std),
        }


def build_network(recipe: Recipe, facts: DataFacts) -> nn.Module:
    """Build the recipe's network for these images, its random weights decided by the recipe's seed alone."""
    return create_seeded_model(
        recipe.model,
        recipe.seed,
        num_classes=len(facts.classes),
        in_channels=facts.input_shape[0],
        image_size=facts.input_shape[1:] if model_entry(recipe.model).takes_image_size else None,
        **recipe.model_options,
    )
