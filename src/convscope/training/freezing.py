"""Parameters that stay as they are while the others learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from convscope.errors import UnknownNameError
from convscope.training.optimizers import is_in
from convscope.training.recipe import Recipe

__all__ = ["Freezing"]


class Freezing:
    """What a recipe freezes, and until when.

    Frozen parameters get no gradient, and normalisation layers all of whose parameters are frozen keep their running
    statistics. Parameters that the network itself built without a gradient stay so.

    Args:
        head: beginnings of the names of the head's parameters; all others are the `backbone`.
    Raises:
        UnknownNameError: the recipe freezes what the network has not.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, head: Sequence[str]) -> None:
        self._epochs = recipe.freeze_epochs
        named = dict(network.named_parameters())
        beginnings = [name for name in recipe.freeze if name != "backbone"]
        for beginning in beginnings:
            if not any(is_in(name, [beginning]) for name in named):
                known = {name.rsplit(".", level)[0] for name in named for level in range(name.count(".") + 1)}
                raise UnknownNameError(
                    "layer to freeze", beginning, ("backbone", *sorted(known)), call="train"
                )
        self._frozen = {
            name: parameter
            for name, parameter in named.items()
            if parameter.requires_grad
            and (is_in(name, beginnings) or ("backbone" in recipe.freeze and not is_in(name, head)))
        }

    def apply(self, epoch: int, network: nn.Module) -> None:
        """Freeze or thaw for an epoch, counted from 0; called after `network.train()`."""
        frozen = self._epochs is None or epoch < self._epochs
        for parameter in self._frozen.values():
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        if not (frozen and self._frozen):
            return
        ours = set(map(id, self._frozen.values()))
        for module in network.modules():
            parameters = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and parameters:
                module.train(not all(id(each) in ours for each in parameters))
