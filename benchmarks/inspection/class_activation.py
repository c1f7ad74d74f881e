"""Grad-CAM of 64 images beside captum's, in turns, outputs compared first.

    python benchmarks/inspection/class_activation.py [--batch 64] [--rounds 7] [--json FILE]

Each way has a process of its own, of which one works at a time: what a process keeps of freed memory is its own. Both
are used as people use them: a network in evaluation mode, its parameters as they come, `LayerGradCam` with the layer
that the trace chooses. CPU time tells what a shared machine hides. captum is a development dependency.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope.inspection import class_activation
from convscope.models import create_seeded_model
from convscope.report.terminal import table
from convscope.training import cpu_name, environment

WAYS: tuple[str, ...] = ("captum", "ours as it is", "ours")
CLASS = 281
NETWORKS = ("resnet18", "mobilenet_v2", "vgg11_bn")


def theirs(network: nn.Module, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return captum's Grad-CAM of a layer."""
    from captum.attr import LayerGradCam

    cam = LayerGradCam(network, network.get_submodule(layer))

    def turn(images: torch.Tensor) -> torch.Tensor:
        maps = cam.attribute(images, CLASS)
        assert isinstance(maps, torch.Tensor)
        return maps.detach()[:, 0]

    return turn


def ours(network: nn.Module, accelerate: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return ours, which looks for the layer each time."""
    return lambda images: class_activation(
        network, images, target=CLASS, relu=False, accelerate=accelerate
    ).maps[:, 0]


def serve(name: str, way: str, batch: int) -> None:
    """Do one thing at a time: a line in is a turn, a line out its seconds, memory and map."""
    torch.manual_seed(0)
    network = create_seeded_model(name, 0).eval()
    images = torch.randn(batch, 3, 224, 224)
    layer = class_activation(network, images[:1]).layer
    held = memory("VmRSS")
    turn = theirs(network, layer) if way == "captum" else ours(network, way == "ours")
    for _ in sys.stdin:
        began, used = time.perf_counter(), time.process_time()
        maps = turn(images)
        seconds = time.perf_counter() - began
        answer = {
            "seconds": seconds,
            "cpu": time.process_time() - used,
            "bytes": memory("VmHWM") - held,
            "layer": layer,
            "maps": maps.flatten().tolist(),
        }
        print(json.dumps(answer), flush=True)


def memory(field: str) -> int:
    """Return bytes that this process holds, `VmRSS`, or the most it held, `VmHWM`."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


class Worker:
    """A process that serves one way."""

    def __init__(self, name: str, way: str, batch: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, way, "--batch", str(batch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def turn(self) -> dict[str, Any]:
        """Let the process take its turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measured(name: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return seconds, memory and differences of all ways for one network."""
    workers = {way: Worker(name, way, batch) for way in WAYS}
    first = {way: worker.turn() for way, worker in workers.items()}  # imports, memory, routes: not counted
    truth = torch.tensor(first["captum"]["maps"])
    worst = {
        way: float((torch.tensor(answer["maps"]) - truth).abs().max() / truth.abs().max())
        for way, answer in first.items()
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    peak = dict.fromkeys(WAYS, 0)
    for _ in range(rounds):
        for way, worker in workers.items():
            answer = worker.turn()
            seconds[way].append(answer["seconds"])
            cpu[way].append(answer["cpu"])
            peak[way] = answer["bytes"]
    for worker in workers.values():
        worker.close()
    return {
        "layer": first["ours"]["layer"],
        "seconds": seconds,
        "cpu": cpu,
        "bytes": peak,
        "difference": worst,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, way = arguments.serve
        serve(name, way, arguments.batch)
        return
    facts = environment()
    print(f"{cpu_name()}, {facts['threads']} threads, torch {facts['torch']}, {facts['time']}")
    results, rows = {}, []
    for name in arguments.networks:
        found = results[name] = measured(name, arguments.batch, arguments.rounds)
        slow, busy = (statistics.median(found[unit]["captum"]) for unit in ("seconds", "cpu"))
        for way, each in found["seconds"].items():
            low, middle, high = statistics.quantiles(each, n=4, method="inclusive")
            rows.append(
                (
                    f"{name}, {found['layer']}: {way}",
                    f"{middle:.2f} s",
                    f"{low:.2f} to {high:.2f}",
                    f"{slow / middle:.2f}x",
                    f"{busy / statistics.median(found['cpu'][way]):.2f}x",
                    f"{found['bytes'][way] / 2**20:,.0f} MB",
                    f"{found['difference'][way]:.0e}",
                )
            )
    print(f"Grad-CAM of {arguments.batch} images of 224x224, {arguments.rounds} turns each")
    print(
        table(
            ("way", "median", "quartiles", "over captum", "in CPU time", "memory above the network", "apart"),
            rows,
        )
    )
    if arguments.json:
        content = {"environment": facts, "batch": arguments.batch, "networks": results}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
