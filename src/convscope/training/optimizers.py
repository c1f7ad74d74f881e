"""The optimisers of a recipe: which parameters each moves, and their state as tensors with names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convscope.training.muon import Muon
from convscope.training.recipe import Recipe

__all__ = ["Optimizers", "is_in"]

_ENTRIES = {
    torch.optim.SGD: {"momentum_buffer"},
    Muon: {"momentum_buffer"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
}


def is_in(name: str, beginnings: Iterable[str]) -> bool:
    """Tell whether a parameter's name is one of these or stands below one.

    Example:
        >>> is_in("layer1.0.weight", ["layer1"]), is_in("layer10.weight", ["layer1"])
        (True, False)
    """
    return any(name == each or name.startswith(each + ".") for each in beginnings)


class Optimizers:
    """The torch optimisers that a recipe asks for, moved together.

    Filters and matrices have the recipe's learning rate; biases and normalisation (parameters of one axis) and the head
    have theirs times `bias_lr_scale` and `head_lr_scale`. `muon` takes filters and matrices outside the head, SGD with
    Nesterov momentum the rest. A step shrinks every group by the learning rate times `weight_decay`, whatever its
    scale; with `muon` only filters and matrices.

    Args:
        head: beginnings of the names of the head's parameters.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, head: Sequence[str] = ()) -> None:
        self._recipe = recipe
        weights: list[nn.Parameter] = []
        biases: list[nn.Parameter] = []
        heads: list[nn.Parameter] = []
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:  # the network itself never learns it
                continue
            group = heads if is_in(name, head) else biases if parameter.ndim < 2 else weights
            group.append(parameter)
        scales = ((weights, 1.0), (biases, recipe.bias_lr_scale), (heads, recipe.head_lr_scale))
        self._flat: list[tuple[nn.Parameter, nn.Parameter]] = []
        self._all: list[torch.optim.Optimizer]
        if recipe.optimizer == "muon":
            self._flat = [(each, nn.Parameter(_as_matrix(each.detach(), each))) for each in weights]
            flat: list[dict[str, Any]] = [{"params": [each for _, each in self._flat], "lr_scale": 1.0}]
            rest: list[dict[str, Any]] = [
                {"params": group, "lr_scale": scale} for group, scale in scales[1:] if group
            ]
            self._all = []
            if weights:
                muon = Muon(flat, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
                self._all.append(muon)
            if rest:
                self._all.append(_sgd(rest, recipe))
        else:
            decay = recipe.weight_decay
            groups: list[dict[str, Any]] = [
                {"params": group, "lr_scale": scale, "weight_decay": decay / scale if scale else 0.0}
                for group, scale in scales
                if group
            ]
            if recipe.optimizer == "adamw":
                self._all = [torch.optim.AdamW(groups, lr=recipe.lr)]
            else:
                self._all = [_sgd(groups, recipe)]
        # A convolution without a bias of its own is normalised after it.
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is None]
        self._unit = [m.weight for m in convolutions if m.weight.requires_grad] if recipe.unit_filters else []
        self._scale_filters()

    def step(self, lr: float) -> None:
        """Move all parameters that have a gradient, at this learning rate."""
        for parameter, flat in self._flat:
            flat.grad = None if parameter.grad is None else _as_matrix(parameter.grad, parameter)
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = lr * group["lr_scale"]
            optimizer.step()
        self._scale_filters()

    def gradients_are_finite(self) -> bool:
        """Tell whether no gradient holds NaN or infinity; the largest value of each is looked at, which keeps both."""
        moved = [parameter for parameter, _ in self._flat]
        moved += [
            each for optimizer in self._all for group in optimizer.param_groups for each in group["params"]
        ]
        gradients = [each.grad for each in moved if each.grad is not None]
        return bool(nn.utils.get_total_norm(gradients, torch.inf).isfinite())

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)
        for parameter, _ in self._flat:
            parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state, `number of the optimiser.number of the parameter.name of the entry` to tensor."""
        return {
            f"{number}.{index}.{name}": value
            for number, optimizer in enumerate(self._all)
            for index, entry in optimizer.state_dict()["state"].items()
            for name, value in entry.items()
            if isinstance(value, Tensor)
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take up a state that `tensors` returned.

        Raises:
            ValueError: it is the state of other optimisers or other parameters.
        """
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._all]
        left = dict(tensors)
        for number, optimizer in enumerate(self._all):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            for index, parameter in enumerate(parameters):
                for name in _ENTRIES[type(optimizer)]:
                    value = left.pop(f"{number}.{index}.{name}", None)
                    if value is None:
                        continue
                    shape = () if name == "step" else parameter.shape
                    if value.shape != shape or value.dtype != torch.float32:
                        raise ValueError(
                            f"the optimiser's {name} has the shape {tuple(value.shape)}, {value.dtype}"
                        )
                    states[number].setdefault(index, {})[name] = value
                if states[number].get(index, {}).keys() not in (set(), _ENTRIES[type(optimizer)]):
                    raise ValueError("the optimiser's state lacks an entry")
        if left:
            raise ValueError("the optimiser's state is of other parameters")
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

    @torch.no_grad()
    def _scale_filters(self) -> None:
        for weight in self._unit:
            weight.mul_(len(weight) ** 0.5 / weight.norm())


def _sgd(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def _as_matrix(tensor: Tensor, like: nn.Parameter) -> Tensor:
    """Return a parameter or its gradient as a matrix, a row a filter; what lies as the parameter does is not copied."""
    if like.ndim == 4 and not like.is_contiguous():
        tensor = tensor.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    return tensor.contiguous().view(len(like), -1)
