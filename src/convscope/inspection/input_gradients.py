"""How a class score changes with each pixel, from a network that is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convscope.errors import UsageError
from convscope.inspection.class_scores import Target, chosen_scores, chosen_targets, class_scores, refusing
from convscope.trace.guard import unchanged
from convscope.trace.index import NetworkIndex

__all__ = ["differentiating", "input_gradients"]


@contextmanager
def differentiating(network: nn.Module) -> Iterator[None]:
    """Lend a network in evaluation mode with gradients on, whatever the caller has switched off.

    Modes, buffers and random states are put back; gradients are asked for by `torch.autograd.grad`, which leaves every
    parameter's `.grad` alone.
    """
    with unchanged(NetworkIndex(network), "eval"), torch.inference_mode(False), torch.enable_grad():
        yield


def input_gradients(
    network: nn.Module, images: Tensor, target: Target, call: str
) -> tuple[Tensor, tuple[int, ...], Tensor]:
    """Return the class scores of some images, the classes asked about, and their scores' gradients by the images.

    To be called inside `differentiating`.

    Shapes:
        images (N, C, H, W); returns scores (N, classes), and gradients (N, C, H, W)
    Raises:
        UsageError: no such class; scores that do not depend on the images in a way that can be differentiated.
    """
    leaf = images.detach().clone().requires_grad_()
    with refusing(network, images, call):
        result = network(leaf.clone())  # of its own: a first layer in place may not change a leaf
    scores = class_scores(result, len(images), call)
    targets = chosen_targets(scores, target, call)
    gradient = None
    if scores.requires_grad:
        (gradient,) = torch.autograd.grad(chosen_scores(scores, targets).sum(), leaf, allow_unused=True)
    if gradient is None:
        raise UsageError(
            "no gradient leads from the scores back to the images: the network's forward detaches its tensors, runs "
            "under torch.no_grad, or does not use its input.",
            call=call,
        )
    return scores.detach(), targets, gradient
