"""What the engine gains apart from the recipe: the same training step, plain and ours, in turns in one process.

    python benchmarks/training/engine.py [--widths 64 128 128] [--batch 1000] [--rounds 9] [--json FILE]

Steps of the speed-run's network through `accelerate` and plain, each with SGD, so that only the network counts; then
whole steps as the speed-run takes them, ours beside a literal port: eager float32, torch's Muon. Both take as many
steps to the same accuracy, being the same mathematics, so that the ratio of their steps is that of their times. Beside
them a plain step of ResNet-18 for 32x32 images, the network that most people would take. Scores of the two forms of the
network are compared first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from convscope import trace
from convscope.acceleration import accelerate
from convscope.models import create_seeded_model, model_entry
from convscope.report.terminal import table
from convscope.training import cpu_name, environment, named_recipe
from convscope.training.optimizers import Optimizers


class Sgd:
    """Plain SGD."""

    def __init__(self, network: nn.Module) -> None:
        self._sgd = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), 1e-4, momentum=0.9)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._sgd.zero_grad(set_to_none=True)

    def step(self, lr: float) -> None:
        """Move all parameters."""
        self._sgd.step()


class LiteralMuon:
    """The speed-run's optimisers as on a GPU: filters scaled and moved by torch's Muon, the rest by SGD."""

    def __init__(self, network: nn.Module) -> None:
        trained = [each for each in network.parameters() if each.requires_grad]
        self._filters = [each for each in trained if each.ndim == 4]
        self._matrices = [nn.Parameter(each.detach().view(len(each), -1)) for each in self._filters]
        self._muon = torch.optim.Muon(self._matrices, lr=1e-4, momentum=0.6, weight_decay=0.0)
        rest = [each for each in trained if each.ndim != 4]
        self._sgd = torch.optim.SGD(rest, 1e-4, momentum=0.85, nesterov=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._sgd.zero_grad(set_to_none=True)
        for each in self._filters:
            each.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Move all parameters."""
        for each, matrix in zip(self._filters, self._matrices, strict=True):
            matrix.mul_(len(matrix) ** 0.5 / matrix.norm())
            matrix.grad = None if each.grad is None else each.grad.reshape(len(each), -1)
        self._muon.step()
        self._sgd.step()


def stepper(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    optimizer: Sgd | LiteralMuon | Optimizers,
) -> Callable[[], float]:
    """Return a function that takes a training step and returns its seconds."""

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images).float(), labels, label_smoothing=0.2).backward()
        optimizer.step(1e-4)
        return time.perf_counter() - began

    return step


def main() -> None:
    """Time the steps in turns and print images a second."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(arguments.batch, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (arguments.batch,), generator=generator)
    plain = create_seeded_model("speed_cnn", 0, widths=arguments.widths).train()
    channels_last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ours = accelerate(copy.deepcopy(channels_last))
    resnet = create_seeded_model("resnet18_cifar", 0).train()
    nhwc = images.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected, found = copy.deepcopy(plain)(images), accelerate(copy.deepcopy(channels_last))(nhwc)
    worst = float((found - expected).abs().max() / expected.abs().max())
    small = images[: min(128, arguments.batch)]
    port = copy.deepcopy(plain)
    whole = accelerate(copy.deepcopy(channels_last))
    recipe = named_recipe("speedrun-90")
    nets = {
        "speed_cnn, eager": (plain, images, Sgd(plain)),
        "speed_cnn, eager channels-last": (channels_last, nhwc, Sgd(channels_last)),
        "speed_cnn, accelerate": (ours, nhwc, Sgd(ours)),
        "speed_cnn, literal port with torch's Muon": (port, images, LiteralMuon(port)),
        "speed_cnn, as `convscope train`": (
            whole,
            nhwc,
            Optimizers(recipe, whole, model_entry("speed_cnn").head),
        ),
        "resnet18_cifar, eager": (resnet, small, Sgd(resnet)),
    }
    contestants = {
        name: (stepper(network, batch, labels[: len(batch)], optimizer), len(batch))
        for name, (network, batch, optimizer) in nets.items()
    }
    macs = {
        "speed_cnn": trace(plain, (1, 3, 32, 32)).macs,
        "resnet18_cifar": trace(resnet, (1, 3, 32, 32)).macs,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds + 1):
        for name, (step, _) in contestants.items():
            taken = step()
            if turn:
                seconds[name].append(taken)
    facts = environment()
    print(f"{cpu_name()}, {facts['threads']} threads, torch {facts['torch']}, {facts['time']}")
    print(f"scores of the two forms differ by {worst:.1e} of the largest")
    rows, results = [], {}
    for name, (_, batch) in contestants.items():
        low, middle, high = statistics.quantiles(seconds[name], n=4, method="inclusive")
        rate = batch / middle
        flops = 6 * macs[name.split(",")[0]] * rate
        results[name] = {"images_per_second": rate, "flops": flops, "seconds": seconds[name]}
        rows.append(
            (name, f"{rate:,.0f}", f"{batch / high:,.0f} to {batch / low:,.0f}", f"{flops / 1e9:.0f}")
        )
    print(table(("training step", "images/s", "quartiles", "GFLOP/s"), rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"environment": facts, "steps": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
