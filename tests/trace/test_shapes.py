"""Shape-only traces: the same tensors as a real run, without memory, and control flow where shapes decide."""

import pytest
import torch
import torch.nn.functional as F
from networks import CASES, filled, made
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from convscope.errors import UsageError
from convscope.trace import trace
from convscope.trace.meta_shapes import SHORTCUTS
from convscope.trace.operators import operator_info


@pytest.mark.parametrize("name", CASES)
def test_a_shape_and_a_tensor_give_the_same_graph(name):
    network, shape = made(name)
    by_shape, by_value = trace(network, shape), trace(network, filled(shape))
    assert [r.operator for r in by_shape.records] == [r.operator for r in by_value.records]
    assert [r.name for r in by_shape.records] == [r.name for r in by_value.records]
    assert [(t.shape, t.dtype, t.kind, t.name) for t in by_shape.tensors] == [
        (t.shape, t.dtype, t.kind, t.name) for t in by_value.tensors
    ]
    assert by_shape.edges == by_value.edges
    assert (by_shape.macs, by_shape.element_ops) == (by_value.macs, by_value.element_ops)


class Shortcuts(TorchDispatchMode):
    """Compares each shortcut with torch's own answer on meta tensors."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        info = operator_info(func)
        result = func(*args, **(kwargs or {}))
        if info.name in SHORTCUTS and info.kind == "fresh":
            made = SHORTCUTS[info.name](info.bind(args, kwargs or {}))
            if made is not None:
                pairs = (
                    [(made, result)] if isinstance(result, torch.Tensor) else zip(made, result, strict=True)
                )
                for ours, theirs in pairs:
                    assert (ours.shape, ours.dtype, ours.stride()) == (
                        theirs.shape,
                        theirs.dtype,
                        theirs.stride(),
                    )
                self.seen.add(info.name)
        return result


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shortcuts_give_what_torch_gives(memory_format):
    network = nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), (2, 1), (1, 2), dilation=(1, 2), groups=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.Conv2d(8, 8, 3, groups=4), nn.SiLU(), nn.GELU(), nn.Hardswish(),
        nn.ReLU6(), nn.Tanh(), nn.Mish(), nn.Hardsigmoid(), nn.LayerNorm(4), nn.AvgPool2d(2, 2, 1),
        nn.AdaptiveAvgPool2d((3, 2)), nn.ConvTranspose2d(8, 6, (3, 2), (2, 3), (1, 0), groups=2, dilation=(1, 2)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3), nn.Linear(3, 2, bias=False),
    )  # fmt: skip
    with Shortcuts() as mode, torch.no_grad():
        for training in (True, False):
            network.train(training)(torch.randn(2, 3, 19, 15).to(memory_format=memory_format))
        maps, column = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 1, 1)
        for first, second in ((maps, maps), (maps, column), (column, maps)):
            first.sigmoid().mul(second).add(first.sigmoid())
        laid_out = maps.to(memory_format=memory_format)
        for other in (laid_out, torch.randn(3, 1, 1), torch.randn(7), torch.randn(1), 2.5, 3, True, column):
            (laid_out * other, laid_out / other, other * laid_out, other + laid_out)
        for axes in ((2, 3), (-1,), (), 1):
            (maps.amax(axes), maps.amax(axes, keepdim=True), laid_out.amax(axes))
        spread = torch.randn(2, 3, 1, 1).expand(2, 3, 5, 7)
        for joined in (
            [laid_out, laid_out],
            [laid_out, maps],
            [maps, spread],
            [laid_out, spread],
            [maps[:, :1], maps],
        ):
            (torch.cat(joined, 1), torch.cat(joined, -3))
        (torch.cat([maps, maps], 0), torch.cat([maps[0], maps[1]], -1), torch.cat([maps, maps], 3))
    plain = {"aten.max_pool2d_with_indices", "aten.avg_pool2d", "aten._adaptive_avg_pool2d"}
    assert mode.seen >= {name for name in SHORTCUTS if not name.endswith("_")} - (
        plain if memory_format is torch.channels_last else set()
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.mean((1, 7)),
        lambda x: x.mean((1, -3)),
        lambda x: x.amax((1, 7)),
        lambda x: x.amax((1, 1)),
        lambda x: torch.cat([]),
        lambda x: torch.cat([x, x[:, :2]], 0),
        lambda x: torch.cat([x, x], 4),
        lambda x: x + x[:, :2],
        lambda x: x[0, 0] @ x[0, 0],
        lambda x: F.avg_pool2d(x, 9),
        lambda x: F.avg_pool2d(x, 2, divisor_override=0),
        lambda x: F.adaptive_avg_pool2d(x, (-1, 2)),
        lambda x: F.conv_transpose2d(x, torch.zeros(4, 1, 2, 2, device=x.device)),
        lambda x: F.conv_transpose2d(x, torch.zeros(3, 1, 2, 2, device=x.device), padding=9),
        lambda x: F.conv_transpose2d(x, torch.zeros(3, 1, 2, 2, device=x.device), groups=2),
    ],
)
def test_what_torch_refuses_shapes_refuse(call):
    class Calls(nn.Module):
        def forward(self, x):
            return call(x)

    for given in (torch.zeros(1, 3, 5, 6), (1, 3, 5, 6)):
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            trace(Calls(), given)


def test_no_activation_is_allocated():
    """A batch whose activations would need petabytes."""
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    found = trace(network, (100_000, 3, 4_000, 4_000))
    assert found.peak_bytes > 10**14
    assert found.tensors[found.outputs[0]].shape == (100_000, 64, 1999, 1999)


def test_constants_are_computed():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sizes", torch.tensor([2, 3]))

        def forward(self, x):
            steps = int(torch.arange(4).sum()) + int(self.sizes[1])  # 9
            mask = torch.zeros(x.shape[-1], dtype=torch.bool)
            mask[::2] = True
            return F.pad(x, (steps, 0)) + mask.sum().item()

    assert trace(Table(), (1, 2, 5, 6)).tensors[-1].shape == (1, 2, 5, 15)


def test_reading_a_value_of_a_shape_is_refused():
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UsageError, match=r"reads a value.*give a real tensor"):
        trace(Decides(), (1, 3, 8, 8))
    assert [r.operator for r in trace(Decides(), -torch.ones(1, 3, 8, 8)).visible][-1] == "aten.neg"


def test_devices_are_followed():
    """Networks that make tensors on the input's device, or move the input to that of a weight."""

    class Moves(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(4, 3, 1, 1))

        def forward(self, x):
            grid = torch.linspace(0, 1, x.shape[-1], device=x.device)
            return F.conv2d((x + grid).to(self.weight.device, self.weight.dtype), self.weight).cpu()

    assert trace(Moves(), (1, 3, 5, 7)).tensors[-1].shape == (1, 4, 5, 7)


def test_dynamic_control_flow_is_traced_as_executed():
    network, _ = made("dynamic")
    assert [r.name for r in trace(network, (1, 3, 8, 25)).visible] == ["conv", "conv#1", "conv#2"]
    assert len(trace(network, (1, 3, 8, 9)).visible) == 1


def test_attention_takes_the_operator_of_the_cpu():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return (
                self.attention(x, x, x, need_weights=False)[0]
                + F.scaled_dot_product_attention(*[x[:, None]] * 3)[:, 0]
            )

    network = Attends().eval()
    by_shape, by_value = trace(network, (1, 20, 8)), trace(network, torch.randn(1, 20, 8))
    assert [r.operator for r in by_shape.records] == [r.operator for r in by_value.records]
    assert (by_shape.peak_bytes, by_shape.macs) == (by_value.peak_bytes, by_value.macs)
