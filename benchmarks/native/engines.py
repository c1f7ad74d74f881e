"""Inference through `accelerate` beside eager PyTorch, ONNX Runtime and OpenVINO: the distance to serving engines.

The engines live in an environment of their own (torch 2.14.1, torchvision 0.29.1, onnx, onnxscript, onnxruntime,
openvino), with this tree and its native library (`make kernels`) on the path:

    PYTHONPATH=src python benchmarks/native/engines.py [--rounds 9]

torchvision's own networks, 224x224, two threads, all in turns in one process; results within 1e-4 of eager's, else they
are not timed. bfloat16 is measured where the CPU has instructions for it.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime  # pyright: ignore[reportMissingImports]
import openvino  # pyright: ignore[reportMissingImports]
import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import Tensor

from convscope import kernels
from convscope.acceleration import accelerate

NETWORKS = (
    "mobilenet_v2",
    "efficientnet_b0",
    "resnet18",
    "googlenet",
    "resnet50",
    "convnext_tiny",
    "resnext50_32x4d",
    "alexnet",
    "vgg11_bn",
)


def exported(network: torch.nn.Module, images: Tensor) -> bytes:
    """Return a network as ONNX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
    assert program is not None
    buffer = io.BytesIO()
    program.save(buffer)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def engines(network: torch.nn.Module, images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return the ways to run a network on some images."""
    model = exported(network, images)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take others' cores
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    pixels = images.numpy()
    core, found = openvino.Core(), {}
    kinds = ["f32"] + (["bf16"] if kernels.processor().native_bf16 else [])
    for kind in kinds:
        settings = {
            "INFERENCE_PRECISION_HINT": kind,
            "INFERENCE_NUM_THREADS": 2,
            "PERFORMANCE_HINT": "LATENCY",
        }
        found[f"OpenVINO {kind}"] = core.compile_model(core.read_model(model), "CPU", settings)

    def eager() -> Tensor:
        return network(images)

    ways: dict[str, Callable[[], Tensor]] = {"eager": eager}
    for precision in ["fp32"] + (["bf16"] if kernels.processor().native_bf16 else []):
        fast = accelerate(copy.deepcopy(network), precision)  # pyright: ignore[reportArgumentType]
        ways[f"accelerated {precision}"] = lambda fast=fast: fast(images)
    ways["ONNX Runtime f32"] = lambda: torch.from_numpy(session.run(None, {name: pixels})[0])
    for kind, compiled in found.items():
        ways[kind] = lambda compiled=compiled: torch.from_numpy(compiled(pixels)[0])
    return ways


def main() -> None:
    """Compare, time in turns, print, write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parsed = parser.parse_args()
    rounds = parsed.rounds
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    kernels.self_test()
    rows: list[dict[str, Any]] = []
    for name in parsed.networks:
        torch.manual_seed(0)
        extra = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        network = torchvision.models.get_model(name, weights=None, **extra).eval()
        for batch in (1, 16):
            images = torch.randn(batch, 3, 224, 224)
            ways = engines(network, images)
            truth = ways["eager"]()
            for way in list(ways):
                difference = float((ways[way]() - truth).abs().max() / truth.abs().max())
                if "bf16" not in way and not difference < 1e-4:
                    print(f"{name}, {way}: {difference:.1e} apart, left out")
                    del ways[way]
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, run in ways.items():
                    start = time.perf_counter()
                    run()
                    seconds[way].append(time.perf_counter() - start)
            middles = {way: 1e3 * statistics.median(each) for way, each in seconds.items()}
            rows.append({"network": name, "batch": batch, "seconds": seconds})
            print(
                f"{name:<16} batch {batch:>2}  "
                + ", ".join(f"{w} {m:.1f}" for w, m in middles.items())
                + " ms",
                flush=True,
            )
    ways_found = [way for way in rows[0]["seconds"] if way != "eager"]
    for way in ways_found:
        ratios = [
            statistics.median(row["seconds"]["eager"]) / statistics.median(row["seconds"][way])
            for row in rows
            if way in row["seconds"]
        ]
        print(
            f"geomean over eager: {way} {math.exp(statistics.fmean(map(math.log, ratios))):.2f}x of {len(ratios)}"
        )
    content = {"rows": rows, "torch": torch.__version__, "cpu": kernels.processor().name}
    (Path(__file__).parent / "engines.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
