"""The input that excites a unit most, found by gradient ascent on the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from convscope.display import Shown
from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import as_int
from convscope.inspection.layer_output import LayerOutput
from convscope.inspection.preparation import known_preprocessing, picture_of
from convscope.trace import trace
from convscope.trace.engines import tensors_in
from convscope.trace.guard import unchanged
from convscope.trace.index import NetworkIndex

__all__ = ["ExcitingInput", "activation_maximisation"]

Parametrisation = Literal["fourier", "pixels"]

_START = 0.01  # standard deviation of the random numbers that the ascent begins with
_RATE = 0.05  # step of Adam
_STARTS = 8  # of growing contrast, until the unit answers at all


@dataclass(frozen=True, eq=False)
class ExcitingInput(Shown):
    """An input made to excite a unit.

    Attributes:
        channel, at: the filter; of a single unit also its place in the layer's output, without the batch axis.
        input: what the network is given.
        picture: the same as a person sees it.
        score: of the unit for this input: its value, or the mean over the filter's map.
        scores: at each step, before the step, of the image as it was moved then.
        scale: root mean square of the layer's values for the image of the first step.
        bounded: whether the picture was held between black and white; else the root mean square of the input was
            held at 1, that of normalised images.

    Shapes:
        input (1, C, H, W); picture (H, W) or (H, W, 3) uint8
    """

    layer: str
    kind: str
    channel: int
    at: tuple[int, ...] | None
    input: Tensor
    picture: np.ndarray
    score: float
    scores: tuple[float, ...]
    scale: float
    seed: int
    bounded: bool

    def to_dict(self) -> dict[str, Any]:
        """Return scores, not the picture, as plain values for JSON."""
        return {
            "layer": self.layer,
            "kind": self.kind,
            "channel": self.channel,
            "at": None if self.at is None else list(self.at),
            "shape": list(self.input.shape),
            "score": self.score,
            "scores": list(self.scores),
            "scale": self.scale,
            "seed": self.seed,
            "bounded": self.bounded,
        }

    def __str__(self) -> str:
        what = f"channel {self.channel}" if self.at is None else f"unit {', '.join(map(str, self.at))}"
        first = self.scores[0] if self.scores else self.score
        return (
            f"{self.layer} ({self.kind}), {what}: from {first:.4g} for noise to {self.score:.4g} after "
            f"{len(self.scores)} steps"
        )


def activation_maximisation(
    network: nn.Module,
    layer: str,
    channel: int | None = None,
    at: Sequence[int] | None = None,
    *,
    shape: Sequence[int],
    steps: int = 128,
    seed: int = 0,
    parametrisation: Parametrisation = "fourier",
    jitter: int | None = None,
    total_variation: float = 0.5,
    decay: float = 0.1,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ExcitingInput:
    """Make an input that a filter, or one unit of it, answers to most, by gradient ascent from weak noise.

    What is maximised is the unit's value minus the penalties, which are shares of the value that it has at each step.
    Where it is known how images are normalised, every pixel is held between black and white; else the root mean square
    of the input is held at 1 at most. The network runs in evaluation mode up to the layer; its modes, gradients,
    buffers and hooks, and torch's random state, are as before afterwards, also when it raises.

    Args:
        layer: a module's path.
        channel: the filter; the mean of its map is maximised.
        at: one unit instead: its index in the layer's output as in `explain`, or with `channel` its position alone.
        shape: of the input, (C, H, W) or (1, C, H, W).
        seed: of the noise and of the jitter; nothing else decides.
        parametrisation: `fourier` moves the image's frequencies, low ones more, as natural images have them;
            `pixels` moves each pixel by itself.
        jitter: pixels by which the image is moved at most, round its borders, at each step; by default 1/14 of the
            larger side, for one unit 0.
        total_variation: penalty on the mean difference between neighbouring values.
        decay: penalty on the mean square of the input.
        mean, std: by which images are normalised, a number a channel on the 0..1 scale; by default those that the
            network's weights tell.
    Raises:
        UnknownNameError: no such layer, no such parametrisation.
        UsageError: neither channel nor unit, a number out of its range, a layer that is no module or has no gradient.
        ShapeError: the network cannot take this shape, or the layer has no such place.
    Cost:
        A forward and a backward pass up to the layer a step.
    Source:
        Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009; Yosinski et al., arXiv:1506.06579
        (decay); Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017 (frequencies, jitter, total
        variation).
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False))
        >>> _ = network[0].weight.data.copy_(torch.tensor([[[[1.0, 0.0, -1.0]] * 3]]))
        >>> found = activation_maximisation(network, "0", 0, shape=(1, 3, 3), total_variation=0, decay=0)
        >>> (10 * found.input[0, 0]).round().int().tolist()
        [[12, 0, -12], [12, 0, -12], [12, 0, -12]]
    """
    size = _checked(shape, steps, jitter, total_variation, decay, parametrisation)
    mean, std = _normalisation(network, mean, std, size[1])
    dtype = next((p.dtype for p in network.parameters() if p.dtype.is_floating_point), torch.float32)
    found = trace(network, torch.zeros(size, dtype=dtype), mode="eval")
    output = LayerOutput.of(found, layer, "activation_maximisation")
    if not output.module:
        raise UsageError(
            f"layer {layer!r} is an operator, not a module; name the module that it belongs to: {output.owner!r}.",
            call="activation_maximisation",
        )
    returned = found.tensors[output.number].dtype
    if not returned.is_floating_point:
        raise UsageError(
            f"layer {layer!r} returns {returned}; only floating-point values have a gradient.",
            call="activation_maximisation",
        )
    channel, place = _unit(output, channel, at)
    if jitter is None:
        jitter = max(size[2:]) // 14 if place is None else 0
    axis = output.channel - 1

    def score_of(values: Tensor) -> Tensor:
        return values[0].select(axis, channel).mean() if place is None else values[0][place]

    index = NetworkIndex(network)
    layer_module = dict(network.named_modules(remove_duplicate=False))[layer]
    with unchanged(index, "eval"), torch.enable_grad():
        torch.manual_seed(seed)  # for a network that draws numbers of its own; put back with the rest
        generator = torch.Generator().manual_seed(seed)
        ascent = _Ascent(
            lambda image: _reach(network, layer_module, image.to(dtype), score_of),
            _Image(size, parametrisation, mean, std),
            total_variation,
            decay,
        )
        latent = ascent.begin(generator)
        scores = ascent.climb(latent, steps, jitter, generator)
        with torch.no_grad():
            image = ascent.image.of(latent)
            score, _ = ascent.reach(image.clone())
    picture = picture_of(image[0], mean, std)
    return ExcitingInput(
        layer,
        output.kind,
        channel,
        place,
        image,
        picture,
        float(score),
        scores,
        ascent.scale,
        seed,
        mean is not None,
    )


class _Found(Exception):
    """The layer has answered; what lies behind it is not run."""


def _reach(
    network: nn.Module, module: nn.Module, image: Tensor, score_of: Callable[[Tensor], Tensor]
) -> tuple[Tensor, float]:
    """Return the score, and the root mean square of the layer's values, from before anything changes them in place."""
    found: list[tuple[Tensor, float]] = []

    def hook(_: nn.Module, __: Any, returned: Any) -> None:
        values = tensors_in(returned)[0]
        found.append((score_of(values), float(values.detach().square().mean().sqrt())))
        raise _Found

    handle = module.register_forward_hook(hook)
    try:
        network(image)
    except _Found:
        pass
    finally:
        handle.remove()
    return found[0]


class _Image:
    """The image as a function of free numbers."""

    def __init__(
        self,
        size: tuple[int, ...],
        parametrisation: Parametrisation,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        self.size, self.fourier = size, parametrisation == "fourier"
        self.mean, self.std = mean, std
        height, width = size[2:]
        frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :])
        # Natural images have amplitudes that fall with the frequency.
        self.amplitude = 1.0 / frequency.clamp_min(1.0 / max(height, width))

    def drawn(self, generator: torch.Generator, deviation: float) -> Tensor:
        """Return random numbers to begin with."""
        shape = (*self.size[:2], *self.amplitude.shape, 2) if self.fourier else self.size
        return (deviation * torch.randn(shape, generator=generator)).requires_grad_()

    def of(self, latent: Tensor) -> Tensor:
        """Return the image of these numbers, normalised as the network wants it."""
        values = latent
        if self.fourier:
            spectrum = torch.view_as_complex(latent) * self.amplitude
            values = torch.fft.irfft2(spectrum, s=self.size[2:], norm="ortho")
        if self.mean is None or self.std is None:
            return values / values.square().mean().sqrt().clamp_min(1.0)
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (values.sigmoid() - mean) / std


class _Ascent:
    """Gradient ascent on one score; `scale` is the least that a share of it is taken of."""

    def __init__(
        self,
        reach: Callable[[Tensor], tuple[Tensor, float]],
        image: _Image,
        total_variation: float,
        decay: float,
    ) -> None:
        self.reach, self.image = reach, image
        self.total_variation, self.decay = total_variation, decay
        self.scale = 1.0

    def begin(self, generator: torch.Generator) -> Tensor:
        """Draw an image that the unit answers to, of more contrast where weak noise leaves it silent."""
        latent = self.image.drawn(generator, _START)
        for attempt in range(1, _STARTS):
            score, scale = self.reach(self.image.of(latent))
            if not score.requires_grad:
                raise UsageError(
                    "the layer's values have no gradient with respect to the image; choose a layer of floating-point "
                    "values that depend on it smoothly.",
                    call="activation_maximisation",
                )
            self.scale = scale or 1.0
            if bool(torch.autograd.grad(score, latent)[0].any()):
                break
            latent = self.image.drawn(generator, _START * 2**attempt)
        return latent

    def climb(self, latent: Tensor, steps: int, jitter: int, generator: torch.Generator) -> tuple[float, ...]:
        """Change the numbers in place, step by step; return the score before each step."""
        optimizer = torch.optim.Adam([latent], lr=_RATE)
        scores: list[float] = []
        for _ in range(steps):
            image = self.image.of(latent)
            moves = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
            score, _ = self.reach(torch.roll(image, moves, (2, 3)) if jitter else image.clone())
            scores.append(float(score.detach()))
            if scores[-1] != scores[-1]:
                raise UsageError(
                    f"the layer's value is NaN at step {len(scores)}; the network cannot take this input.",
                    call="activation_maximisation",
                )
            # In shares of the score, so that penalties weigh as much at the end as at the start.
            weight = max(self.scale, abs(scores[-1]))
            loss = (self._penalty(image) * weight - score) / self.scale
            (latent.grad,) = torch.autograd.grad(loss, latent)
            optimizer.step()
        return tuple(scores)

    def _penalty(self, image: Tensor) -> Tensor:
        steps = [image.diff(dim=axis).abs() for axis in (2, 3) if image.shape[axis] > 1]
        variation = sum((step.mean() for step in steps), torch.zeros(()))
        return self.total_variation * variation + self.decay * image.square().mean()


def _checked(
    shape: Sequence[int],
    steps: int,
    jitter: int | None,
    total_variation: float,
    decay: float,
    parametrisation: str,
) -> tuple[int, ...]:
    """Return the input's shape with its batch axis, after every number was looked at."""
    call = "activation_maximisation"
    if parametrisation not in ("fourier", "pixels"):
        raise UnknownNameError("parametrisation", parametrisation, ("fourier", "pixels"), call=call)
    try:
        size = tuple(as_int("shape", length, at_least=1) for length in shape)
        as_int("steps", steps, at_least=0)
        as_int("jitter", jitter or 0, at_least=0)
    except ShapeError as error:
        raise error.at(call) from error
    if len(size) == 3:
        size = (1, *size)
    if len(size) != 4 or size[0] != 1:
        raise ShapeError(f"shape is {tuple(shape)}; give (C, H, W) or (1, C, H, W).", call=call)
    for name, value in (("total_variation", total_variation), ("decay", decay)):
        if not 0 <= value < float("inf"):
            raise UsageError(f"{name} is {value!r}; it must be a number of at least 0.", call=call)
    return size


def _normalisation(
    network: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> tuple[Sequence[float] | None, Sequence[float] | None]:
    call = "activation_maximisation"
    if (mean is None) != (std is None):
        raise UsageError("give mean and std together, or neither.", call=call)
    if mean is None or std is None:
        facts = known_preprocessing(network)
        return (facts.mean, facts.std) if facts is not None and len(facts.mean) == channels else (None, None)
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise UsageError(
            f"mean {tuple(mean)} and std {tuple(std)} must have a number for each of the {channels} channel(s), std "
            "above 0.",
            call=call,
        )
    return mean, std


def _unit(
    output: LayerOutput, channel: int | None, at: Sequence[int] | None
) -> tuple[int, tuple[int, ...] | None]:
    """Return the channel and, of a single unit, its index in the layer's output without the batch axis."""
    call = "activation_maximisation"
    if channel is None and at is None:
        raise UsageError("give a channel, or a unit's place `at`.", call=call)
    if channel is not None:
        channel = output.check_channel(channel, call)
    if at is None:
        assert channel is not None
        return channel, None
    place = tuple(at)
    if channel is not None and len(place) == len(output.positions):
        place = output.index(channel, place)
    elif len(place) == len(output.positions) + 2 and place[0] == 0:
        place = place[1:]
    shape = output.index(output.num_channels, output.positions)
    if len(place) != len(shape) or not all(
        isinstance(index, int) and 0 <= index < length for index, length in zip(place, shape, strict=True)
    ):
        raise ShapeError(
            f"at {tuple(at)} is no place in layer {output.layer!r}, whose output for one image has the shape {shape} "
            f"with {prod(shape)} units.",
            call=call,
        )
    own = place[output.channel - 1]
    if channel not in (None, own):
        raise UsageError(f"channel is {channel} and at {tuple(at)} is in channel {own}; give one.", call=call)
    return own, place
