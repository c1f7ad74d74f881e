"""The document's three layers: Python loops, plain torch and this library, on the packaged cat.

Outputs are compared first; then the loops run once and torch and the library take turns. The library's time is
that of its `nn.Conv2d` (checks and padding rules included), torch's that of `torch.nn.Conv2d`.
"""

from __future__ import annotations

import statistics
import time

import torch

from convscope.data import cat
from convscope.experiments import compare_with_loops, photograph_input, three_layers
from convscope.training import environment

ROUNDS = 200


def milliseconds(network: torch.nn.Module, image: torch.Tensor) -> float:
    """Time one pass."""
    began = time.perf_counter()
    network(image)
    return (time.perf_counter() - began) * 1e3


def plain_torch(weights: list[torch.Tensor]) -> torch.nn.Module:
    """Return the same three layers made of torch's own modules."""
    layers: list[torch.nn.Module] = []
    for number, weight in enumerate(weights):
        if number:
            layers.append(torch.nn.LeakyReLU(0.1))
        convolution = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
        convolution.weight = torch.nn.Parameter(weight)
        layers.append(convolution)
    return torch.nn.Sequential(*layers)


def main() -> None:
    """Compare, measure, print."""
    facts = environment()
    print(f"{facts['cpu']} ({facts['cpu_capability']}), {facts['threads']} threads, torch {facts['torch']}")
    layers = three_layers(cat())
    image = photograph_input(layers.photograph)
    ours = layers.network
    theirs = plain_torch([parameter.detach() for parameter in ours.parameters()])
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)
        times: dict[str, list[float]] = {"convscope": [], "torch": []}
        for _ in range(ROUNDS):
            times["convscope"].append(milliseconds(ours, image))
            times["torch"].append(milliseconds(theirs, image))
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:10} median {middle:.3f} ms, quartiles {low:.3f} to {high:.3f}, n = {len(values)}")
    loops = compare_with_loops(layers)
    print(
        f"loops      {loops.loops_seconds:.2f} s once; convscope {loops.seconds * 1e3:.3f} ms from the uint8 "
        f"photograph ({loops.fastest * 1e3:.3f} to {loops.slowest * 1e3:.3f}, n = {loops.repeats}): "
        f"ratio {loops.ratio:,.0f}, outputs {loops.relative_difference:.0e} of the largest value apart"
    )


if __name__ == "__main__":
    main()
