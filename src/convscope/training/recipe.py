"""What a training run is asked to do, and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from convscope.acceleration.precision import Precision
from convscope.errors import UnknownNameError, UsageError
from convscope.geometry import as_int

__all__ = ["RECIPES", "Recipe", "named_recipe"]

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["constant", "cosine", "onecycle"]
Loss = Literal["softmax", "hinge"]

_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result of a training run, together with the data.

    Args:
        model: a name of the zoo; `model_options` are its factory's further arguments.
        data: a name `load_dataset` knows, or a folder of `train/<class>/` and `test/<class>/`.
        image_size: pixels a side to which a folder's images are resized; None keeps them.
        epochs, batch_size: passes over the training images, images a step.
        lr: the highest learning rate; `schedule` moves it: `constant`, `cosine` to zero, or `onecycle`, up from
            lr/25 over the first quarter and down to zero (Smith, arXiv:1708.07120, with a cosine).
        weight_decay: decoupled for `adamw`, as L2 gradient for `sgd` (Nesterov, `momentum`).
        loss: `softmax` cross-entropy with `label_smoothing`, or the multiclass SVM `hinge` loss.
        horizontal_flip, crop_padding: mirror half the images; shift by a random crop of the padded image.
        seed: of the weights, the order and the augmentation.
        accelerate, precision: whether, and in which type, the network runs fused (`convscope.accelerate`).
    Raises:
        UsageError: a value outside its range.
    Example:
        >>> Recipe(model="lenet5", epochs=3).to_dict()["schedule"]
        'onecycle'
    """

    model: str = "small_vgg"
    data: str = "fashion-mnist"
    epochs: int = 5
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    lr: float = 3e-3
    weight_decay: float = 0.02
    momentum: float = _MOMENTUM
    schedule: Schedule = "onecycle"
    loss: Loss = "softmax"
    label_smoothing: float = 0.0
    horizontal_flip: bool = False
    crop_padding: int = 0
    image_size: int | None = None
    seed: int = 0
    model_options: Mapping[str, object] = field(default_factory=dict)
    accelerate: bool = True
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("crop_padding", 0), ("seed", 0)):
            as_int(f"Recipe: {name}", getattr(self, name), at_least=least)
        if self.seed >= 2**63:
            raise UsageError(f"Recipe: seed is {self.seed}; it must be below 2**63.")
        for name in ("horizontal_flip", "accelerate"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"Recipe: {name} is {getattr(self, name)!r}; it must be True or False.")
        if self.image_size is not None:
            as_int("Recipe: image_size", self.image_size, at_least=1)
        for name, low, high in (
            ("lr", 0.0, math.inf),
            ("weight_decay", 0.0, math.inf),
            ("momentum", 0.0, 1.0),
            ("label_smoothing", 0.0, 1.0),
        ):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low <= value < high or (name == "lr" and value == 0):
                raise UsageError(
                    f"Recipe: {name} is {value!r}; it must be {'above' if name == 'lr' else 'at least'} {low:g}"
                    + (f" and below {high:g}." if high < math.inf else " and finite.")
                )
        for name, known in (
            ("optimizer", Optimizer),
            ("schedule", Schedule),
            ("loss", Loss),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known), call="Recipe")
        if self.optimizer == "adamw" and self.momentum != _MOMENTUM:
            raise UsageError(f"Recipe: momentum is {self.momentum}; adamw has none. Use optimizer='sgd'.")
        if self.loss == "hinge" and self.label_smoothing:
            raise UsageError(
                f"Recipe: label_smoothing is {self.label_smoothing}; the hinge loss has none. Use loss='softmax'."
            )

    def replace(self, **changes: object) -> Recipe:
        """Return a copy with some fields changed; unknown fields are refused with the nearest names."""
        return Recipe.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, object]:
        """Return the recipe as plain values for JSON."""
        facts = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        facts["model_options"] = dict(self.model_options)
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, object]) -> Recipe:
        """Build a recipe from `to_dict`'s values; a field that does not exist is refused.

        Example:
            >>> Recipe.from_dict({"epoch": 3})
            Traceback (most recent call last):
            convscope.errors.UnknownNameError: Recipe: unknown field 'epoch': did you mean 'epochs'? Known: ...
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        for name in facts:
            if name not in known:
                raise UnknownNameError("field", name, known, call="Recipe")
        return cls(**facts)  # type: ignore[arg-type]  # __post_init__ checks the values

    def lr_at(self, progress: float) -> float:
        """Return the learning rate after a share `progress`, 0 to 1, of all steps.

        Example:
            >>> recipe = Recipe(lr=1.0)
            >>> recipe.lr_at(0.0), recipe.lr_at(0.25), recipe.lr_at(1.0)
            (0.04, 1.0, 0.0)
        """
        if self.schedule == "constant":
            return self.lr
        warm, low = (0.25, self.lr / 25) if self.schedule == "onecycle" else (0.0, self.lr)
        if progress < warm:
            return low + (self.lr - low) * 0.5 * (1 - math.cos(math.pi * progress / warm))
        return self.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


# Found by training on the packaged Fashion-MNIST subset; the README's figures come from them.
RECIPES: dict[str, Recipe] = {
    "fashion-cnn": Recipe(model="small_vgg", epochs=6, lr=5e-3),
    "fashion-mlp": Recipe(model="mlp", epochs=8, lr=1e-3),
    "fashion-lenet5": Recipe(model="lenet5", epochs=10, lr=4e-3),
    "fashion-perceptron": Recipe(model="perceptron", epochs=10, lr=2e-3),
}


def named_recipe(name: str) -> Recipe:
    """Return a recipe of this library by name.

    Raises:
        UnknownNameError: no such recipe; the nearest names are told.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES, call="train")
    return RECIPES[name]
