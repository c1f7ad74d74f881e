"""A whole step of nine networks: training at batch 16, inference at batch 1 and 16, beside PyTorch in all its ways.

    python benchmarks/native/whole_step.py train  [--rounds 5] [--networks resnet18 ...] [--output FILE.json]
    python benchmarks/native/whole_step.py infer
    python benchmarks/native/whole_step.py memory [--rounds 5]

Images are 224x224, threads two. Each way runs in a process of its own, in turns; the first step of each is not counted.
Ways: eager PyTorch in its default layout (what people run), channels-last, both under bfloat16 autocast where the CPU
has instructions for it, and accelerated in float32 and, there, in bfloat16. Outputs are compared first: float32 ways
must agree within 1e-4 of the largest logit. Also recorded: the machine's limits.

`memory` is the most that a process holds which does nothing but steps of training, less what it held before the network
was built; every round is a new process, as no two hold the same.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from turns import Worker, quartiles, ratio_of_medians, relative_difference

from convscope.acceleration import measure_limits
from convscope.kernels import processor
from convscope.training import environment

NETWORKS = (
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenet_v2",
)
TOLERANCE = 1e-4
STEPS = 4  # of training, after which a process's memory grows no more


def ways() -> list[str]:
    """Return the configurations of this CPU."""
    found = ["eager-fp32-nchw", "eager-fp32-nhwc"]
    if processor().native_bf16:
        found += ["eager-bf16-nchw", "eager-bf16-nhwc"]
    found.append("accelerated-fp32")
    if processor().native_bf16:
        found.append("accelerated-bf16")
    return found


def measure(name: str, batch: int, purpose: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of every way for one network, in turns."""
    workers = {way: Worker(name, way, str(batch), purpose) for way in ways()}
    try:
        logits = {way: worker.ask("check") for way, worker in workers.items()}
        differences = {
            way: relative_difference(each, logits["eager-fp32-nchw"]) for way, each in logits.items()
        }
        for way, difference in differences.items():
            if "fp32" in way and not difference <= TOLERANCE:
                sys.exit(
                    f"{name}, {way}: logits differ by {difference:.1e} of the largest; nothing was timed."
                )
        seconds: dict[str, list[float]] = {way: [] for way in workers}
        for turn in range(rounds + 1):
            for way, worker in workers.items():
                took = worker.ask("step")
                if turn:
                    seconds[way].append(took)
    finally:
        for worker in workers.values():
            worker.close()
    row = {"network": name, "batch": batch, "seconds": seconds, "differences": differences}
    print(line(row), flush=True)
    return row


def line(row: dict[str, Any]) -> str:
    """Return a row as text: medians, the ratios, memory."""
    seconds = row["seconds"]
    cells = []
    for way, each in seconds.items():
        low, middle, high = quartiles(each)
        cells.append(f"{way} {1e3 * middle:.0f} ({1e3 * low:.0f}-{1e3 * high:.0f})")
    found = ratios(row)
    text = f"{row['network']:<16} batch {row['batch']:>2}  " + ", ".join(cells) + " ms"
    return f"{text}\n    " + ", ".join(f"{key} {value:.2f}x" for key, value in found.items())


def measure_memory(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return the most bytes of some processes of every way that train one network."""
    held: dict[str, list[int]] = {way: [] for way in ways()}
    for _ in range(rounds):
        for way, found in held.items():
            worker = Worker(name, way, str(batch), "train")
            try:
                for _ in range(STEPS):
                    worker.ask("step")
                found.append(worker.ask("memory"))
            finally:
                worker.close()
    row = {"network": name, "batch": batch, "bytes": held}
    print(memory_line(row), flush=True)
    return row


def memory_line(row: dict[str, Any]) -> str:
    """Return a row of memory as text: medians, the least and the most, and ratios to both layouts of eager."""
    cells = [
        f"{way} {statistics.median(each) / 2**20:.0f} ({min(each) / 2**20:.0f}-{max(each) / 2**20:.0f})"
        for way, each in row["bytes"].items()
    ]
    found = ", ".join(f"{key} {value:.2f}" for key, value in memory_ratios(row).items())
    return f"{row['network']:<16} batch {row['batch']:>2}  {', '.join(cells)} MiB\n    {found}"


def memory_ratios(row: dict[str, Any]) -> dict[str, float]:
    """Return the memory of the accelerated network in float32 over that of eager in both layouts."""
    held = row["bytes"]
    return {
        f"over {way}": statistics.median(held["accelerated-fp32"]) / statistics.median(held[way])
        for way in ("eager-fp32-nchw", "eager-fp32-nhwc")
    }


def memory_summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the largest ratios."""
    each = [memory_ratios(row) for row in rows]
    return {f"most {key}": max(found[key] for found in each) for key in each[0]}


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Return how many times faster: fp32 over the default, the best over the default, the best over the best eager."""
    seconds = row["seconds"]
    eager = [each for way, each in seconds.items() if way.startswith("eager")]
    ours = [each for way, each in seconds.items() if way.startswith("accelerated")]
    default, best_eager = seconds["eager-fp32-nchw"], min(eager, key=statistics.median)
    best = min(ours, key=statistics.median)
    return {
        "fp32 over default": ratio_of_medians(default, seconds["accelerated-fp32"]),
        "over default": ratio_of_medians(default, best),
        "over best eager": ratio_of_medians(best_eager, best),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the geometric means of the ratios."""
    each = [ratios(row) for row in rows]
    return {
        f"geomean {key}": math.exp(statistics.fmean(math.log(found[key]) for found in each))
        for key in each[0]
    } | {"least over best eager": min(found["over best eager"] for found in each)}


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("purpose", choices=("train", "infer", "memory"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    limits = measure_limits()
    print(f"{environment()}\n{limits}")
    if options.purpose == "memory":
        rows = [measure_memory(name, 16, options.rounds) for name in options.networks]
        found = memory_summary(rows)
    else:
        batches = (16,) if options.purpose == "train" else (1, 16)
        rows = [
            measure(name, batch, options.purpose, options.rounds)
            for batch in batches
            for name in options.networks
        ]
        found = summary(rows)
    print(", ".join(f"{key} {value:.2f}" for key, value in found.items()))
    if options.output:
        content = {
            "purpose": options.purpose,
            "environment": environment(),
            "limits": limits.to_dict(),
            "rows": rows,
            "summary": found,
        }
        options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
