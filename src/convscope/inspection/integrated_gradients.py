"""Integrated gradients: a class score's difference from a baseline, shared out over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import as_int
from convscope.inspection.attribution import Attribution
from convscope.inspection.class_scores import (
    Target,
    batch_limit,
    check_images,
    chosen_scores,
    chosen_targets,
    class_scores,
    refusing,
)
from convscope.inspection.input_gradients import differentiating, input_gradients

__all__ = ["IntegratedGradients", "Quadrature", "baseline_images", "integrated_gradients", "quadrature"]

Quadrature = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


@dataclass(frozen=True, eq=False)
class IntegratedGradients(Attribution):
    """An attribution whose sum should be the score's difference from the baseline's.

    Attributes:
        baseline_scores: what the network gave each baseline for the image's class.
        steps, quadrature: how the integral was taken.
    """

    baseline_scores: tuple[float, ...]
    steps: int
    quadrature: str

    @property
    def gaps(self) -> tuple[float, ...]:
        """Return by how much each image's sum misses the difference of the scores: the integral's error."""
        sums = self.maps.sum((1, 2, 3), dtype=torch.float64).tolist()
        ends = zip(self.scores, self.baseline_scores, strict=True)
        return tuple(total - (score - base) for total, (score, base) in zip(sums, ends, strict=True))

    def to_dict(self) -> dict[str, object]:
        """Return also the baselines' scores and the gaps."""
        return {
            **super().to_dict(),
            "baseline_scores": list(self.baseline_scores),
            "gaps": list(self.gaps),
            "steps": self.steps,
            "quadrature": self.quadrature,
        }


def integrated_gradients(
    network: nn.Module,
    inputs: Tensor,
    target: Target = None,
    baselines: float | Tensor = 0.0,
    steps: int = 50,
    method: Quadrature = "gausslegendre",
    batch_size: int = 16,
) -> IntegratedGradients:
    """Integrate a class score's gradient along the straight line from a baseline to the image, times the difference.

    The attributions of all pixels add up to the score's difference from the baseline's, but for the `gaps` that the
    integral's steps leave. The network is treated as by `saliency`.

    Shapes:
        inputs (N, C, H, W), prepared as the network expects them; maps (N, C, H, W)
    Args:
        target: as in `saliency`.
        baselines: what is taken for an image of nothing: a number, or a tensor that is broadcast to `inputs`, such as
            a colour (C, 1, 1).
        steps: points of the line at which the gradient is taken.
        method: which points, with which weights.
        batch_size: points at once; it bounds memory and changes nothing else.
    Raises:
        UsageError: as in `saliency`; an unknown method.
        ShapeError: baselines that do not fit the images; steps or batch size below 1.
    Cost:
        `steps` forward and backward passes an image.
    Source:
        Sundararajan, Taly & Yan, arXiv:1703.01365, equations 1 and 3.
    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
        >>> found = integrated_gradients(network, torch.rand(2, 1, 2, 2), target=0, steps=8)
        >>> found.maps.shape, max(map(abs, found.gaps)) < 0.2
        (torch.Size([2, 1, 2, 2]), True)
    """
    call = "integrated_gradients"
    network, images = check_images(network, inputs, call)
    try:
        places, weights = quadrature(method, steps)
        batch_size = batch_limit(network, as_int("batch_size", batch_size, at_least=1))
    except UsageError as error:
        raise error.at(call) from error
    images = images.detach()
    starts = baseline_images(images, baselines, call)
    difference = images - starts
    points = [(step, image) for step in range(len(places)) for image in range(len(images))]
    total = torch.zeros(images.shape, dtype=torch.float64)
    with differentiating(network):
        scores = _scores(network, images, batch_size, call)
        targets = chosen_targets(scores, target, call)
        base_scores = _scores(network, starts, batch_size, call)
        for first in range(0, len(points), batch_size):
            taken = points[first : first + batch_size]
            which = torch.tensor([image for _, image in taken])
            at = torch.tensor([places[step] for step, _ in taken], dtype=images.dtype).reshape(-1, 1, 1, 1)
            share = torch.tensor([weights[step] for step, _ in taken]).double().reshape(-1, 1, 1, 1)
            along = starts[which] + at * difference[which]
            gradients = input_gradients(network, along, [targets[image] for _, image in taken], call)[2]
            total.index_add_(0, which, gradients.double() * share)
    maps = (total * difference.double()).to(images.dtype)
    picked, base = (tuple(chosen_scores(each, targets).tolist()) for each in (scores, base_scores))
    return IntegratedGradients("integrated gradients", targets, picked, maps, base, steps, method)


def baseline_images(images: Tensor, baselines: object, call: str) -> Tensor:
    """Return a baseline for each image, broadcast from a number, a colour or an image.

    Raises:
        ShapeError: it does not fit.
        UsageError: it is no number and no tensor.
    """
    if not isinstance(baselines, (int, float, Tensor)) or isinstance(baselines, bool):
        raise UsageError(
            f"baseline is {baselines!r}; give a number, a colour (C, 1, 1) or an image as a tensor.",
            call=call,
        )
    given = torch.as_tensor(baselines).detach().to(images.dtype)
    try:
        return given.expand(images.shape)
    except RuntimeError as error:
        raise ShapeError(
            f"baseline of shape {tuple(given.shape)} cannot be broadcast to images of shape {tuple(images.shape)}; "
            "give a number, a colour (C, 1, 1) or an image.",
            call=call,
        ) from error


def quadrature(method: str, steps: int) -> tuple[list[float], list[float]]:
    """Return places from 0 to 1 and the weights that an integral over that line takes them with.

    Raises:
        UnknownNameError: no such method.
        ShapeError: fewer than 1 step; for `riemann_trapezoid`, which needs both ends, fewer than 2.
    Source:
        The names are captum's; `riemann_trapezoid` there weighs n points as if they were n steps, here n - 1.
    Example:
        >>> quadrature("riemann_middle", 2)
        ([0.25, 0.75], [0.5, 0.5])
    """
    if method not in get_args(Quadrature):
        raise UnknownNameError("method", method, get_args(Quadrature))
    steps = as_int("steps", steps, at_least=2 if method == "riemann_trapezoid" else 1)
    if method == "gausslegendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (0.5 * (1 + nodes)).tolist(), (0.5 * weights).tolist()
    if method == "riemann_trapezoid":
        inner = 1 / (steps - 1)
        return [step * inner for step in range(steps)], [inner / 2, *[inner] * (steps - 2), inner / 2]
    shift = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[method]
    return [(step + shift) / steps for step in range(steps)], [1 / steps] * steps


def _scores(network: nn.Module, images: Tensor, batch_size: int, call: str) -> Tensor:
    """Return the class scores of images, some at a time."""
    with torch.no_grad(), refusing(network, images, call):
        parts = images.split(batch_size)
        return torch.cat([class_scores(network(part.clone()), len(part), call) for part in parts])
