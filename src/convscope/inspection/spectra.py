"""What down-sampling does to feature maps: their spectra before and after it, and the energy that it cannot keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.inspection.features import stride_of
from convscope.trace import Record, Ref, Trace, trace

__all__ = ["DownSampling", "Spectra", "Spectrum", "down_samplings", "spectrum"]

_RINGS = 24
_FLOOR = -60.0  # dB
_PLACES = 4  # of an output along each axis, at least
_SLACK = 1e-9  # of frequencies, which are sums of rounded fractions


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The mean power spectrum of maps of one size, without their means.

    Shapes:
        power (H, W), frequencies as `frequencies` has them; the mean over all is the mean variance of the maps (as far
        as the window lets them through)
    """

    power: Tensor

    @property
    def frequencies(self) -> tuple[Tensor, Tensor]:
        """Return the frequencies along height and width, cycles a pixel of the map, from -1/2 up."""
        rows, columns = (
            torch.fft.fftshift(torch.fft.fftfreq(n, dtype=torch.float64)) for n in self.power.shape
        )
        return rows, columns

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of a picture of the power, each value around its frequency."""
        (top, bottom), (left, right) = ((float(f[0]), float(f[-1])) for f in self.frequencies)
        down, across = (0.5 / n for n in self.power.shape)
        return left - across, right + across, bottom + down, top - down

    @property
    def decibels(self) -> Tensor:
        """Return the power below its largest value, 0 down to -60 dB; NaN for the mean, which is not in it."""
        largest = float(self.power.max()) or 1.0
        found = (10 * (self.power / largest).clamp(min=1e-30).log10()).clamp(min=_FLOOR)
        rows, columns = self.frequencies
        return found.masked_fill((rows == 0)[:, None] & (columns == 0), torch.nan)

    def share_above(self, stride: tuple[float, float]) -> float:
        """Return the share of the energy beyond 1/2 cycle a pixel that is left when one in `stride` is kept.

        A frequency lies beyond if it does so along height or along width.

        Example:
            >>> stripes = torch.tensor([[[0.0, 1.0] * 8] * 16])
            >>> spectrum(stripes).share_above((1, 2)) > 0.99, spectrum(stripes).share_above((2, 1)) < 0.01
            (True, True)
        """
        rows, columns = (f.abs() for f in self.frequencies)
        above = (rows > 0.5 / stride[0] + _SLACK)[:, None] | (columns > 0.5 / stride[1] + _SLACK)
        total = float(self.power.sum())
        return float(self.power[above].sum()) / total if total > 0 else 0.0

    def rings(self, count: int = _RINGS) -> tuple[tuple[float, float], ...]:
        """Return (frequency, mean power) of square rings around zero, by the larger of both frequencies.

        The first begins above zero, the last ends at 1/2; rings without any coefficient are left out.
        """
        rows, columns = (f.abs() for f in self.frequencies)
        larger = torch.maximum(rows[:, None], columns)
        number = (larger * (2 * count)).ceil().long() - 1  # -1 for the mean
        found = []
        for ring in range(count):
            inside = number == ring
            if bool(inside.any()):
                found.append((float(larger[inside].mean()), float(self.power[inside].mean())))
        return tuple(found)


def spectrum(maps: Tensor) -> Spectrum:
    """Return the power spectrum of maps, their mean over the channels.

    Each map is weighted by a Hann window, so that its opposite edges, which do not fit each other, do not look like
    fine detail; its weighted mean is taken out before.

    Shapes:
        maps (C, H, W)
    Raises:
        ShapeError: maps of another form, or none.
    Source:
        Harris, On the use of windows for harmonic analysis with the discrete Fourier transform, 1978.
    Example:
        >>> wave = torch.cos(torch.arange(16) * torch.pi / 2).expand(1, 16, 16)
        >>> found = spectrum(wave)
        >>> [round(float(found.frequencies[1][place]), 2) for place in found.power[8].topk(2).indices.sort().values]
        [-0.25, 0.25]
    """
    if maps.dim() != 3 or not maps.numel():
        raise ShapeError(f"maps have the shape {tuple(maps.shape)}; give (C, H, W).", call="spectrum")
    values = maps.detach().double()
    rows, columns = (torch.hann_window(max(n, 2), dtype=torch.float64)[-n:] for n in maps.shape[1:])
    window = rows[:, None] * columns
    means = (values * window).sum((1, 2), keepdim=True) / window.sum()
    transformed = torch.fft.fft2((values - means) * window)
    power = transformed.abs().square().mean(0) / window.square().sum()
    return Spectrum(torch.fft.fftshift(power))


@dataclass(frozen=True, eq=False)
class DownSampling:
    """One operator that keeps fewer places than it reads.

    Attributes:
        layer, operator: names of its record.
        stride: places of its input from one of its output to the next, (height, width).
        before, after: spectra of its input and its output.
        whole: spectrum of its output were it computed at every place: what lies above the new limit there folds into
            lower frequencies. None for operators that cannot be run so (adaptive pooling, interpolation).
    """

    layer: str
    operator: str
    stride: tuple[float, float]
    before: Spectrum
    whole: Spectrum | None
    after: Spectrum

    @property
    def share_before(self) -> float:
        """Return the share of the input's energy above the limit that is left."""
        return self.before.share_above(self.stride)

    @property
    def share_folded(self) -> float | None:
        """Return the share of energy that folds: above the limit, after the operator's own filter."""
        return None if self.whole is None else self.whole.share_above(self.stride)

    def curves(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """Return the rings of the spectra on the axes of the input: cycles a pixel of it, variance for that.

        Were nothing to fold, `after` would lie on `whole` up to the limit.
        """
        down, across = self.stride
        curves = {"before": self.before.rings()}
        if self.whole is not None:
            curves["after, at every place"] = self.whole.rings()
        shrink = max(down, across)
        curves["after"] = tuple((f / shrink, power * down * across) for f, power in self.after.rings())
        return curves

    def to_dict(self) -> dict[str, Any]:
        """Return sizes, shares and the rings of the spectra as plain values for JSON."""
        return {
            "layer": self.layer,
            "operator": self.operator,
            "stride": list(self.stride),
            "size_before": list(self.before.power.shape),
            "size_after": list(self.after.power.shape),
            "share_before": self.share_before,
            "share_folded": self.share_folded,
            "curves": {name: [list(point) for point in curve] for name, curve in self.curves().items()},
        }


@dataclass(frozen=True, eq=False)
class Spectra(Shown):
    """The down-samplings of a network on one image, in the order in which they ran."""

    steps: tuple[DownSampling, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the down-samplings as plain values for JSON."""
        return {"down_samplings": [step.to_dict() for step in self.steps]}


def down_samplings(network: nn.Module, image: Tensor) -> Spectra:
    """Find a network's down-samplings in its trace, and the spectra of the maps around each.

    Every operator counts whose output has a larger stride than its input: convolutions and poolings with a stride,
    slices, interpolations. What leaves fewer than 4 x 4 places has no spectrum worth the name and is left
    out. The network is as
    before afterwards.

    Shapes:
        image (N, C, H, W), prepared as the network expects it; the first one's maps are taken
    Raises:
        UsageError: the network has no down-sampling.
        ShapeError: it does not take such an image.
    Cost:
        Two forward passes, each down-sampling once more at every place, and Fourier transforms of their maps.
    Source:
        Zhang, Making convolutional networks shift-invariant again, arXiv:1904.11486.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))
        >>> found = down_samplings(network, torch.rand(1, 1, 32, 32))
        >>> [(step.layer, step.operator, step.stride) for step in found.steps]
        [('1', 'max_pool2d_with_indices', (2.0, 2.0))]
    """
    try:
        first = trace(network, image, mode="eval")
        chosen = list(_strided(first))
        if not chosen:
            raise UsageError(
                "no operator of the network has a larger stride than its input and leaves 4 x 4 places."
            )
        found = first.with_values(sorted({record.path for record, _ in chosen}))
    except UsageError as error:
        raise error.at("down_samplings") from error
    steps = []
    for record, stride in chosen:
        before, after = (_maps(found, number) for number in (record.inputs[0], record.outputs[0]))
        if before is not None and after is not None:
            whole = _at_every_place(record, found)
            steps.append(
                DownSampling(
                    record.name,
                    record.short_operator,
                    stride,
                    spectrum(before),
                    None if whole is None else spectrum(whole),
                    spectrum(after),
                )
            )
    return Spectra(tuple(steps))


def _strided(found: Trace) -> Iterator[tuple[Record, tuple[float, float]]]:
    """Yield the operators that keep fewer places than they read, with how many they pass over."""
    for record in found.records:
        if not record.inputs or not record.outputs:
            continue
        given, made = (found.tensors[number] for number in (record.inputs[0], record.outputs[0]))
        images = len(given.shape) == len(made.shape) == 4 and given.kind in ("input", "activation")
        if not images or min(made.shape[2:]) < _PLACES or given.shape[2:] == made.shape[2:]:
            continue
        pairs = list(zip(stride_of(found, given.index), stride_of(found, made.index), strict=False))
        if len(pairs) != 2 or any(old is None or new is None for old, new in pairs):
            continue
        ratios = [Fraction(new or 1) / Fraction(old or 1) for old, new in pairs]
        if max(ratios) > 1:
            yield record, (float(ratios[0]), float(ratios[1]))


def _maps(found: Trace, number: int) -> Tensor | None:
    values = found.values.get(number)
    return None if values is None else values[0]


def _at_every_place(record: Record, found: Trace) -> Tensor | None:
    """Return what an operator would put out with a stride of 1, of the first image."""
    if record.short_operator == "slice":
        return _maps(found, record.inputs[0])
    if "stride" not in record.arguments or record.arguments.get("transposed"):
        return None
    arguments = {
        name: found.values[value.value] if isinstance(value, Ref) else value
        for name, value in record.arguments.items()
    }
    with torch.no_grad():
        made = record.function()(**{**arguments, "stride": [1, 1]})
    return (made[0] if isinstance(made, tuple) else made)[0]
