"""The step that is timed: of training, or of inference."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from convscope.errors import ConvscopeError, UsageError

__all__ = [
    "Mode",
    "Step",
    "checked_images",
    "inference_step",
    "loss_of",
    "random_images",
    "refusal",
    "training_step",
]

Mode = Literal["training", "inference"]
Step = Callable[[], Any]
_LEARNING_RATE = 1e-4  # so small that no number of steps makes random weights diverge


def random_images(shape: tuple[int, ...]) -> Tensor:
    """Return the same normally distributed numbers at each call, and leave torch's random numbers alone.

    Example:
        >>> bool((random_images((1, 3, 4, 4)) == random_images((1, 3, 4, 4))).all())
        True
    """
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def loss_of(result: Any) -> Tensor:
    """Return a number to differentiate: cross-entropy of class scores, otherwise the mean; of several results the sum.

    The class that each image is said to have follows from its place in the batch.

    Example:
        >>> loss_of(torch.zeros(4, 10)).exp().round().item()
        10.0
    """
    total = torch.zeros(())
    for each in tree_leaves(result):
        if not isinstance(each, Tensor) or not each.is_floating_point():
            continue
        if each.ndim == 2 and each.shape[1] > 1:
            total = total + F.cross_entropy(each, torch.arange(len(each)) % each.shape[1])
        else:
            total = total + each.mean()
    return total


def training_step(network: nn.Module, images: Tensor) -> Step:
    """Return a step of training: forward, loss, backward, SGD with momentum. It puts the network in training mode.

    Raises:
        UsageError: nothing in the network can be trained.
    """
    parameters = [each for each in network.parameters() if each.requires_grad]
    if not parameters:
        raise UsageError("the network has no parameters to train; time it without training.", call="train")
    network.train()
    optimiser = torch.optim.SGD(parameters, lr=_LEARNING_RATE, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            loss_of(network(images)).backward()
        optimiser.step()

    return step


def inference_step(network: nn.Module, images: Tensor) -> Step:
    """Return a step of inference: forward without gradients. It puts the network in evaluation mode."""
    network.eval()

    def step() -> Any:
        with torch.no_grad():
            return network(images)

    return step


def checked_images(network: nn.Module, images: object, call: str) -> Tensor:
    """Return the images once the network has run on them, so that a wrong shape is refused before anything is timed.

    Raises:
        UsageError: no (N, C, H, W) tensor of float32 on the CPU, or one that the network refuses.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"network is a {type(network).__name__}; give a torch.nn.Module.", call=call)
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.numel():
        given = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise UsageError(f"images are {given}; give a tensor (N, C, H, W).", call=call)
    if images.dtype != torch.float32 or images.device.type != "cpu":
        raise UsageError(f"images are {images.dtype} on {images.device}; give float32 on the CPU.", call=call)
    modes = [(module, module.training) for module in network.modules()]
    try:
        with refusal(call, images):
            inference_step(network, images)()
    finally:
        for module, mode in modes:
            module.training = mode
    return images


@contextlib.contextmanager
def refusal(call: str, images: Tensor) -> Iterator[None]:
    """Turn whatever a network raises on images into an error of one line."""
    try:
        yield
    except ConvscopeError as error:
        raise error.at(call) from error
    except Exception as error:  # whatever the user's network raises
        reason = " ".join(str(error).split()) or "no message"
        raise UsageError(
            f"the network does not run on images {tuple(images.shape)}: {type(error).__name__}: {reason}",
            call=call,
        ) from error
