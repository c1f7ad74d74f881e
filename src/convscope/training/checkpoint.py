"""A run's exact position in one file, so that it goes on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from convscope.errors import RunError
from convscope.files import write_bytes

__all__ = ["Position", "load_checkpoint", "save_checkpoint"]


@dataclass(slots=True)
class Position:
    """How far training has come: `step` steps into `epoch`, with that epoch's sums so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    num_right: int = 0
    num_seen: int = 0
    seconds: float = 0.0


def save_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, at: Position) -> None:
    """Write weights, optimiser state and position as one safetensors file, whole or not at all."""
    tensors = {f"network.{key}": _packed(value) for key, value in network.state_dict().items()}
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = _packed(value)
    # JSON keeps a float to its last bit, so the sums go on exactly.
    write_bytes(path, safetensors.torch.save(tensors, metadata={"position": json.dumps(asdict(at))}))


def _packed(value: Tensor) -> Tensor:
    return value.detach().clone(memory_format=torch.contiguous_format)


def load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Put network and optimiser back where `save_checkpoint` found them and return the position.

    Raises:
        RunError: the file is damaged, or belongs to another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            position = Position(**json.loads((file.metadata() or {})["position"]))
        tensors = safetensors.torch.load_file(path)
        prefix = "network."
        weights = {
            key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
        }
        network.load_state_dict(weights, strict=True)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"checkpoint {str(path)!r} cannot be resumed: {' '.join(str(error).split())}; start a new run.",
            call="train",
        ) from error
    return position
