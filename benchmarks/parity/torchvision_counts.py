"""Trace every classifier and segmentation network of torchvision; compare MACs and parameters with torch's own.

In an environment of its own, which has torchvision:

    PYTHONPATH=src python benchmarks/parity/torchvision_counts.py | tee benchmarks/parity/torchvision_counts.txt

Networks are built on the meta device where they can be, and traced from a shape. A line a network: MACs of the
trace beside FlopCounterMode / 2, parameters beside the set of distinct ones, operators without a rule, and operators
through which the receptive field is not known exactly. Exits 1 if a count differs or an operator is not counted.
"""

from __future__ import annotations

import sys

import torch
import torchvision  # pyright: ignore[reportMissingImports]
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, list_models  # pyright: ignore[reportMissingImports]

from convscope.trace import trace

VIDEO = ("r3d", "mc3", "r2plus1d", "mvit", "s3d", "swin3d")
SEGMENTATION = ("deeplab", "fcn_", "lraspp")
LEFT_OUT = ("raft", "quantized", "rcnn", "retinanet", "fcos", "ssd")  # their control flow needs values


def built(name: str) -> nn.Module:
    """Return the network without weights, in evaluation mode, on the meta device."""
    options = {"weights_backbone": None} if name.startswith(SEGMENTATION) else {}
    try:
        with torch.device("meta"):
            return get_model(name, weights=None, **options).eval()
    except NotImplementedError:  # reads its own numbers while it is built
        return get_model(name, weights=None, **options).eval().to("meta")


def main() -> int:
    """Print the table."""
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    names = [name for name in list_models() if not any(part in name for part in LEFT_OUT)]
    wrong = 0
    for name in names:
        network = built(name)
        size = 299 if name == "inception_v3" else 224
        shape = (1, 3, 16, size, size) if any(part in name for part in VIDEO) else (1, 3, size, size)
        found = trace(network, shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(shape, device="meta"))
        macs = counter.get_total_flops() // 2
        params = sum({id(p): p.numel() for p in network.parameters()}.values())
        same = (found.macs, found.num_params) == (macs, params) and not found.not_counted
        wrong += not same
        unknown = found.fields().of(found.outputs[0]).unknown
        notes = "".join(
            (
                "" if same else f"; DIFFERS: {macs:,} MACs, {params:,} parameters",
                f"; not counted {found.not_counted}" if found.not_counted else "",
                f"; field not exact through {len(unknown)} operators" if unknown else "",
            )
        )
        print(f"{name:30} {found.macs:>18,} MACs {found.num_params:>13,} parameters{notes}")
    print(f"{len(names)} networks, {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
