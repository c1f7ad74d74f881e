"""Several processes, on one machine or many, that train one network together.

`torchrun` starts them and tells each its rank in the environment; they talk through torch's gloo. Each takes its
share of every batch, and what one process would compute from all of it comes out: gradients are averaged by
`DistributedDataParallel` with the shares as weights, batch norm takes its statistics over all processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from convscope.data.batches import share_of
from convscope.errors import UsageError

__all__ = ["Team", "is_first_process", "team"]


class Team:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: this process's number, from 0; `size` is how many there are.
        restarts: how often torchrun has started the team anew after a process was lost.
    """

    def __init__(self, rank: int = 0, size: int = 1, restarts: int = 0) -> None:
        self.rank, self.size, self.restarts = rank, size, restarts

    @property
    def writes(self) -> bool:
        """Tell whether this process writes the run folder."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up each number over all processes."""
        if self.size == 1:
            return list(values)
        return self.sum_tensor(torch.tensor(values, dtype=torch.float64)).tolist()

    def sum_tensor(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share_of(self, count: int) -> slice:
        """Return this process's share of so many things, as `Batches` cuts them."""
        return share_of(count, self.rank, self.size)

    def unite(self, network: nn.Module) -> nn.Module:
        """Return what to call for a training step: the network with gradients averaged over the processes.

        Its batch norms are replaced by such as take their statistics over all processes, in place; keys stay.
        """
        if self.size == 1:
            return network
        _synchronise_norms(network)
        return DistributedDataParallel(network)


@contextmanager
def team() -> Iterator[Team]:
    """Yield the processes that torchrun started, connected while the block runs; without torchrun a team of one.

    Raises:
        UsageError: the environment names a size without the rest of what torchrun sets.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield Team(restarts=_restarts())
        return
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if lacking or not size.isdigit():
        raise UsageError(
            f"WORLD_SIZE is {size!r} in the environment, but {', '.join(lacking) or 'that is no number'} is missing; "
            "start with torchrun, or unset it.",
            call="train",
        )
    restarts = _restarts()
    store, rank, number = next(rendezvous("env://"))
    # One store serves all starts of a team: without names of its own, one finds the addresses of those that were lost.
    dist.init_process_group(
        "gloo", store=PrefixStore(f"start-{restarts}", store), rank=rank, world_size=number
    )
    try:
        yield Team(rank, number, restarts)
    finally:
        dist.destroy_process_group()


def is_first_process() -> bool:
    """Tell whether this process is the one of its team, or the only one, that writes and speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0)


class _SummedOverTeam(torch.autograd.Function):
    """A sum over processes; its gradient is the sum of theirs, since the loss of each depends on it."""

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        total = input.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total


class _TeamBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with statistics over all processes; in evaluation torch's own."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        axes = (0, 2, 3)
        sums = torch.cat([each.sum(axes, dtype=torch.float64) for each in (input, input.square())])
        count = torch.full((1,), input.numel() / input.shape[1], dtype=torch.float64)
        *moments, total = _SummedOverTeam.apply(torch.cat([sums, count])).split(self.num_features)  # type: ignore[union-attr]
        mean = moments[0] / total
        variance = moments[1] / total - mean.square()
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            self._track(mean.detach(), variance.detach() * total / (total - 1))
        inverse = (variance + self.eps).rsqrt()
        weight, bias = self.weight, self.bias
        scale = inverse if weight is None else inverse * weight
        offset = -mean * scale if bias is None else bias - mean * scale
        return input * scale.to(input.dtype)[:, None, None] + offset.to(input.dtype)[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance.to(self.running_var.dtype), factor)


def _synchronise_norms(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                twin = _TeamBatchNorm2d(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                twin._parameters, twin._buffers = child._parameters, child._buffers
                twin.training = child.training
                setattr(parent, name, twin)
            elif isinstance(child, nn.modules.batchnorm._BatchNorm):
                raise UsageError(
                    f"{type(child).__name__} has no form for several processes; train in one process.",
                    call="train",
                )
