"""What a training run is asked to do, and nothing else."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from convscope.acceleration.precision import Precision
from convscope.errors import UnknownNameError, UsageError
from convscope.geometry import as_int

__all__ = ["Recipe"]

Optimizer = Literal["adamw", "sgd", "muon"]
Schedule = Literal["constant", "cosine", "linear", "onecycle", "step"]
Loss = Literal["softmax", "hinge"]
Flip = Literal["none", "random", "alternating"]
CropMode = Literal["constant", "reflect"]
Average = Literal["none", "ema", "lookahead"]
TestViews = Literal["one", "mirror", "mirror-shift"]
OnDivergence = Literal["stop", "rollback"]

_MOMENTUM = 0.9
_CHOICES: dict[str, Any] = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "loss": Loss,
    "horizontal_flip": Flip,
    "crop_mode": CropMode,
    "average": Average,
    "test_views": TestViews,
    "on_divergence": OnDivergence,
    "precision": Precision,
}
_INTEGERS = {
    "epochs": 1,
    "batch_size": 1,
    "crop_padding": 0,
    "cutout": 0,
    "average_every": 1,
    "evaluate_every": 0,
    "checkpoint_every": 0,
    "keep_checkpoints": 1,
    "seed": 0,
}
# Least, and the bound that it must stay below.
_NUMBERS = {
    "lr": (0.0, math.inf),
    "bias_lr_scale": (0.0, math.inf),
    "head_lr_scale": (0.0, math.inf),
    "weight_decay": (0.0, math.inf),
    "momentum": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "label_smoothing": (0.0, 1.0),
    "color": (0.0, 1.0),
    "mixup": (0.0, math.inf),
    "cutmix": (0.0, math.inf),
    "average_decay": (0.0, 1.0),
    "validation_share": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result of a training run, together with the data.

    Args:
        model: a name of the zoo; `model_options` are its factory's further arguments.
        weights: start from these instead of random ones: a name that `create_model` takes or a file. A head for other
            classes gets random values.
        freeze: beginnings of the names of parameters that stay as they are, `backbone` for all but the head;
            `freeze_epochs` says for how many epochs, None for all.
        data: a name `load_dataset` knows, or a folder of images; `image_size` are the pixels a side to which a folder's
            images are resized, None keeps them.
        validation_share: of the training images, held out by the seed and measured after epochs; the test images are
            then looked at once, in the end. With 0 the test images are measured after epochs, unless the data is a
            folder with `val/` beside `test/`.
        epochs, batch_size: passes over the training images, images a step (of all processes together).
        optimizer: `sgd` with Nesterov `momentum`, `adamw`, or `muon` for filters and matrices (Jordan, 2024) with SGD
            for the rest.
        lr: the highest learning rate; times `bias_lr_scale` for biases and normalisation, times `head_lr_scale` for the
            head.
        schedule: moves the rate after `warmup`, a share of all steps: `constant`; `cosine` or `linear` to zero; `step`
            divides by ten at each share in `milestones`; `onecycle` goes up from lr/25 over the first quarter and down
            to zero (Smith, arXiv:1708.07120, with a cosine).
        weight_decay: decoupled for `adamw` and `muon`, as L2 gradient for `sgd`.
        unit_filters: after each step scale the filters of each convolution that is normalised after it to a mean norm
            of one (as in the speed-runs of Jordan, arXiv:2404.00498).
        loss: `softmax` cross-entropy with `label_smoothing`, or the multiclass SVM `hinge` loss.
        horizontal_flip, crop_padding, crop_mode, cutout, color, mixup, cutmix: see `convscope.data.Augmentation`.
        progressive_sizes: pixels to which the shorter side of the training images is shrunk in the first epochs, a
            number an epoch; those that follow, one at least, and measurements see whole images. Small images cost less,
            and coarse features come first (progressive resizing; Tan & Le, arXiv:2104.00298, section 4).
        average: evaluate and keep the exponential moving average (`ema`) of the weights, or pull them to a slow copy
            (`lookahead`, arXiv:1907.08610), with `average_decay` every `average_every` steps.
        test_views: what an evaluation averages the scores of: the image; it and its mirror image; or both and both
            moved by a pixel up-left and down-right (six views, as in arXiv:2404.00498).
        evaluate_every: epochs between measurements; 0 measures only in the end.
        checkpoint_every: steps between checkpoints besides those after epochs; 0 for none. The last `keep_checkpoints`
            and the best are kept.
        on_divergence: what a loss that is not finite does: `stop` the run, or go back to the last checkpoint once more
            with half the learning rate (`rollback`), three times at most.
        seed: of the weights, the order and the augmentation.
        accelerate, precision: whether, and in which type, the network runs fused (`convscope.accelerate`).
    Raises:
        UsageError: a value outside its range.
    Example:
        >>> Recipe(model="lenet5", epochs=3).to_dict()["schedule"]
        'onecycle'
    """

    model: str = "small_vgg"
    model_options: Mapping[str, object] = field(default_factory=dict)
    weights: str | None = None
    freeze: tuple[str, ...] = ()
    freeze_epochs: int | None = None
    data: str = "fashion-mnist"
    image_size: int | None = None
    validation_share: float = 0.0
    epochs: int = 5
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    lr: float = 3e-3
    bias_lr_scale: float = 1.0
    head_lr_scale: float = 1.0
    weight_decay: float = 0.02
    momentum: float = _MOMENTUM
    unit_filters: bool = False
    schedule: Schedule = "onecycle"
    warmup: float = 0.0
    milestones: tuple[float, ...] = ()
    loss: Loss = "softmax"
    label_smoothing: float = 0.0
    horizontal_flip: Flip = "none"
    crop_padding: int = 0
    crop_mode: CropMode = "constant"
    cutout: int = 0
    color: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    progressive_sizes: tuple[int, ...] = ()
    average: Average = "none"
    average_decay: float = 0.99
    average_every: int = 1
    test_views: TestViews = "one"
    evaluate_every: int = 1
    checkpoint_every: int = 0
    keep_checkpoints: int = 3
    on_divergence: OnDivergence = "stop"
    seed: int = 0
    accelerate: bool = True
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, least in _INTEGERS.items():
            as_int(f"Recipe: {name}", getattr(self, name), at_least=least)
        for name in ("image_size", "freeze_epochs"):
            if getattr(self, name) is not None:
                as_int(f"Recipe: {name}", getattr(self, name), at_least=1)
        if self.seed >= 2**63:
            raise UsageError(f"Recipe: seed is {self.seed}; it must be below 2**63.")
        for name in ("accelerate", "unit_filters"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"Recipe: {name} is {getattr(self, name)!r}; it must be True or False.")
        for name, (low, high) in _NUMBERS.items():
            value = getattr(self, name)
            if not _is_number(value) or not low <= value < high or (name == "lr" and value == 0):
                raise UsageError(
                    f"Recipe: {name} is {value!r}; it must be {'above' if name == 'lr' else 'at least'} {low:g}"
                    + (f" and below {high:g}." if high < math.inf else " and finite.")
                )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in get_args(known):
                raise UnknownNameError(name, getattr(self, name), get_args(known), call="Recipe")
        for name in ("model", "data", "weights"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value) and (name != "weights" or value is not None):
                raise UsageError(f"Recipe: {name} is {value!r}; it must be a name.")
        if not isinstance(self.model_options, Mapping):
            raise UsageError(
                f"Recipe: model_options is {self.model_options!r}; it must be a table of options."
            )
        object.__setattr__(self, "freeze", _tuple_of("freeze", self.freeze, str))
        object.__setattr__(self, "milestones", _tuple_of("milestones", self.milestones, float))
        object.__setattr__(
            self, "progressive_sizes", _tuple_of("progressive_sizes", self.progressive_sizes, int)
        )
        self._check_together()

    def _check_together(self) -> None:
        if self.optimizer == "adamw" and self.momentum != _MOMENTUM:
            raise UsageError(f"Recipe: momentum is {self.momentum}; adamw has none. Use optimizer='sgd'.")
        if self.loss == "hinge" and self.label_smoothing:
            raise UsageError(
                f"Recipe: label_smoothing is {self.label_smoothing}; the hinge loss has none. Use loss='softmax'."
            )
        if (self.schedule == "step") != bool(self.milestones):
            raise UsageError(
                f"Recipe: milestones are {list(self.milestones)} with schedule {self.schedule!r}; the schedule 'step' "
                "needs them, and no other has any."
            )
        if list(self.milestones) != sorted(set(self.milestones)) or not all(
            0 < m < 1 for m in self.milestones
        ):
            raise UsageError(
                f"Recipe: milestones are {list(self.milestones)}; they must be rising shares of all steps between 0 "
                "and 1."
            )
        if self.warmup and self.schedule == "onecycle":
            raise UsageError(
                f"Recipe: warmup is {self.warmup}; the schedule 'onecycle' has its own. Use 'cosine'."
            )
        if self.progressive_sizes and len(self.progressive_sizes) >= self.epochs:
            raise UsageError(
                f"Recipe: progressive_sizes are {list(self.progressive_sizes)}, one an epoch, and epochs is "
                f"{self.epochs}; the last epoch sees whole images. Give fewer sizes, none, or more epochs."
            )
        if self.freeze_epochs is not None and not self.freeze:
            raise UsageError(
                f"Recipe: freeze_epochs is {self.freeze_epochs}, but freeze names nothing to freeze."
            )

    def replace(self, **changes: object) -> Recipe:
        """Return a copy with some fields changed; unknown fields are refused with the nearest names."""
        return Recipe.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, object]:
        """Return the recipe as plain values for JSON and TOML."""
        facts = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        facts["model_options"] = dict(self.model_options)
        for name in ("freeze", "milestones", "progressive_sizes"):
            facts[name] = list(getattr(self, name))
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, object]) -> Recipe:
        """Build a recipe from `to_dict`'s values; a field that does not exist is refused.

        Example:
            >>> Recipe.from_dict({"optimiser": "sgd"})
            Traceback (most recent call last):
            convscope.errors.UnknownNameError: Recipe: unknown field 'optimiser': did you mean 'optimizer'? Known: ...
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
        if self.schedule == "onecycle":
            warm, low = 0.25, self.lr / 25
            if progress < warm:
                return low + (self.lr - low) * 0.5 * (1 - math.cos(math.pi * progress / warm))
            return self.lr * 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        if self.schedule == "step":
            return self.lr * 0.1 ** sum(progress >= milestone for milestone in self.milestones)
        left = (1 - progress) / (1 - self.warmup)
        if self.schedule == "linear":
            return self.lr * left
        return self.lr * 0.5 * (1 - math.cos(math.pi * left)) if self.schedule == "cosine" else self.lr


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_KINDS: dict[type, tuple[Callable[[object], bool], str]] = {
    str: (lambda value: isinstance(value, str) and bool(value), "names"),
    float: (_is_number, "numbers"),
    int: (_is_size, "whole numbers of at least 1"),
}


def _tuple_of(name: str, values: object, kind: type) -> tuple[Any, ...]:
    fits, what = _KINDS[kind]
    if not isinstance(values, (list, tuple)) or not all(map(fits, values)):
        raise UsageError(f"Recipe: {name} is {values!r}; it must be a list of {what}.")
    return tuple(values)
