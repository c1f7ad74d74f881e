"""How a picture becomes the input that a network's weights were trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from torch import nn

from convscope.errors import UsageError

__all__ = ["Interpolation", "Preprocessing", "WeightsInfo", "weights_info"]

Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, crop and normalisation, as numbers; `data.preprocess` applies them.

    Attributes:
        resize: pixels of the shorter side; the proportions stay. None leaves the size.
        crop: side of the square cut out of the centre. None cuts nothing.
        mean, std: one number a channel, on the 0..1 scale.
    Raises:
        UsageError: a size below 1, a std of 0, another interpolation.
    Example:
        >>> facts = Preprocessing(256, 224, "bilinear", (0.5,), (0.25,))
        >>> Preprocessing.from_dict(facts.to_dict()) == facts
        True
    """

    resize: int | None
    crop: int | None
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, size in (("resize", self.resize), ("crop", self.crop)):
            if size is not None and (not isinstance(size, int) or not 1 <= size <= 16384):
                raise UsageError(
                    f"{name} is {size!r}; it must be 1 to 16384 pixels, or None.", call="Preprocessing"
                )
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UsageError(
                f"interpolation is {self.interpolation!r}; it must be 'bilinear' or 'bicubic'.",
                call="Preprocessing",
            )
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise UsageError(f"crop {self.crop} is larger than resize {self.resize}.", call="Preprocessing")
        finite = all(map(math.isfinite, (*self.mean, *self.std)))
        if not self.mean or len(self.mean) != len(self.std) or not finite or min(self.std) <= 0:
            raise UsageError(
                f"mean {self.mean} and std {self.std} must have a finite entry a channel, std above 0.",
                call="Preprocessing",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        mean, std = (tuple(float(value) for value in facts[name]) for name in ("mean", "std"))
        return cls(facts["resize"], facts["crop"], facts["interpolation"], mean, std)


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What a network's weights know: where they come from, their classes, how images are prepared for them.

    `create_model` puts it on the network as `weights_info`, `save_weights` into the file.
    """

    source: str
    classes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def to_metadata(self) -> dict[str, str]:
        """Return strings for a file of weights.

        Example:
            >>> WeightsInfo("here", ("cat", "dog")).to_metadata()
            {'source': 'here', 'classes': '["cat", "dog"]'}
        """
        found = {"source": self.source}
        if self.classes:
            found["classes"] = json.dumps(self.classes, ensure_ascii=False)
        if self.preprocessing is not None:
            found["preprocessing"] = json.dumps(self.preprocessing.to_dict())
        return found

    @classmethod
    def from_metadata(cls, source: str, metadata: Mapping[str, str]) -> Self:
        """Read what `to_metadata` wrote; what is missing, or written by others in another way, is left out."""
        try:
            given = json.loads(metadata.get("classes", "[]"))
            named = isinstance(given, list) and all(isinstance(name, str) for name in given)
            classes = tuple(given) if named else ()
        except (ValueError, TypeError, RecursionError):
            classes = ()
        try:
            preprocessing = Preprocessing.from_dict(json.loads(metadata["preprocessing"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            preprocessing = None
        return cls(source, classes, preprocessing)


def weights_info(network: nn.Module) -> WeightsInfo:
    """Return what a network's weights know.

    Raises:
        UsageError: it was not created with weights.
    """
    info = getattr(network, "weights_info", None)
    if not isinstance(info, WeightsInfo):
        raise UsageError(
            "the network was not created with weights; use create_model(name, weights='default') or a path.",
            call="weights_info",
        )
    return info
