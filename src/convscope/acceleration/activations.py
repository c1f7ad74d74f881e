"""The activations that fused layers compute, and how to recognise them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import fx, nn

__all__ = ["activation_of"]

_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
}
_FUNCTIONS = {
    F.relu: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    F.gelu: "gelu",
}


def activation_of(node: fx.Node, network: nn.Module) -> str | None:
    """Return the name of the activation that a node is, None if it is something else."""
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        if type(layer) is nn.GELU:
            return "gelu" if layer.approximate == "none" else None
        return _MODULES.get(type(layer))
    exact = set(node.kwargs) <= {"inplace"} or node.kwargs == {"approximate": "none"}
    if node.op == "call_function" and len(node.args) == 1 and exact:
        return _FUNCTIONS.get(node.target)  # pyright: ignore[reportArgumentType, reportCallIssue]
    if node.op == "call_method" and node.target in ("relu", "relu_") and len(node.args) == 1:
        return "relu"
    return None
