"""How a network wants its images prepared, and the way back from its input to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from convscope.models import Preprocessing, WeightsInfo

__all__ = ["PictureSet", "known_preprocessing", "normalisation_for", "picture_of"]


@runtime_checkable
class PictureSet(Protocol):
    """A set of labelled pictures of one size, as `convscope.data.ImageSet` is one.

    Shapes:
        images (N, C, H, W) uint8; labels (N,) int64, each an index into `classes`
    """

    @property
    def images(self) -> Tensor:
        """Return all pictures."""
        ...

    @property
    def labels(self) -> Tensor:
        """Return the class of each."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        ...

    @property
    def name(self) -> str:
        """Return what a person calls the set."""
        ...

    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and deviation of each channel on the 0..1 scale."""
        ...

    def normalised(self, which: slice, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Return some pictures as network input."""
        ...

    def subset(self, indices: Tensor) -> PictureSet:
        """Return some pictures as a set."""
        ...


def known_preprocessing(network: nn.Module) -> Preprocessing | None:
    """Return how the network's weights want images prepared; None where they do not tell.

    Example:
        >>> known_preprocessing(nn.ReLU()) is None
        True
    """
    info = getattr(network, "weights_info", None)
    return info.preprocessing if isinstance(info, WeightsInfo) else None


def normalisation_for(network: nn.Module, images: PictureSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel to normalise a set with: the network's if it tells, else the set's own.

    Example:
        >>> from convscope.data import ImageSet
        >>> black = ImageSet(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]), ("dark",), "night")
        >>> normalisation_for(nn.ReLU(), black)
        ((0.0,), (1.0,))
    """
    facts = known_preprocessing(network)
    if facts is not None and len(facts.mean) == images.images.shape[1]:
        return facts.mean, facts.std
    mean, std = images.mean_std()
    return mean, tuple(value or 1.0 for value in std)  # a channel of one value is only moved


def picture_of(
    pixels: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> np.ndarray:
    """Return an image, as a network or a set holds it, as a picture: (H, W) or (H, W, 3), uint8.

    Bytes stay as they are. Values that were normalised by `mean` and `std` become what they were, cut to black and
    white. Without these, zero becomes middle grey and the largest magnitude black or white. Of an image with neither
    1 nor 3 channels the first is shown.

    Shapes:
        pixels (C, H, W)
    Example:
        >>> picture_of(torch.tensor([[[-1.0, 0.0, 1.0]]])).tolist()
        [[0, 128, 255]]
        >>> picture_of(torch.tensor([[[-1.0, 0.0, 1.0]]]), (0.5,), (0.25,)).tolist()
        [[64, 128, 191]]
    """
    shown = pixels if len(pixels) in (1, 3) else pixels[:1]
    if shown.dtype != torch.uint8:
        values = shown.detach().double()
        if mean is not None and std is not None:
            shift, scale = (
                torch.tensor(numbers[: len(shown)], dtype=torch.float64)[:, None, None]
                for numbers in (mean, std)
            )
            values = values * scale + shift
        else:
            values = 0.5 + 0.5 * values / (float(values.abs().max()) or 1.0)
        shown = (values.clamp(0, 1) * 255).round().byte()
    return shown[0].numpy() if len(shown) == 1 else shown.permute(1, 2, 0).contiguous().numpy()
