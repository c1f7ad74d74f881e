"""Occlusion of one image, ours and captum's in batches, in turns in one process; what comes out is compared first.

    python benchmarks/inspection/occlusion.py [--networks resnet18 vgg11 mobilenet_v2] [--size 224] [--window 32]
        [--stride 16] [--rounds 3] [--truth] [--json FILE]

captum's `perturbations_per_eval` is the fastest of several, found on every second place along each axis. Weights are
random, batch norms have drawn statistics. `--truth` adds how far both are from whole passes in float64, in which
captum runs; differences are relative to the largest fall of the score.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from captum.attr import Occlusion  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor, nn

from convscope.inspection import occlusion
from convscope.models import create_seeded_model
from convscope.report.terminal import table
from convscope.training import cpu_name, environment

_BATCHES = (1, 8, 16, 32, 64)


def network_of(name: str, size: int) -> nn.Module:
    """Return a network with seeded weights whose batch norms have seen images: scores depend on what comes in."""
    network = create_seeded_model(name, 0)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        torch.manual_seed(1)
        for norm in norms:
            norm.momentum = None  # the mean over all batches, of which there is one
        if norms:
            network.train()(torch.randn(8, 3, size, size))
        for norm in norms:
            norm.momentum = 0.1
    return network.eval()


def timed(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds that a call took, and its result."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def main() -> None:
    """Compare and time each network, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "vgg11", "mobilenet_v2"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--stride", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    window, stride = arguments.window, arguments.stride
    image = torch.randn(1, 3, arguments.size, arguments.size, generator=torch.Generator().manual_seed(0))
    facts = environment()
    print(f"{cpu_name()}, {facts['threads']} threads, torch {facts['torch']}, {facts['time']}")
    print(f"window {window}, stride {stride}, one image of {arguments.size} pixels")
    rows, results = [], {}
    for name in arguments.networks:
        network = network_of(name, arguments.size)
        with torch.no_grad():
            target = int(network(image).argmax())
        theirs = Occlusion(network)

        def captum(
            batch: int,
            step: int = stride,
            theirs: Occlusion = theirs,
            image: Tensor = image,
            target: int = target,
        ) -> Tensor:
            return theirs.attribute(
                image, (3, window, window), (3, step, step), target=target, perturbations_per_eval=batch
            )[0, 0]

        def ours(network: nn.Module = network, target: int = target) -> Tensor:
            return occlusion(network, image, target, window=window, stride=stride).maps[0]

        trials = {
            batch: timed(lambda batch=batch: captum(batch, min(2 * stride, window)))[0] for batch in _BATCHES
        }
        batch = min(trials, key=lambda each: trials[each])
        found, expected = occlusion(network, image, target, window=window, stride=stride), captum(batch)
        largest = float(expected.abs().max())
        apart = float((found.maps[0] - expected).abs().max()) / largest
        errors: tuple[float, ...] = ()
        if arguments.truth:
            truth = Occlusion(network_of(name, arguments.size).double()).attribute(
                image.double(),
                (3, window, window),
                (3, stride, stride),
                target=target,
                perturbations_per_eval=8,
            )[0, 0]
            errors = tuple(float((each - truth).abs().max()) / largest for each in (found.maps[0], expected))
        seconds: dict[str, list[float]] = {"captum": [], "convscope": []}
        for _ in range(arguments.rounds):
            seconds["captum"].append(timed(lambda batch=batch: captum(batch))[0])
            seconds["convscope"].append(timed(ours)[0])
        medians = {who: statistics.median(each) for who, each in seconds.items()}
        ratios = [a / b for a, b in zip(seconds["captum"], seconds["convscope"], strict=True)]
        results[name] = {
            "windows": found.drops[0].numel(), "perturbations_per_eval": batch, "seconds": seconds,
            "ratio": statistics.median(ratios), "apart": apart, "errors": errors, "share": found.share,
            "largest_fall_of_score": largest / abs(found.scores[0]),
        }  # fmt: skip
        rows.append(
            (
                name,
                str(found.drops[0].numel()),
                f"{medians['captum']:.2f} ({batch})",
                f"{medians['convscope']:.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{found.share:.3f}",
                f"{apart:.1e}",
                " ".join(f"{error:.1e}" for error in errors),
            )
        )
    head = (
        "network",
        "windows",
        "captum s (batch)",
        "ours s",
        "ratio",
        "spread",
        "MACs",
        "apart",
        "errors: ours, captum",
    )
    print(table(head, rows))
    if arguments.json:
        found = {"environment": facts, "window": window, "stride": stride, "networks": results}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
