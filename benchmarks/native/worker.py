"""One way to run one network, in a process of its own that does a step whenever it is told to.

Started by `whole_step.py`: memory settings are a process's own, so what is compared cannot share
one. Reads a line a command from standard input, prints a line of JSON each.

    {"do": "check"}   run on fixed images in evaluation: the logits, as numbers
    {"do": "step"}    one step (training or inference): its seconds
    {"do": "memory"}  the most memory that the process ever held, less what it held before the network was built, bytes
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import convscope as cs


def first(result: Any) -> Tensor:
    """Return the logits of what a network returns."""
    return result if isinstance(result, Tensor) else result[0]


def memory(field: str) -> int:
    """Return bytes that this process holds, `VmRSS`, or the most it held, `VmHWM`.

    Not `ru_maxrss`, which begins with the parent's.
    """
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Serve one configuration: network, way, batch size, `train` or `infer`."""
    name, way, batch, purpose = sys.argv[1:5]
    torch.manual_seed(0)
    torch.set_num_threads(2)
    held_before = memory("VmRSS")
    network = cs.create_model(name)
    images = torch.randn(int(batch), 3, 224, 224)
    labels = torch.randint(1000, (int(batch),))
    channels_last = way.endswith("nhwc")
    if channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        images = images.contiguous(memory_format=torch.channels_last)
    if way.startswith("accelerated"):
        cs.accelerate(network, way.split("-")[1])  # pyright: ignore[reportArgumentType]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled="bf16" in way and way.startswith("eager"))
    optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    network.train(purpose == "train")

    def step() -> None:
        if purpose == "infer":
            with torch.no_grad(), autocast:
                network(images)
            return
        optimiser.zero_grad()
        with autocast:
            loss = F.cross_entropy(first(network(images)).float(), labels)
        loss.backward()
        optimiser.step()

    def answer(do: str) -> object:
        if do == "check":
            network.eval()
            with torch.no_grad(), autocast:
                logits = first(network(images[:2])).float()
            network.train(purpose == "train")
            return logits.flatten()[:2000].tolist()
        if do == "step":
            start = time.perf_counter()
            step()
            return time.perf_counter() - start
        return memory("VmHWM") - held_before

    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line)["do"])), flush=True)


if __name__ == "__main__":
    main()
