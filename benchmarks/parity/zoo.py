"""The zoo beside torchvision's own code: keys, shapes, dtypes, settings and logits.

Needs torchvision, which this project never installs, so it runs in an environment of its own that has torch,
torchvision and safetensors, with this tree's `src` on the path:

    PYTHONPATH=src python benchmarks/parity/zoo.py > benchmarks/parity/zoo.txt

For every network that torchvision has under the same name, the state dicts must have the same keys in the same order
with the same shapes and dtypes, and the layers the same settings that no state dict holds, in the same order. Those of
WITH_LOGITS, one or more of each family, must also give the same scores for the same state and images, in evaluation
and in training mode with the same random numbers, to within TOLERANCE of the largest score; of several outputs, such
as auxiliary heads, the worst is told. Prints a table; exits with 1 if anything differs. `digest` is what the tests
hold of torchvision's state dict.
"""

from __future__ import annotations

import hashlib
import sys

import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import nn

from convscope.models import create_model, list_models, model_entry

TOLERANCE = 1e-4
# Name: the largest side of the images; the deepest and largest are made of the same blocks.
WITH_LOGITS = {
    "alexnet": 224,
    "convnext_tiny": 224,
    "deeplabv3_resnet50": 129,
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b5": 224,
    "fcn_resnet50": 129,
    "googlenet": 224,
    "googlenet aux": 224,
    "googlenet aux, transformed": 224,
    "mobilenet_v2": 224,
    "resnet18": 224,
    "resnet50": 224,
    "resnext50_32x4d": 224,
    "vgg11": 224,
    "vgg16_bn": 224,
}
# Members that are built with options: ours, theirs.
OPTIONS = {
    "googlenet": ({}, {"aux_logits": False, "init_weights": False}),
    "googlenet aux": ({"aux_logits": True}, {"aux_logits": True, "init_weights": False}),
    "googlenet aux, transformed": (
        {"aux_logits": True, "transform_input": True},
        {"aux_logits": True, "transform_input": True, "init_weights": False},
    ),
    "mobilenet_v2 0.75": ({"width_mult": 0.75}, {"width_mult": 0.75}),
}
# Options of a task: theirs are without auxiliary heads, and look for weights of the backbone, unless told.
SEGMENTATION = ({}, {"aux_loss": True, "weights": None, "weights_backbone": None})


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Return our network and theirs."""
    member = name.split(" ")[0]
    segmentation = model_entry(member).task == "segmentation"
    ours, theirs = OPTIONS.get(name, SEGMENTATION if segmentation else ({}, {}))
    builders = torchvision.models.segmentation if segmentation else torchvision.models
    return create_model(member, **ours), getattr(builders, member)(**theirs)


def shared_names() -> list[str]:
    """Return the members that torchvision has too, and those of OPTIONS."""
    known = {*torchvision.models.list_models(torchvision.models), *_segmentation_names()}
    return sorted({name for name in list_models() if name in known} | set(OPTIONS))


def _segmentation_names() -> list[str]:
    return torchvision.models.list_models(torchvision.models.segmentation)


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
        elif isinstance(module, nn.LayerNorm):
            found.append(f"layer norm {module.eps}")
        elif isinstance(module, nn.MaxPool2d):
            found.append(f"pool {_pair(module.kernel_size)} {_pair(module.stride)} {_pair(module.padding)}")
        elif isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
            found.append(f"{type(module).__name__} {module.p}")
    return found


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def randomise(network: nn.Module) -> None:
    """Give the batch norms a past and the small factors a size, so that a mistake in using them shows."""
    for name, parameter in network.named_parameters():
        if name.endswith("layer_scale"):
            nn.init.normal_(parameter, std=0.3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # pyright: ignore[reportArgumentType]


def scores(network: nn.Module, images: torch.Tensor, training: bool) -> dict[str, torch.Tensor]:
    """Return the outputs by name; random layers draw the same numbers at each call."""
    torch.manual_seed(1)
    with torch.no_grad():
        found = network.train(training)(images)
    if isinstance(found, torch.Tensor):
        return {"scores": found}
    return dict(found) if isinstance(found, dict) else found._asdict()


def logits_difference(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...], training: bool) -> float:
    """Return the largest difference of any output, in multiples of its largest score; infinite if one is missing."""
    images = torch.randn(2, *shape)
    mine, other = scores(ours, images, training), scores(theirs, images, training)
    if mine.keys() != other.keys():
        return float("inf")
    return max(float((mine[key] - other[key]).abs().max() / other[key].abs().max()) for key in other)


def main() -> int:
    """Compare, print, return the exit code."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, tolerance {TOLERANCE}")
    print(f"{'network':28}{'tensors':>8} {'digest':17}{'layout':8}{'settings':10}{'eval':>9}{'train':>9}")
    wrong = 0
    for name in shared_names():
        with torch.device("meta"):
            ours, theirs = pair(name)
        same_layout, same_settings = layout(ours) == layout(theirs), settings(ours) == settings(theirs)
        wrong += (not same_layout) + (not same_settings)
        row = f"{name:28}{len(layout(theirs)):8} {digest(layout(theirs)):17}"
        row += f"{'same' if same_layout else 'DIFFERS':8}{'same' if same_settings else 'DIFFERS':10}"
        if name in WITH_LOGITS and same_layout:
            torch.manual_seed(0)
            ours, theirs = pair(name)
            randomise(theirs)
            ours.load_state_dict(theirs.state_dict(), strict=True)
            channels, side = model_entry(name.split(" ")[0]).input_shape[0], WITH_LOGITS[name]
            for training in (False, True):
                difference = logits_difference(ours, theirs, (channels, side, side), training)
                wrong += not difference <= TOLERANCE
                row += f"{difference:9.1e}"
        print(row, flush=True)
    print(f"{wrong} mismatches" if wrong else "no mismatch")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
