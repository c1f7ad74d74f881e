"""How long a trace takes: of shapes beside torchinfo, of values beside the plain forward pass.

    python benchmarks/tracing.py

What is compared runs in turns in one process, counts are compared first. torchinfo (an extra: `pip install
"convscope[bench]"`) runs the network for real to make its table, so its time grows with the batch; a trace of a
shape does not. "cold" is the first trace of a fresh process, imports of torch's own rules included.
"""

from __future__ import annotations

import importlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from convscope.models import create_seeded_model
from convscope.trace import trace
from convscope.training import environment


def in_turns(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each function, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return times


def spread(seconds: list[float]) -> str:
    """Return median and range in milliseconds."""
    middle, low, high = (1e3 * value for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{middle:.1f} ms ({low:.1f} to {high:.1f}, n = {len(seconds)})"


def shapes(name: str, size: int, rounds: int) -> None:
    """Print the time of a shape-only trace of one image."""
    network = create_seeded_model(name, 0).eval()
    trace(network, (1, 3, size, size))
    times = in_turns({"trace": lambda: trace(network, (1, 3, size, size)).records}, rounds)["trace"]
    print(f"shape-only trace, {name} at {size}: {spread(times)}")


def cold(name: str, size: int) -> None:
    """Print the time of the first trace of a process, and how far its memory grew."""
    code = (
        "import resource, time, convscope as cs\n"
        f"network = cs.create_model({name!r}).eval()\n"
        "cs.trace  # imports the package\n"
        "before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        f"found = cs.trace(network, (64, 3, {size}, {size}))\n"
        "found.records\n"
        "seconds = time.perf_counter() - start\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(seconds, grown, found.peak_bytes)\n"
    )
    rows: list[list[float]] = []
    for _ in range(5):
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        rows.append([float(number) for number in printed.split()])
    grown = max(row[1] for row in rows) / 1024
    print(
        f"the same cold, batch 64: {spread([row[0] for row in rows])}; memory of the process grew by at most "
        f"{grown:.0f} MB, its activations would need {rows[0][2] / 2**20:,.0f} MB at once"
    )


def beside_torchinfo(name: str, size: int, batch: int, rounds: int) -> None:
    """Print trace and torchinfo in turns, after comparing their counts."""
    try:
        torchinfo = importlib.import_module("torchinfo")
    except ImportError:
        print("torchinfo is not installed: pip install 'convscope[bench]'")
        return
    network = create_seeded_model(name, 0).eval()
    shape = (batch, 3, size, size)
    ours, theirs = trace(network, shape), torchinfo.summary(network, input_size=shape, verbose=0)
    print(
        f"{name}, batch {batch}: parameters {ours.num_params:,} and {theirs.total_params:,}; MACs {ours.macs:,} and "
        f"{theirs.total_mult_adds:,}"
    )
    times = in_turns(
        {
            "ours": lambda: trace(network, shape).records,
            "theirs": lambda: torchinfo.summary(network, input_size=shape, verbose=0),
        },
        rounds,
    )
    ratio = statistics.median(times["theirs"]) / statistics.median(times["ours"])
    print(f"  trace {spread(times['ours'])}; torchinfo {spread(times['theirs'])}: {ratio:.0f} times")


def overhead(name: str, size: int, batch: int, layers: list[str] | None, rounds: int) -> None:
    """Print a trace with values in turns with the plain forward pass."""
    network = create_seeded_model(name, 0).eval()
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))

    def plain() -> torch.Tensor:
        with torch.no_grad():
            return network(images)

    found = trace(network, images, layers=["fc"] if name.startswith("resnet") else None)
    if found.values:
        kept = found.values[found.outputs[0]]
        assert torch.equal(kept, plain()), "the trace computed something else"
    times = in_turns(
        {
            "plain": plain,
            "trace": lambda: trace(network, images, layers=layers),
            "costed": lambda: trace(network, images, layers=layers).records,
        },
        rounds,
    )
    ratio, costed = (
        statistics.median(times[name]) / statistics.median(times["plain"]) for name in ("trace", "costed")
    )
    kept_text = f"values of {', '.join(layers)} kept" if layers else "no values kept"
    print(
        f"value trace, {name}, batch {batch} at {size}, {kept_text}: {spread(times['trace'])}; plain forward "
        f"{spread(times['plain'])}: {ratio:.2f} times, {costed:.2f} with the records' costs worked out"
    )


def main() -> None:
    """Print the table."""
    facts = environment()
    print(f"{facts['cpu']} ({facts['cpu_capability']}), {facts['threads']} threads, torch {facts['torch']}")
    shapes("resnet50", 224, 50)
    cold("resnet50", 224)
    shapes("efficientnet_b7", 600, 20)
    cold("efficientnet_b7", 600)
    beside_torchinfo("resnet50", 224, 1, 10)
    beside_torchinfo("resnet50", 224, 32, 5)
    overhead("resnet50", 224, 1, None, 31)
    overhead("resnet50", 224, 8, ["layer1", "layer2", "layer3", "layer4"], 9)
    overhead("resnet18", 224, 1, None, 31)
    overhead("resnet18", 224, 8, None, 15)
    overhead("efficientnet_b0", 224, 1, None, 31)
    overhead("efficientnet_b0", 224, 8, None, 15)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process {peak:,.0f} MB")


if __name__ == "__main__":
    main()
