"""The source document's experiment: a photograph through three random convolutions, and what its loops cost."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.errors import ShapeError
from convscope.geometry import as_int
from convscope.inspection import feature_maps, min_max_image
from convscope.models import RandomFilters, create_seeded_model

__all__ = [
    "LoopComparison",
    "ThreeLayers",
    "compare_with_loops",
    "convolve_by_loops",
    "photograph_input",
    "three_layers",
]

_SLOPE = 0.1  # of the document's LeakyReLU


@dataclass(frozen=True, eq=False)
class ThreeLayers:
    """The photograph and what each of the three layers makes of it.

    Attributes:
        photograph: (H, W, 3) uint8.
        maps: each layer's output (C, H, W), before the activation, float32.
        pictures: the same min-max normalised to 0..255, (H, W, C) uint8, as the document shows them.
    """

    photograph: np.ndarray
    network: RandomFilters
    maps: tuple[Tensor, ...]
    pictures: tuple[np.ndarray, ...]
    seed: int

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Return the smallest and largest value of each layer, which became 0 and 255."""
        return tuple((float(values.min()), float(values.max())) for values in self.maps)


def three_layers(photograph: np.ndarray, seed: int = 0) -> ThreeLayers:
    """Send a photograph through three 3x3 convolutions with normal random filters and LeakyReLU(0.1).

    The document draws one 3-channel filter a layer and uses it for every output channel, so its maps are grey;
    here each output channel has a filter of its own.

    Shapes:
        photograph (H, W, 3) uint8, divided by 255 as in the document
    Example:
        >>> result = three_layers(np.zeros((5, 7, 3), np.uint8))
        >>> [picture.shape for picture in result.pictures]
        [(5, 7, 3), (5, 7, 3), (5, 7, 3)]
    """
    if photograph.ndim != 3 or photograph.shape[2] != 3 or photograph.dtype != np.uint8:
        raise ShapeError(
            f"the photograph is {photograph.dtype} of shape {photograph.shape}; give (H, W, 3) uint8.",
            call="three_layers",
        )
    network = create_seeded_model("random_filters", seed)
    assert isinstance(network, RandomFilters)
    kept = feature_maps(network, photograph_input(photograph), ["hidden1", "hidden2", "hidden3"])
    maps = tuple(entry.values[0] for entry in kept)
    return ThreeLayers(photograph, network, maps, tuple(min_max_image(values) for values in maps), seed)


def photograph_input(photograph: np.ndarray) -> Tensor:
    """Return the network's input (1, 3, H, W), 0 to 1, of a photograph (H, W, 3) uint8."""
    pixels = torch.from_numpy(np.ascontiguousarray(photograph)).permute(2, 0, 1).unsqueeze(0)
    # The pixels lie channels last already, where torch's convolution of 3 channels is 3x faster; it sees that by
    # the stride of the batch axis, which unsqueeze leaves wrong and `to` sets right (`contiguous` does not).
    return (pixels.float() / 255).to(memory_format=torch.channels_last)


def convolve_by_loops(
    image: np.ndarray, kernels: np.ndarray, padding: int = 0, stride: int = 1
) -> np.ndarray:
    """Convolve one output value at a time, in Python loops over channels, rows and columns.

    The document's method, kept as a witness and to be timed; use `ops.conv2d` for work.

    Shapes:
        image (H, W, C_in); kernels (C_out, K_h, K_w, C_in); returns (H_out, W_out, C_out) float64
    Cost:
        One NumPy product and sum, some microseconds, for each of H_out * W_out * C_out values.
    Example:
        >>> convolve_by_loops(np.ones((3, 3, 1)), np.ones((1, 2, 2, 1)))[..., 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    image = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    num_kernels, height, width, _ = kernels.shape
    rows = (image.shape[0] - height) // stride + 1
    columns = (image.shape[1] - width) // stride + 1
    output = np.zeros((rows, columns, num_kernels))
    for channel in range(num_kernels):
        for row in range(rows):
            top = row * stride
            for column in range(columns):
                left = column * stride
                patch = image[top : top + height, left : left + width, :]
                output[row, column, channel] = np.sum(patch * kernels[channel])
    return output


@dataclass(frozen=True, slots=True)
class LoopComparison:
    """The three layers computed twice, by Python loops and by this library.

    Attributes:
        loops_seconds: one pass of the loops.
        seconds: median of `repeats` passes of this library, from the uint8 photograph to the third layer.
        relative_difference: largest difference of the third layers over its largest value.
    """

    loops_seconds: float
    seconds: float
    fastest: float
    slowest: float
    repeats: int
    relative_difference: float

    @property
    def ratio(self) -> float:
        """Return how many times faster the library is."""
        return self.loops_seconds / self.seconds

    def to_dict(self) -> dict[str, object]:
        """Return the measurement as plain values for JSON."""
        return {
            "loops_seconds": self.loops_seconds,
            "seconds": self.seconds,
            "fastest": self.fastest,
            "slowest": self.slowest,
            "repeats": self.repeats,
            "ratio": self.ratio,
            "relative_difference": self.relative_difference,
        }


def compare_with_loops(layers: ThreeLayers, repeats: int = 50) -> LoopComparison:
    """Run the same three layers by loops and by the library, compare the outputs, then the times.

    Both start from the uint8 photograph. The loops compute in float64, as NumPy does, the library in float32.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> photograph = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        >>> compare_with_loops(three_layers(photograph), repeats=3).relative_difference < 1e-5
        True
    """
    network = layers.network
    times: list[float] = []
    ours = torch.empty(0)
    with torch.inference_mode():
        for _ in range(3):  # the first calls choose kernels and fill caches
            ours = network(photograph_input(layers.photograph))
        for _ in range(as_int("repeats", repeats, at_least=1)):
            began = time.perf_counter()
            ours = network(photograph_input(layers.photograph))
            times.append(time.perf_counter() - began)

    convolutions = (network.hidden1, network.hidden2, network.hidden3)
    kernels = [layer.weight.detach().double().permute(0, 2, 3, 1).numpy() for layer in convolutions]
    began = time.perf_counter()
    values = layers.photograph / 255.0
    for index, bank in enumerate(kernels):
        if index:
            values = np.where(values < 0, _SLOPE * values, values)
        values = convolve_by_loops(values, bank, padding=1)
    loops_seconds = time.perf_counter() - began

    difference = np.abs(ours[0].permute(1, 2, 0).double().numpy() - values).max() / np.abs(values).max()
    return LoopComparison(
        loops_seconds, statistics.median(times), min(times), max(times), repeats, float(difference)
    )
