"""Averages of weights over the steps of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convscope.training.recipe import Recipe

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average that a recipe keeps of its network's weights and buffers.

    `ema`: slow = d * slow + (1 - d) * fast, and evaluations use the slow weights. `lookahead`: the same, and the
    network then goes on from the slow weights; d grows from 0 with the cube of the run's progress, and the last step
    ends on the slow weights (Jordan, arXiv:2404.00498; Zhang et al., arXiv:1907.08610). In both d is `average_decay`
    to the power of `average_every`, the steps between updates. With `none` it does nothing.
    """

    def __init__(self, recipe: Recipe, network: nn.Module) -> None:
        self._recipe, self._network = recipe, network
        self.slow: dict[str, Tensor] = {}
        if recipe.average != "none":
            self.slow = {key: value.detach().clone() for key, value in _floating(network)}

    @property
    def stands_apart(self) -> bool:
        """Tell whether the weights to evaluate are others than those that are trained."""
        return self._recipe.average == "ema"

    @torch.no_grad()
    def update(self, step: int, steps: int) -> None:
        """Take in the weights after `step` of all `steps`."""
        recipe = self._recipe
        last = step == steps
        if not self.slow or (step % recipe.average_every and not last):
            return
        decay = recipe.average_decay**recipe.average_every
        if recipe.average == "lookahead":
            decay = 1.0 if last else decay * (step / steps) ** 3
        for key, fast in _floating(self._network):
            self.slow[key].lerp_(fast, 1 - decay)
            if recipe.average == "lookahead":
                fast.copy_(self.slow[key])

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep besides the weights to evaluate."""
        return self.slow if self._recipe.average == "lookahead" else {}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` returned, the network holding the weights to evaluate.

        Raises:
            ValueError: it is of another network.
        """
        source = tensors if self._recipe.average == "lookahead" else dict(_floating(self._network))
        kept = self.tensors()
        if tensors.keys() != kept.keys() or any(tensors[key].shape != kept[key].shape for key in kept):
            raise ValueError("the averaged weights are of another network")
        for key, slow in self.slow.items():
            slow.copy_(source[key])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the weights to evaluate into the network while the block runs."""
        if not self.stands_apart:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for key, fast in _floating(self._network):
            kept = fast.clone()
            fast.copy_(self.slow[key])
            self.slow[key].copy_(kept)


def _floating(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for key, value in network.state_dict().items():
        if value.is_floating_point():
            yield key, value
