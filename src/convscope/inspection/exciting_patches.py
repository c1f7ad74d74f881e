"""The patches of a set of images that excite the filters of a layer most, cut out with the exact receptive field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int
from convscope.inspection.crops import SeenInput, seen_by
from convscope.inspection.layer_output import LayerOutput
from convscope.inspection.preparation import PictureSet, normalisation_for
from convscope.trace import ReceptiveField, Trace, trace

__all__ = ["ExcitedFilter", "ExcitingPatch", "ExcitingPatches", "exciting_patches"]


@dataclass(frozen=True, eq=False)
class ExcitingPatch:
    """A place in an image that excites a filter.

    Attributes:
        image: index in the set.
        label: name of the image's class; "" where images have none.
        value: of the filter there.
        at: the place in the layer's output, one index an axis, without the batch axis.
        seen: rows and columns of the image that the value sees, and what of its field lies in padding.

    Shapes:
        pixels (C, h, w): the seen part of the image, as the set holds it
    """

    image: int
    label: str
    value: float
    at: tuple[int, ...]
    seen: SeenInput
    pixels: Tensor

    def to_dict(self) -> dict[str, Any]:
        """Return place and value, not the pixels, as plain values for JSON."""
        return {
            "image": self.image,
            "label": self.label,
            "value": self.value,
            "at": list(self.at),
            "seen": {
                axis.name: {
                    "first": axis.first,
                    "last": axis.last,
                    "before_the_image": axis.before,
                    "behind_the_image": axis.after,
                }
                for axis in self.seen.axes
            },
            "whole_image": self.seen.whole,
        }


@dataclass(frozen=True, eq=False)
class ExcitedFilter:
    """A filter and what excites it most, the strongest first.

    Attributes:
        channel: of the layer's output.
        least: its smallest value in the whole set; where it is that of the first patch, the filter says the same
            everywhere and the patches mean nothing.
    """

    channel: int
    patches: tuple[ExcitingPatch, ...]
    least: float

    @property
    def silent(self) -> bool:
        """Tell whether the filter has one value everywhere, as one that a ReLU keeps at 0 has."""
        return not self.patches or self.patches[0].value <= self.least

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "channel": self.channel,
            "least": self.least,
            "silent": self.silent,
            "patches": [patch.to_dict() for patch in self.patches],
        }


@dataclass(frozen=True, eq=False)
class ExcitingPatches(Shown):
    """What excites the filters of one layer.

    Attributes:
        kind: class of the module; the operator's name where a function is asked for.
        receptive_field: of one position of the layer, as if images went on for ever.
        set_name, num_images: what was looked through.
        filters: those asked for, in that order.
    """

    layer: str
    kind: str
    receptive_field: ReceptiveField
    set_name: str
    num_images: int
    num_channels: int
    filters: tuple[ExcitedFilter, ...]
    noun: ClassVar[str] = "filters"

    def to_dict(self) -> dict[str, Any]:
        """Return places and values, not the pixels, as plain values for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "receptive_field": self.receptive_field.to_dict(),
            "images": {"name": self.set_name, "number": self.num_images},
            "num_channels": self.num_channels,
            "filters": [entry.to_dict() for entry in self.filters],
        }

    def __str__(self) -> str:
        lines = [
            f"{self.layer} ({self.kind}): {len(self.filters)} of {self.num_channels} {self.noun}, looked for in "
            f"{self.num_images:,} images",
            str(self.receptive_field),
        ]
        for entry in self.filters:
            if entry.silent:
                lines.append(f"filter {entry.channel}: {entry.least:.4g} everywhere")
                continue
            best = ", ".join(f"{p.value:.4g} in image {p.image}" for p in entry.patches[:3])
            more = ", ..." if len(entry.patches) > 3 else ""
            lines.append(f"filter {entry.channel}: {best}{more}; least {entry.least:.4g}")
        return "\n".join(lines)


def exciting_patches(
    network: nn.Module,
    images: PictureSet | Tensor,
    layer: str,
    *,
    channels: Sequence[int] | None = None,
    among: Sequence[int] | Tensor | None = None,
    count: int = 9,
    one_an_image: bool = True,
    batch_size: int = 64,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ExcitingPatches:
    """Find, for each filter of a layer, the image patches that excite it most, and cut out what it sees there.

    The images run through the network batch by batch and only the best are kept, so memory does not grow with
    the set. Of equal values the one of the earlier image, and in it the one further up and left, goes first.
    The network is as before afterwards; values are those before an operation in place changes them.

    Args:
        images: a set, which is normalised first; or a tensor (N, C, H, W) that is prepared already.
        layer: a module's path or an operator's name, as `trace` lists them.
        channels: of the layer; all of them by default.
        among: indices of the images to look through; all by default. Patches name images by these.
        count: patches a filter.
        one_an_image: take at most the best place of each image.
        mean, std: to normalise a set with; by default those that the network's weights tell, else the set's own.
    Raises:
        UnknownNameError: no such layer; the nearest names are told.
        UsageError: a channel that the layer does not have, a layer without a channel axis, a count below 1.
        ShapeError: the network cannot take these images.
    Cost:
        One forward pass an image; sorting `count` + batch_size values a filter and batch.
    Source:
        Zeiler & Fergus, arXiv:1311.2901, figure 2.
    Example:
        >>> network = nn.Conv2d(1, 1, 2, bias=False)
        >>> _ = network.weight.data.copy_(torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]))
        >>> images = torch.zeros(3, 1, 4, 4)
        >>> images[1, 0, 2, 3] = 5.0
        >>> best = exciting_patches(network, images, "output", count=2).filters[0].patches
        >>> [(patch.image, patch.value, patch.at) for patch in best]
        [(1, 5.0, (0, 1, 2)), (0, 0.0, (0, 0, 0))]
        >>> best[0].pixels.tolist()
        [[[0.0, 0.0], [0.0, 5.0]]]
    """
    if not isinstance(network, nn.Module) or not isinstance(images, (PictureSet, Tensor)):
        raise UsageError(
            f"got a {type(network).__name__} and a {type(images).__name__}; give a torch.nn.Module and an ImageSet or "
            "a tensor.",
            call="exciting_patches",
        )
    try:
        count, batch_size = as_int("count", count, at_least=1), as_int("batch_size", batch_size, at_least=1)
    except ShapeError as error:
        raise error.at("exciting_patches") from error
    pixels = images if isinstance(images, Tensor) else images.images
    if pixels.dim() != 4 or not pixels.numel():
        raise ShapeError(
            f"the images have the shape {tuple(pixels.shape)}; give (N, C, H, W), at least one.",
            call="exciting_patches",
        )
    facts = _normalisation(network, images, mean, std)
    images, numbers = _chosen(images, among)
    found = trace(network, next(_batches(images, 1, *facts))[1], mode="eval")
    output = LayerOutput.of(found, layer, "exciting_patches")
    chosen = range(output.num_channels) if channels is None else channels
    wanted = [output.check_channel(channel, "exciting_patches") for channel in chosen]
    if not wanted:
        raise UsageError("channels is empty; name at least one.", call="exciting_patches")
    best = _Best(len(wanted), count)
    for first, batch in _batches(images, batch_size, *facts):
        values = _values(network, batch, output)
        best.add((values if channels is None else values[:, wanted]).flatten(2), first, one_an_image)
    filters = tuple(
        ExcitedFilter(
            channel,
            tuple(
                _patch(found, output, images, image, int(numbers[image]), channel, position, value)
                for value, image, position in best.of(row)
            ),
            best.least[row].item(),
        )
        for row, channel in enumerate(wanted)
    )
    name = "" if isinstance(images, Tensor) else images.name
    return ExcitingPatches(
        layer, output.kind, found.receptive_field(layer), name, len(numbers), output.num_channels, filters
    )


def _values(network: nn.Module, batch: Tensor, output: LayerOutput) -> Tensor:
    """Return a layer's values on a batch, (n, channels, *positions)."""
    found = trace(network, batch, layers=[output.owner], mode="eval")
    values = found.values[found.tensor_of(output.layer).index]
    if len(values) != len(batch):
        raise UsageError(
            f"layer {output.layer!r} returns {len(values)} entries for {len(batch)} images; its first axis must be the "
            "batch.",
            call="exciting_patches",
        )
    return values.movedim(output.channel, 1).reshape(
        len(batch), output.num_channels, *(output.positions or (1,))
    )


class _Best:
    """The largest values of each filter so far, with image and flat position; least of all values."""

    def __init__(self, filters: int, count: int) -> None:
        self.count = count
        self.least = torch.full((filters,), torch.inf, dtype=torch.float64)
        self.values = torch.empty(filters, 0, dtype=torch.float64)
        self.images = torch.empty(filters, 0, dtype=torch.int64)
        self.positions = torch.empty(filters, 0, dtype=torch.int64)

    def add(self, values: Tensor, first: int, one_an_image: bool) -> None:
        """Take in a batch, (n, filters, positions), whose first image has this index; NaN counts as nothing."""
        least = values.amin((0, 2))
        if bool(least.isnan().any()):
            least = values.nan_to_num(nan=torch.inf).amin((0, 2))
            values = values.nan_to_num(nan=-torch.inf)
        self.least = torch.minimum(self.least, least.double())
        rounds = 1 if one_an_image else min(self.count, values.shape[2])
        images = torch.arange(first, first + len(values)).expand(values.shape[1], -1)
        for _ in range(rounds):
            largest, positions = values.max(2)  # the first of equal ones
            self._merge(largest.t().double(), images, positions.t())
            if rounds > 1:
                values = values.scatter(2, positions[..., None], -torch.inf)

    def _merge(self, values: Tensor, images: Tensor, positions: Tensor) -> None:
        pairs = ((self.values, values), (self.images, images), (self.positions, positions))
        entries = [torch.cat(pair, 1) for pair in pairs]
        for key in (2, 1, 0):  # stable sorts, the most important last
            order = torch.sort(entries[key], dim=1, stable=True, descending=key == 0).indices
            entries = [entry.gather(1, order) for entry in entries]
        self.values, self.images, self.positions = (entry[:, : self.count] for entry in entries)

    def of(self, row: int) -> Iterator[tuple[float, int, int]]:
        """Yield value, image and position of one filter, the best first."""
        for value, image, position in zip(
            self.values[row].tolist(), self.images[row].tolist(), self.positions[row].tolist(), strict=True
        ):
            if value > -torch.inf:
                yield value, image, position


def _normalisation(
    network: nn.Module,
    images: PictureSet | Tensor,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Sequence[float], Sequence[float]]:
    if (mean is None) != (std is None):
        raise UsageError("give mean and std together, or neither.", call="exciting_patches")
    if isinstance(images, Tensor):
        if mean is not None:
            raise UsageError(
                "mean and std are for an ImageSet; a tensor is taken as it is.", call="exciting_patches"
            )
        return (), ()
    return (mean, std) if mean is not None and std is not None else normalisation_for(network, images)


def _chosen(
    images: PictureSet | Tensor, among: Sequence[int] | Tensor | None
) -> tuple[PictureSet | Tensor, Tensor]:
    """Return the images to look through, and their indices."""
    count = len(images if isinstance(images, Tensor) else images.images)
    if among is None:
        return images, torch.arange(count)
    numbers = torch.as_tensor(among, dtype=torch.int64).flatten()
    if not len(numbers) or int(numbers.min()) < 0 or int(numbers.max()) >= count:
        raise UsageError(
            f"among must hold indices from 0 to {count - 1}, at least one.",
            call="exciting_patches",
        )
    numbers = numbers.unique()  # in order, so that of equal values the earlier image still goes first
    return (images[numbers] if isinstance(images, Tensor) else images.subset(numbers)), numbers


def _batches(
    images: PictureSet | Tensor, batch_size: int, mean: Sequence[float], std: Sequence[float]
) -> Iterator[tuple[int, Tensor]]:
    """Yield batches ready for the network, with the index of their first image."""
    for first in range(0, len(images if isinstance(images, Tensor) else images.images), batch_size):
        which = slice(first, first + batch_size)
        yield first, images[which] if isinstance(images, Tensor) else images.normalised(which, mean, std)


def _patch(
    found: Trace,
    output: LayerOutput,
    images: PictureSet | Tensor,
    image: int,
    number: int,
    channel: int,
    position: int,
    value: float,
) -> ExcitingPatch:
    at = output.at(channel, position)
    seen = seen_by(found, output.number, (0, *at))[0]
    if isinstance(images, Tensor):
        whole, label = images[image].detach(), ""
    else:
        whole, label = images.images[image], images.classes[int(images.labels[image])]
    return ExcitingPatch(number, label, value, at, seen, seen.cut(whole).clone())
