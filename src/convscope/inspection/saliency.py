"""Saliency: how fast a class score changes with each pixel."""

from __future__ import annotations

from torch import Tensor, nn

from convscope.inspection.attribution import Attribution
from convscope.inspection.class_scores import Target, check_images, chosen_scores
from convscope.inspection.input_gradients import differentiating, input_gradients

__all__ = ["saliency"]


def saliency(network: nn.Module, inputs: Tensor, target: Target = None, absolute: bool = True) -> Attribution:
    """Return the gradient of a class score by each pixel, or its magnitude.

    The network runs in evaluation mode. Its modes, buffers, hooks, the `.grad` of its parameters and the random state
    are as before afterwards, also when it raises; it may be frozen, and the caller under `torch.no_grad`.

    Shapes:
        inputs (N, C, H, W), prepared as the network expects them; maps (N, C, H, W)
    Args:
        target: the class asked about, one for all images or one each; by default the one with the highest score. Of
            a network that returns maps of scores, the sum over all positions.
        absolute: return magnitudes; without it the gradients with their signs.
    Raises:
        UsageError: a class that the network does not have, whole-number images, scores without a gradient.
        ShapeError: no images, or too small ones for the network.
    Cost:
        One forward and one backward pass.
    Source:
        Simonyan, Vedaldi & Zisserman, arXiv:1312.6034, section 3.
    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> _ = network[1].weight.data.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 0.0, 0.0]]))
        >>> saliency(network, torch.ones(1, 1, 2, 2), target=1).maps.tolist()
        [[[[0.0, 1.0], [0.0, 0.0]]]]
    """
    network, images = check_images(network, inputs, "saliency")
    with differentiating(network):
        scores, targets, gradients = input_gradients(network, images, target, "saliency")
    picked = tuple(chosen_scores(scores, targets).tolist())
    return Attribution("saliency", targets, picked, gradients.abs() if absolute else gradients)
