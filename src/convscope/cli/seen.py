"""What a network sees of a picture: the photograph brought to the size and scale that it expects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convscope.cli.network import OpenedNetwork
from convscope.cli.output import int_list
from convscope.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from convscope.models import Preprocessing

__all__ = ["Seen", "as_published", "input_size", "see", "sized_input"]

_DETAIL = 2  # pixels decoded for each that is kept, along each axis
_OWN_PIXELS = 4  # a picture of more times the network's own pixels is made smaller


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture and what a network gets of it.

    Attributes:
        picture: (H, W, 3) uint8; None for an input that is no picture.
        input: ready for the network.
    """

    picture: np.ndarray | None
    input: Tensor

    @property
    def visible(self) -> np.ndarray | None:
        """Return the input as a picture, min-max scaled, (H, W, C) uint8; None for an input that is none."""
        from convscope.inspection import min_max_image

        return None if self.picture is None else min_max_image(self.input[0])


def input_size(text: str | None) -> tuple[int, int] | None:
    """Read `--size`: one number for a square, or heightxwidth.

    Raises:
        UsageError: neither, or below 1.
    Example:
        >>> input_size("224"), input_size("200x300"), input_size(None)
        ((224, 224), (200, 300), None)
    """
    if text is None:
        return None
    sides = int_list("--size", text)
    if len(sides) not in (1, 2) or not 1 <= min(sides) <= max(sides) <= 16384:
        raise UsageError(f"--size is {text!r}; give 1 to 16384 pixels, as 224 or 200x300.")
    return sides[0], sides[-1]


def see(opened: OpenedNetwork, image: Path | None, size: tuple[int, int] | None, seed: int = 0) -> Seen:
    """Return what the network gets of a picture, by default of the packaged cat.

    A run gets it as its training images were; a network of the zoo as its weights want it, or, without weights, as its
    published ones would. Where nobody says how, values are 0 to 1, and the size is --input's, the only one that the
    network takes, or the picture's own unless it is far larger than what the network was made for.

    Args:
        image: a file, or `cat`.
        size: asked for instead, (height, width).
        seed: of the random numbers that a network gets whose --input is no picture.
    Raises:
        UsageError: a picture for a network that takes none.
        BadImageError: the file is no picture.
    """
    import torch

    from convscope.data import cat_path, decode_reduced, prepare, preprocess

    shape = opened.shape or (1, 3, 224, 224)
    if len(shape) != 4 or shape[1] not in (1, 3):
        if image is not None:
            raise UsageError(f"--input {shape} is no picture of 1 or 3 channels; leave the picture out.")
        return Seen(None, torch.randn(shape, generator=torch.Generator().manual_seed(seed)))
    channels, own = shape[1], (shape[2], shape[3])
    path = cat_path() if image is None or str(image) == "cat" else image
    facts = opened.preprocessing if size is None else _resized(opened.preprocessing, size)
    needed = (facts.resize, facts.resize) if facts and facts.resize else size or own
    picture = decode_reduced(path, (_DETAIL * needed[0], _DETAIL * needed[1]))
    if opened.run is not None and size is None:
        return Seen(picture, opened.run.prepare(picture))
    if facts is not None and (size is None or size[0] == size[1]):
        return Seen(picture, preprocess(picture, facts))
    mean, std = (0.0,) * channels, (1.0,) * channels
    if opened.run is not None:
        mean, std = opened.run.facts.mean, opened.run.facts.std
    elif facts is not None:
        mean, std = facts.mean, facts.std
    if size is None and not opened.fixed_size:
        size = _own_size(picture, own)
    return Seen(picture, prepare(picture, mean, std, channels, size or own))


def _resized(facts: Preprocessing | None, size: tuple[int, int]) -> Preprocessing | None:
    """Return the preparation for another square size, the part of the picture that is cut out as before."""
    if facts is None:
        return None
    side = size[0]
    resize = round(side * facts.resize / facts.crop) if facts.resize and facts.crop else side
    return replace(facts, resize=resize, crop=side)


def _own_size(picture: np.ndarray, own: tuple[int, int]) -> tuple[int, int]:
    height, width = picture.shape[:2]
    if height * width <= _OWN_PIXELS * own[0] * own[1]:
        return height, width
    share = min(own) / min(height, width)
    return max(1, round(height * share)), max(1, round(width * share))


def sized_input(spec: str, size: tuple[int, int] | None) -> str | None:
    """Return the --input of a network of the zoo whose layers depend on the image's size; None of others."""
    from convscope.models import list_models, model_entry

    if size is None or spec not in list_models() or not model_entry(spec).takes_image_size:
        return None
    return "x".join(map(str, (model_entry(spec).input_shape[0], *size)))


def as_published(opened: OpenedNetwork) -> OpenedNetwork:
    """Return a network of the zoo with random weights so that it gets pictures as its published weights do."""
    from convscope.models import list_weights, published_weights

    if opened.run is not None or opened.preprocessing is not None or not list_weights(opened.name):
        return opened
    return replace(opened, preprocessing=published_weights(opened.name).preprocessing)
