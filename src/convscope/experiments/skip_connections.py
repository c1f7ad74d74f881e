"""What skip connections are for: a U-Net with and without them, trained to find the foreground of one real image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from convscope.errors import ShapeError, UsageError
from convscope.experiments.learning import fit_batches
from convscope.geometry import as_int
from convscope.models import create_seeded_model

__all__ = ["SkipConnections", "SkipRun", "foreground_iou", "near_outlines", "skip_connections"]


@dataclass(frozen=True, eq=False)
class SkipRun:
    """One U-Net, trained from one seed.

    Attributes:
        iou: intersection over union of the foreground on the test part, after the last step.
        edge_iou: the same on those pixels alone that are at most 2 pixels from an outline of the truth.
        train_iou: of the training part.
        loss: mean over the last tenth of the steps.
        predicted: the test part's foreground, (H, W) bool.
    """

    skip: bool
    seed: int
    num_params: int
    iou: float
    edge_iou: float
    train_iou: float
    loss: float
    seconds: float
    predicted: np.ndarray

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain values for JSON, without the picture."""
        return {
            "skip": self.skip,
            "seed": self.seed,
            "num_params": self.num_params,
            "iou": self.iou,
            "edge_iou": self.edge_iou,
            "train_iou": self.train_iou,
            "loss": self.loss,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, eq=False)
class SkipConnections:
    """The runs with and without skip connections, seed by seed.

    Attributes:
        split: the column where the training part ends and the test part begins.
        width, width_without: of the U-Nets with and without skip connections.
        image, truth: the test part, (H, W) as given and (H, W) bool.
    """

    runs: tuple[SkipRun, ...]
    split: int
    width: int
    width_without: int
    depth: int
    steps: int
    batch_size: int
    tile: int
    learning_rate: float
    image: np.ndarray
    truth: np.ndarray

    def of(self, skip: bool) -> tuple[SkipRun, ...]:
        """Return the runs with, or without, skip connections, in the order of the seeds."""
        return tuple(run for run in self.runs if run.skip is skip)

    def iou(self, skip: bool) -> float:
        """Return the mean over the seeds of the foreground's IoU on the test part."""
        return statistics.fmean(run.iou for run in self.of(skip))

    @property
    def gains(self) -> tuple[float, ...]:
        """Return for each seed by how much the IoU is higher with skip connections."""
        pairs = zip(self.of(True), self.of(False), strict=True)
        return tuple(with_skip.iou - without.iou for with_skip, without in pairs)

    def to_dict(self) -> dict[str, object]:
        """Return settings and figures as plain values for JSON."""
        return {
            "split": self.split,
            "width": self.width,
            "width_without": self.width_without,
            "depth": self.depth,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "tile": self.tile,
            "learning_rate": self.learning_rate,
            "iou_with": self.iou(True),
            "iou_without": self.iou(False),
            "gains": list(self.gains),
            "runs": [run.to_dict() for run in self.runs],
        }


def skip_connections(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    split: int | None = None,
    width: int = 16,
    width_without: int | None = None,
    depth: int = 4,
    steps: int = 250,
    batch_size: int = 8,
    tile: int = 128,
    learning_rate: float = 1e-3,
    faster: bool = False,
    listener: Callable[[SkipRun], None] | None = None,
) -> SkipConnections:
    """Train `unet` and `unet_no_skip` on the left part of an image, test them on the right part.

    Training draws square tiles of the left part, turned and mirrored; the seed decides the first weights and the tiles,
    which are the same with and without skip connections. Adam, its rate going down to 0 along half a cosine. The
    right part is seen once, whole, after the last step, so that nothing is chosen by it; pixels are
    normalised by mean and deviation of the left part.

    Shapes:
        image (H, W) of numbers; mask (H, W) of whole numbers, 0 being background
    Args:
        split: the column where the test part begins; half the width if not given.
        width, depth: of the U-Nets; see `models.UNet`.
        width_without: of the U-Net without skip connections, to give it as many parameters; `width` if not given.
        tile: pixels a side.
        faster: accelerate the networks while they train, which rounds elsewhere.
        listener: called with each run when it ends.
    Raises:
        ShapeError: arrays of other shapes, a split that leaves no room for a tile or nothing to test on.
        UsageError: no seed; a part without foreground or without background.
    Cost:
        With the defaults 14 * 10^9 MACs a step with skip connections and 11 * 10^9 without, forward and backward.
    Example:
        >>> rng = np.random.default_rng(0)
        >>> mask = np.kron(rng.integers(0, 2, (4, 8)), np.ones((8, 8), int))
        >>> result = skip_connections(mask + rng.normal(size=mask.shape), mask, seeds=[0], width=2, depth=2,
        ...                           steps=2, batch_size=2, tile=16)
        >>> len(result.runs), result.truth.shape
        (2, (32, 32))
    """
    image, truth = np.asarray(image), np.asarray(mask) != 0
    if image.ndim != 2 or truth.shape != image.shape:
        raise ShapeError(
            f"the image is {image.shape}, the mask {truth.shape}; give two arrays (H, W) of one shape.",
            call="skip_connections",
        )
    try:
        numbers = {"steps": steps, "batch_size": batch_size, "tile": tile}
        steps, batch_size, tile = (as_int(name, value, at_least=1) for name, value in numbers.items())
        split = as_int("split", image.shape[1] // 2 if split is None else split, at_least=1)
    except UsageError as error:
        raise error.at("skip_connections") from error
    if not tile <= min(image.shape[0], split) or split >= image.shape[1]:
        raise ShapeError(
            f"tiles of {tile}x{tile} from the left {split} columns of an image {image.shape}, and a test on the "
            "others, do not fit; give a smaller tile or another split.",
            call="skip_connections",
        )
    for part, pixels in (("left", truth[:, :split]), ("right", truth[:, split:])):
        if pixels.all() or not pixels.any():
            raise UsageError(
                f"the {part} part is all of one kind; give another split.", call="skip_connections"
            )
    if not seeds:
        raise UsageError("no seed is given; give at least one.", call="skip_connections")
    width_without = width if width_without is None else width_without

    left = image[:, :split].astype(np.float64)
    normalised = (image - left.mean()) / (left.std() or 1.0)
    pixels = torch.from_numpy(normalised.astype(np.float32))
    classes = torch.from_numpy(truth.astype(np.int64))
    edges = near_outlines(truth[:, split:])
    runs: list[SkipRun] = []
    for seed in seeds:
        for skip in (True, False):
            began = time.perf_counter()
            name, wide = ("unet", width) if skip else ("unet_no_skip", width_without)
            network = create_seeded_model(name, seed, in_channels=1, width=wide, depth=depth)
            tiles = _Tiles(pixels[:, :split], classes[:, :split], batch_size, tile, seed)
            batches = (tiles.batch() for _ in range(steps))
            losses = fit_batches(network, batches, steps=steps, lr=learning_rate, faster=faster).losses
            predicted, again = (
                _foreground(network, pixels[:, split:]),
                _foreground(network, pixels[:, :split]),
            )
            run = SkipRun(
                skip=skip,
                seed=seed,
                num_params=sum(parameter.numel() for parameter in network.parameters()),
                iou=foreground_iou(predicted, truth[:, split:]),
                edge_iou=foreground_iou(predicted[edges], truth[:, split:][edges]),
                train_iou=foreground_iou(again, truth[:, :split]),
                loss=statistics.fmean(losses[-max(steps // 10, 1) :]),
                seconds=time.perf_counter() - began,
                predicted=predicted,
            )
            runs.append(run)
            if listener is not None:
                listener(run)
    settings = (split, width, width_without, depth, steps, batch_size, tile, learning_rate)
    return SkipConnections(tuple(runs), *settings, image=image[:, split:], truth=truth[:, split:])


def foreground_iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return how much two foregrounds share: pixels in both over pixels in either; 1 if there are none.

    Example:
        >>> foreground_iou(np.array([True, True, False]), np.array([True, False, False]))
        0.5
    """
    either = int(np.count_nonzero(predicted | truth))
    return int(np.count_nonzero(predicted & truth)) / either if either else 1.0


def near_outlines(truth: np.ndarray, distance: int = 2) -> np.ndarray:
    """Return the pixels of (H, W) bool in whose square neighbourhood of this reach both kinds occur.

    Example:
        >>> near_outlines(np.array([[False, False, False, True, True, True]]), 1).astype(int).tolist()
        [[0, 0, 1, 1, 0, 0]]
    """
    pixels = torch.from_numpy(truth.astype(np.float32))[None, None]
    size = 2 * distance + 1
    grown = nn.functional.max_pool2d(pixels, size, 1, distance)
    shrunk = -nn.functional.max_pool2d(-pixels, size, 1, distance)
    return (grown != shrunk)[0, 0].numpy()


class _Tiles:
    """Batches of tiles at random places of one part, turned by quarters and mirrored; all of it from the seed."""

    def __init__(self, pixels: Tensor, classes: Tensor, batch_size: int, tile: int, seed: int) -> None:
        self.pixels, self.classes, self.batch_size, self.tile = pixels, classes, batch_size, tile
        self.random = np.random.default_rng(seed)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return images (N, 1, tile, tile) and classes (N, tile, tile)."""
        images, targets = zip(*(self._tile() for _ in range(self.batch_size)), strict=True)
        return torch.stack(images).unsqueeze(1), torch.stack(targets)

    def _tile(self) -> tuple[Tensor, Tensor]:
        top, left = (int(self.random.integers(size - self.tile + 1)) for size in self.pixels.shape)
        quarters, mirrored = int(self.random.integers(4)), bool(self.random.integers(2))
        place = (slice(top, top + self.tile), slice(left, left + self.tile))
        turned = [torch.rot90(part[place], quarters) for part in (self.pixels, self.classes)]
        return (turned[0].flip(1), turned[1].flip(1)) if mirrored else (turned[0], turned[1])


def _foreground(network: nn.Module, pixels: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(pixels[None, None])[0].argmax(0).bool().numpy()
