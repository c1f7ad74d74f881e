"""Muon with its products in float32: as fast on a CPU without bfloat16 instructions as on one that has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonalised"]


class Muon(torch.optim.Muon):
    """torch's Muon, its arguments and its state, whose updates are orthogonalised in float32.

    torch's own multiplies in bfloat16, which takes a CPU without instructions for it some 380 ms a step for the filters
    of `speedrun-90` and some 25 ms in float32; the updates differ by bfloat16's rounding. The learning rate of a matrix
    is scaled as in the first implementation (`adjust_lr_fn` None or "original"): by sqrt(max(1, rows / columns)).

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.

    Raises:
        ValueError: another `adjust_lr_fn`, or what torch refuses (parameters that are no matrices, rates below 0).
    Example:
        >>> weight = torch.nn.Parameter(torch.eye(2))
        >>> weight.grad = torch.tensor([[3.0, 0.0], [0.0, -3.0]])
        >>> Muon([weight], lr=0.1, momentum=0.0, weight_decay=0.0).step()
        >>> (weight[0, 0] < 0.95).item(), (weight[1, 1] > 1.05).item()
        (True, True)
    """

    def add_param_group(self, param_group: dict[str, object]) -> None:
        super().add_param_group(param_group)
        if self.param_groups[-1]["adjust_lr_fn"] not in (None, "original"):
            raise ValueError(f'Muon: adjust_lr_fn is None or "original", not {param_group["adjust_lr_fn"]!r}')

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, momentum = float(group["lr"]), group["momentum"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
                wanted = gradient.lerp(average, momentum) if group["nesterov"] else average
                update = orthogonalised(wanted, group["ns_coefficients"], group["ns_steps"], group["eps"])
                rows, columns = parameter.shape
                parameter.mul_(1 - lr * group["weight_decay"])
                parameter.add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)
        return loss


def orthogonalised(
    matrix: Tensor,
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
) -> Tensor:
    """Bring all singular values of a matrix near 1 by Newton-Schulz iterations, in the matrix's own precision.

    An iteration takes every singular value s to a*s + b*s^3 + c*s^5. The default coefficients do not converge to 1 but
    leave what is not tiny between 0.7 and 1.2 after five iterations, which is enough for an update.

    Shapes:
        matrix (rows, columns) -> the same
    Cost:
        2 * steps * (2 * n * n * m + n * n * n) operations, n the shorter side, m the longer one
    Example:
        >>> torch.linalg.svdvals(orthogonalised(torch.diag(torch.tensor([5.0, 1.0])))).round(decimals=1)
        tensor([0.8000, 0.7000])
    """
    a, b, c = coefficients
    tall = matrix.size(0) > matrix.size(1)
    result = matrix.mT if tall else matrix
    result = result / result.norm().clamp(min=eps)
    for _ in range(steps):
        gram = result @ result.mT
        result = torch.addmm(result, torch.addmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result.mT if tall else result
