"""The class scores in what a network returns, and which of them is asked about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convscope.errors import ConvscopeError, ShapeError, UsageError
from convscope.geometry.integers import is_sequence
from convscope.trace import trace
from convscope.trace.inputs import named_outputs

__all__ = [
    "Target",
    "batch_limit",
    "by_class",
    "check_images",
    "chosen_scores",
    "chosen_targets",
    "class_scores",
    "refusing",
    "score_place",
    "score_tensor",
]

Target = int | Sequence[int] | Tensor | None


def check_images(network: object, inputs: object, call: str) -> tuple[nn.Module, Tensor]:
    """Return network and images if they are what attributions are made of.

    Raises:
        UsageError: no network, no tensor, or one of whole numbers.
        ShapeError: no images (N, C, H, W), or none at all.
    """
    if not isinstance(network, nn.Module) or not isinstance(inputs, Tensor):
        raise UsageError(
            f"got a {type(network).__name__} and a {type(inputs).__name__}; give a torch.nn.Module and a tensor.",
            call=call,
        )
    if inputs.dim() != 4 or 0 in inputs.shape:
        raise ShapeError(f"inputs have the shape {tuple(inputs.shape)}; give images (N, C, H, W).", call=call)
    if not inputs.is_floating_point():
        raise UsageError(
            f"inputs are of type {str(inputs.dtype).removeprefix('torch.')}; give floating-point images, prepared as "
            "the network expects them.",
            call=call,
        )
    return network, inputs


@contextmanager
def refusing(network: nn.Module, inputs: Tensor, call: str) -> Iterator[None]:
    """Say of images that do not fit which operator refuses them, and which sizes fit, where that is known."""
    try:
        yield
    except ConvscopeError:
        raise
    except RuntimeError as error:
        try:
            trace(network, tuple(inputs.shape), mode="eval")
        except ShapeError as refusal:
            raise refusal.at(call) from error
        except ConvscopeError:
            pass
        raise


def score_tensor(result: Any, call: str) -> Tensor:
    """Return the tensor of scores in a network's result: itself, the entry `out` or `logits`, or the first tensor.

    Raises:
        UsageError: there is none.
    """
    named = named_outputs(result)
    if not named:
        raise UsageError(
            f"the network returns a {type(result).__name__} without a tensor of scores.", call=call
        )
    return named[score_place([name for name, _ in named])][1]


def score_place(names: Sequence[str]) -> int:
    """Return which of a network's outputs, by their names, has the scores: `out` or `logits`, else the first.

    Example:
        >>> score_place(["aux", "out"]), score_place(["output[0]", "output[1]"])
        (1, 0)
    """
    return next((place for place, name in enumerate(names) if name in ("out", "logits")), 0)


def by_class(scores: Tensor) -> Tensor:
    """Return scores as (N, classes): one class of a vector, maps of scores summed over their positions.

    Example:
        >>> by_class(torch.ones(2)).shape, by_class(torch.ones(2, 21, 4, 4))[0, 0]
        (torch.Size([2, 1]), tensor(16.))
    """
    if scores.dim() == 1:
        return scores.unsqueeze(1)
    return scores if scores.dim() == 2 else scores.flatten(2).sum(2)


def class_scores(result: Any, images: int, call: str) -> Tensor:
    """Return the scores (N, classes) in what a network returned for N images; maps of scores are summed.

    Raises:
        UsageError: no tensor of scores, or not one row an image.
    Example:
        >>> class_scores({"out": torch.ones(2, 21, 4, 4)}, 2, "saliency").shape
        torch.Size([2, 21])
    """
    scores = score_tensor(result, call)
    if not scores.is_floating_point() or scores.dim() == 0 or len(scores) != images:
        raise UsageError(
            f"the network returns a {str(scores.dtype).removeprefix('torch.')} tensor of shape "
            f"{tuple(scores.shape)} for {images} image{'s' * (images != 1)}; class scores are (N, classes), or maps of "
            "them (N, classes, H, W).",
            call=call,
        )
    return by_class(scores)


def chosen_targets(scores: Tensor, target: Target, call: str) -> tuple[int, ...]:
    """Return the class asked about for each image: as given, one for all or one each, or the highest score's.

    Raises:
        UsageError: no whole numbers, as many as images; a class that the network does not have.
    Example:
        >>> chosen_targets(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), None, "saliency")
        (1, 0)
    """
    images, classes = scores.shape
    if target is None:
        return tuple(scores.argmax(1).tolist())
    given: Any = target.tolist() if isinstance(target, Tensor) else target
    listed: list[Any] = list(given) if is_sequence(given) else [given] * images
    if not all(isinstance(entry, int) and not isinstance(entry, bool) for entry in listed):
        raise UsageError(f"target is {target!r}; give the number of a class, or one an image.", call=call)
    if len(listed) != images:
        raise UsageError(
            f"target names {len(listed)} classes for {images} image{'s' * (images != 1)}; give one for all, or one "
            "each.",
            call=call,
        )
    for entry in listed:
        if not 0 <= entry < classes:
            raise UsageError(
                f"target {entry} is no class of the network, whose output has {classes}: 0 to {classes - 1}.",
                call=call,
            )
    return tuple(listed)


def chosen_scores(scores: Tensor, targets: Sequence[int]) -> Tensor:
    """Return each image's score of its class.

    Example:
        >>> chosen_scores(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), (1, 1))
        tensor([2., 1.])
    """
    places = torch.tensor(targets, device=scores.device).unsqueeze(1)
    return scores.gather(1, places).squeeze(1)


def batch_limit(network: nn.Module, batch_size: int) -> int:
    """Return how many images may run at once: one where a batch norm has no statistics of its own to go by."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return 1 if any(norm.running_mean is None for norm in norms) else batch_size
