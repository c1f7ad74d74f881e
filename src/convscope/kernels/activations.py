"""The activations that kernels compute with a normalisation, as PyTorch has them, and their way back."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ACTIVATIONS", "ACTIVATION_GRADIENTS", "ACTIVATION_NUMBERS"]

# In the order of their numbers in csrc/functions.h.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "gelu": F.gelu,
}
ACTIVATION_NUMBERS = {name: number for number, name in enumerate(ACTIVATIONS)}
# The gradient of each, from that of its result and its argument.
ACTIVATION_GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda grad, _: grad,
    "relu": lambda grad, x: torch.ops.aten.threshold_backward(grad, x, 0),
    "relu6": lambda grad, x: torch.ops.aten.hardtanh_backward(grad, x, 0, 6),
    "silu": torch.ops.aten.silu_backward,
    "hardswish": torch.ops.aten.hardswish_backward,
    "gelu": torch.ops.aten.gelu_backward,
}
