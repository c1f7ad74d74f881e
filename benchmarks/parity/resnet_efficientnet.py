"""ResNet, ResNeXt and EfficientNet beside torchvision's own code: keys, shapes, dtypes, settings and logits.

Needs torchvision, which this project never installs, so it runs in an environment of its own that has torch,
torchvision and safetensors, with this tree's `src` on the path:

    PYTHONPATH=src python benchmarks/parity/resnet_efficientnet.py

For each network the state dicts must have the same keys in the same order with the same shapes and dtypes, the same
batch-norm, dropout and stochastic-depth settings in the same order; for some, also the same logits from the same
random state, in evaluation and in training mode, to within TOLERANCE. Prints a table; exits with 1 if anything
differs. `digest` is what `tests/models/test_zoo.py` holds of torchvision's state dict.
"""

from __future__ import annotations

import hashlib
import sys

import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import nn

from convscope.models import create_model, list_models, model_entry

TOLERANCE = 1e-4
WITH_LOGITS = ("resnet18", "resnet50", "resnext50_32x4d", "efficientnet_b0", "efficientnet_b1")


def layout(network: nn.Module) -> list[str]:
    """Return a line for each tensor of the state dict."""
    return [f"{key} {list(value.shape)} {value.dtype}" for key, value in network.state_dict().items()]


def digest(lines: list[str]) -> str:
    """Return the beginning of the lines' SHA-256."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def settings(network: nn.Module) -> list[str]:
    """Return what the state dict does not hold, of convolutions, batch norms and what is random, in order."""
    found: list[str] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            found.append(f"conv {module.stride} {module.padding} {module.dilation} {module.groups}")
        elif isinstance(module, nn.BatchNorm2d):
            found.append(f"norm {module.eps} {module.momentum}")
        elif isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
            found.append(f"{type(module).__name__} {module.p}")
    return found


def randomise(network: nn.Module) -> None:
    """Give the batch norms a past, so that a mistake in using their buffers shows."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # pyright: ignore[reportArgumentType]


def logits_difference(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...], training: bool) -> float:
    """Return the largest difference, in multiples of the largest logit; random layers draw the same numbers."""
    images = torch.randn(2, *shape)
    outputs: list[torch.Tensor] = []
    for network in (ours, theirs):
        torch.manual_seed(1)
        with torch.no_grad():
            outputs.append(network.train(training)(images))
    return float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max())


def main() -> int:
    """Compare, print, return the exit code."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    print(f"{'network':18}{'tensors':>8} {'digest':17}{'layout':8}{'settings':10}{'eval':>9}{'train':>9}")
    wrong = 0
    for name in [*list_models("resne*"), *list_models("efficientnet*")]:
        with torch.device("meta"):
            ours, theirs = create_model(name), getattr(torchvision.models, name)()
        same_layout, same_settings = layout(ours) == layout(theirs), settings(ours) == settings(theirs)
        wrong += (not same_layout) + (not same_settings)
        row = f"{name:18}{len(layout(theirs)):8} {digest(layout(theirs)):17}"
        row += f"{'same' if same_layout else 'DIFFERS':8}{'same' if same_settings else 'DIFFERS':10}"
        if name in WITH_LOGITS and same_layout and same_settings:
            torch.manual_seed(0)
            ours, theirs = create_model(name), getattr(torchvision.models, name)()
            randomise(theirs)
            ours.load_state_dict(theirs.state_dict(), strict=True)
            for training in (False, True):
                difference = logits_difference(ours, theirs, model_entry(name).input_shape, training)
                wrong += not difference <= TOLERANCE
                row += f"{difference:9.1e}"
        print(row)
    print(f"{wrong} mismatches" if wrong else "no mismatch")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
