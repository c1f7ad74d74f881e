"""Networks that an audit has something to say about, and similar ones of which it must not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from convscope.nn import BlurPool2d


class Calls(nn.Module):
    """A network from a function of its layers and its input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def classifier(*layers, channels=8):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def chain(count, residual=False, stride=2):
    first = nn.Conv2d(3, 8, 3, stride, 1)
    rest = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(count)]
    if not residual:
        return nn.Sequential(first, *rest)
    return nn.Sequential(first, *(Calls(lambda m, x: x + m.conv(x), conv=conv) for conv in rest))


def filled(layer, weight=None, bias=None):
    with torch.no_grad():
        if weight is not None:
            layer.weight.fill_(weight)
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias))
    return layer


def images(count=8, size=8):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def fixed_blur(kernel, size=2):
    network = Calls(lambda m, x: m.conv(F.conv2d(x, m.taps, groups=3)), conv=nn.Conv2d(3, 8, size, 2))
    network.register_buffer("taps", torch.tensor(kernel).expand(3, 1, 2, 2))
    return network


def both(network, x):
    x = network.conv(x)
    return x, network.norm(x)


def tied():
    network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6, bias=False))
    network[1].weight = network[0].weight
    return network


@dataclass(frozen=True)
class Case:
    """A network that raises a kind, where and with which numbers (some of them); a similar one that does not.

    `fine` and `fine_input` are the same network and input unless given.
    """

    kind: str
    severity: str
    network: Callable[[], nn.Module]
    input: Any
    place: str
    numbers: dict[str, float]
    options: dict[str, Any] = field(default_factory=dict)
    fine: Callable[[], nn.Module] | None = None
    fine_input: Any = None
    fine_options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("dropped-pixels", "warning", lambda: nn.Conv2d(3, 8, 1, 2), (1, 3, 8, 8), "convolution",
         {"unread_share": 0.75, "unread_height": 4, "unread_width": 4, "height": 8, "other_readers": 0},
         fine=lambda: nn.Conv2d(3, 8, 2, 2)),
    Case("dropped-pixels", "warning", lambda: fixed_blur([[2.0, -1.0], [-1.0, 1.0]], 1), (1, 3, 8, 8), "conv",
         {"unread_height": 3, "height": 7}, fine=lambda: fixed_blur([[0.25, 0.25], [0.25, 0.25]], 1)),
    Case("dropped-pixels", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2)), (1, 3, 40, 41), "0",
         {"unread_height": 1, "unread_width": 0, "unread_share": 1 / 40}, fine_input=(1, 3, 41, 41)),
    Case("dropped-pixels", "warning", lambda: nn.Sequential(nn.MaxPool2d(2)), (1, 3, 7, 7), "0",
         {"unread_height": 1, "unread_share": 13 / 49},
         fine=lambda: nn.Sequential(nn.MaxPool2d(2, ceil_mode=True))),
    # An average before it does not bring back a row that no window reaches.
    Case("dropped-pixels", "warning", lambda: nn.Sequential(nn.AvgPool2d(2, 1), nn.MaxPool2d(2)), (1, 3, 8, 8), "1",
         {"unread_height": 1, "height": 7}, fine_input=(1, 3, 9, 9)),
    Case("small-receptive-field", "warning", lambda: classifier(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)),
         (1, 3, 32, 32), "1", {"receptive_field": 5, "input_size": 32},
         fine=lambda: classifier(nn.Conv2d(3, 8, 9, 2), nn.Conv2d(8, 8, 5))),
    Case("small-receptive-field", "warning", lambda: chain(2, stride=1), (1, 3, 32, 32), "2",
         {"receptive_field": 7, "object_size": 8}, options={"object_size": 8}, fine_options={"object_size": 7}),
    # A dense layer weighs every position by itself.
    Case("small-receptive-field", "warning", lambda: classifier(nn.Conv2d(3, 8, 3)), (1, 3, 32, 32), "0",
         {"receptive_field": 3},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(5), nn.Flatten(), nn.Linear(8 * 36, 10))),
    Case("unproductive-layers", "warning", lambda: chain(4), (1, 3, 12, 12), "4",
         {"field_before": 15, "input_size": 12},
         fine=lambda: chain(4, residual=True)),
    Case("unproductive-layers", "warning", lambda: chain(4), (1, 3, 14, 14), "4", {"field_before": 15},
         fine_input=(1, 3, 15, 15)),
    Case("aliasing", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1)), (1, 3, 9, 9), "0",
         {"stride_height": 2},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), BlurPool2d())),
    Case("aliasing", "note", lambda: nn.Sequential(nn.MaxPool2d(2)), (1, 3, 8, 8), "0", {"stride_width": 2},
         fine=lambda: nn.Sequential(nn.AvgPool2d(2))),
    Case("aliasing", "note", lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (1, 3, 8, 8), "1", {},
         fine=lambda: nn.Sequential(nn.AvgPool2d(2, 1), nn.ZeroPad2d(1), nn.MaxPool2d(2))),
    Case("aliasing", "note", lambda: nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, groups=8)), (1, 8, 9, 9), "0", {},
         fine=lambda: fixed_blur([[0.25, 0.25], [0.25, 0.25]]), fine_input=(1, 3, 9, 9)),
    Case("checkerboard", "warning", lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2)), (1, 3, 8, 8), "0",
         {"fewest_products": 1, "most_products": 4, "kernel_height": 3, "stride_height": 2},
         fine=lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 4, 2))),
    Case("checkerboard", "warning", lambda: nn.Sequential(nn.ConvTranspose1d(3, 4, 4, 2, dilation=2)), (1, 3, 8),
         "0", {"fewest_products": 0, "most_products": 4},
         fine=lambda: nn.Sequential(nn.ConvTranspose1d(3, 4, 4, 2, dilation=3))),
    Case("kernel-wider-than-input", "warning", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=6, dilation=6)),
         (1, 3, 6, 9), "0", {"span_height": 13, "height": 6, "width": 9, "taps": 9, "dead_taps": 6},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=4, dilation=4)), fine_input=(1, 3, 9, 9)),
    Case("kernel-wider-than-input", "warning", lambda: nn.Sequential(nn.ZeroPad2d(3), nn.Conv2d(3, 8, 7)),
         (1, 3, 3, 3), "1", {"span_height": 7, "height": 3, "dead_taps": 24}, fine_input=(1, 3, 7, 7)),
    Case("kernel-wider-than-input", "warning", lambda: nn.Sequential(nn.Conv2d(3, 8, 5, padding=2)), (1, 3, 2, 2), "0",
         {"taps": 25, "dead_taps": 16},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1))),
    # Of the 2 x 2 taps, those at the edges see one half: not the most.
    Case("mostly-padding", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 2, padding=1)), (1, 3, 2, 2), "0",
         {"outputs": 9, "padded_outputs": 4}, fine_input=(1, 3, 4, 4)),
    Case("mostly-padding", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), (1, 3, 3, 3), "0",
         {"outputs": 9, "padded_outputs": 4}, fine_input=(1, 3, 4, 4)),
    Case("mostly-padding", "warning", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1)), (1, 3, 2, 2), "0",
         {"outputs": 4, "padded_outputs": 4, "padded_share": 1.0},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 2))),
    Case("dense-concentration", "warning",
         lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10)), (1, 3, 8, 8), "2",
         {"num_params": 2890, "total_params": 2890 + 224},
         fine=lambda: classifier(nn.Conv2d(3, 8, 3))),
    Case("dense-concentration", "warning", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 10, 6)),
         (1, 3, 8, 8), "1", {"num_params": 2890},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 10, 1))),
    Case("bias-before-norm", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (2, 3, 8, 8),
         "0", {"num_params": 8},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))),
    Case("bias-before-norm", "note", lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), (2, 6), "0",
         {"num_params": 4}, options={"mode": "eval"},
         fine=lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4))),
    Case("bias-before-norm", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8)), (1, 3, 8, 8),
         "0", {"num_params": 8},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))),
    Case("bias-before-norm", "note",
         lambda: Calls(lambda m, x: m.norm(m.conv(x)), conv=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm2d(8)),
         (2, 3, 8, 8), "conv", {"num_params": 8},
         fine=lambda: Calls(both, conv=nn.Conv2d(3, 8, 3), norm=nn.BatchNorm2d(8))),
    Case("unused-parameters", "warning",
         lambda: Calls(lambda m, x: m.used(x), used=nn.Linear(6, 4), spare=nn.Linear(3, 7)), (2, 6), "spare.weight",
         {"num_params": 21},
         fine=lambda: Calls(lambda m, x: m.used(x), used=nn.Linear(6, 4))),
    Case("tied-parameters", "note", tied, (2, 6), "0.weight", {"num_params": 36, "names": 2},
         fine=lambda: nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))),
    Case("frozen-parameters", "note", lambda: nn.Sequential(nn.Linear(6, 4).requires_grad_(False), nn.Linear(4, 2)),
         (2, 6), "0.weight", {"num_params": 24},
         fine=lambda: nn.Linear(6, 4)),
    Case("no-gradient", "warning",
         lambda: Calls(lambda m, x: m.b(m.a(x).detach()), a=nn.Linear(6, 4), b=nn.Linear(4, 2)), (2, 6), "a.weight",
         {"num_params": 24},
         fine=lambda: Calls(lambda m, x: m.b(m.a(x)), a=nn.Linear(6, 4), b=nn.Linear(4, 2))),
    Case("no-gradient", "error", lambda: Calls(lambda m, x: m.a(x).argmax(1), a=nn.Linear(6, 4)), (2, 6),
         "a.weight", {"num_params": 24},
         fine=lambda: Calls(lambda m, x: m.a(x).softmax(1), a=nn.Linear(6, 4))),
    Case("no-gradient", "error",
         lambda: Calls(lambda m, x: m.a(x).sigmoid().mul(2).exp().mul_(2), a=nn.Linear(6, 4)), (2, 6), "",
         {"num_params": 28},
         fine=lambda: Calls(lambda m, x: m.a(x).sigmoid().mul(2).exp().mul(2), a=nn.Linear(6, 4))),
    Case("zero-gradient", "note", lambda: nn.Sequential(nn.Linear(6, 4), filled(nn.Linear(4, 2), 0)), (2, 6),
         "0.weight", {"num_params": 24},
         fine=lambda: nn.Sequential(nn.Linear(6, 4), filled(nn.Linear(4, 2), 1))),
    Case("dead-units", "warning",
         lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[-99.0, 0, 0, 0]), nn.ReLU()), images(), "1",
         {"dead_channels": 1, "channels": 4, "images": 8},
         fine=lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[-99.0, 0, 0, 0]), nn.LeakyReLU())),
    Case("dead-units", "note", lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[-99.0] * 4), nn.ReLU6()),
         images(1), "1", {"dead_channels": 4, "images": 1},
         fine=lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[9.0] * 4), nn.ReLU6())),
    # 8 values of a unit say too little.
    Case("dead-units", "warning",
         lambda: nn.Sequential(nn.Flatten(), filled(nn.Linear(192, 2), bias=[-99.0, 0]), nn.ReLU()), images(40),
         "2", {"dead_channels": 1, "images": 40}, fine_input=images(8)),
    Case("saturated-activations", "warning",
         lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[9.0, 9, 9, -9]), nn.Sigmoid(), nn.Conv2d(4, 1, 1)),
         images(), "1", {"low_share": 0.25, "high_share": 0.75},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 1, 1))),
    # An answer near 0 or 1 is no fault.
    Case("saturated-activations", "warning",
         lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[9.0] * 4), nn.Tanh(), nn.Conv2d(4, 1, 1)), images(),
         "1", {"saturated_share": 1.0, "low_share": 0.0},
         fine=lambda: nn.Sequential(filled(nn.Conv2d(3, 4, 3), bias=[9.0] * 4), nn.Sigmoid())),
    Case("odd-channels", "note", lambda: nn.Sequential(nn.Conv2d(64, 66, 3), nn.Conv2d(66, 10, 3)), (1, 64, 56, 56),
         "0", {"channels": 66}, options={"gradients": False},
         fine=lambda: nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 10, 3)), fine_options={"gradients": False}),
    # Too little work to matter.
    Case("odd-channels", "note", lambda: nn.Sequential(nn.Conv2d(64, 66, 3), nn.Conv2d(66, 10, 3)), (1, 64, 56, 56),
         "0", {"channels": 66}, options={"gradients": False}, fine_input=(1, 64, 9, 9)),
    Case("slow-operator", "note", lambda: nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)), (1, 8, 8, 8), "0",
         {"macs": 8 * 9 * 36, "macs_share": 1.0},
         fine=lambda: nn.Sequential(nn.Conv2d(8, 8, 3))),
    Case("slow-operator", "note", lambda: nn.Sequential(nn.Conv2d(32, 32, 3, groups=8)), (1, 32, 8, 8), "0", {},
         fine=lambda: nn.Sequential(nn.Conv2d(32, 32, 3, groups=2))),
    Case("slow-operator", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 15)), (1, 3, 20, 20), "0", {},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 16, 16)), fine_input=(1, 3, 32, 32)),
    Case("slow-operator", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3)).double(), (1, 3, 8, 8), "0", {},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3)).bfloat16()),
    Case("slow-operator", "note", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, dilation=2)).bfloat16(), (1, 3, 8, 8),
         "0", {},
         fine=lambda: nn.Sequential(nn.Conv2d(3, 8, 3, dilation=2))),
    Case("memory-peak", "error", lambda: nn.Conv2d(3, 8, 3), (2, 3, 8, 8), "",
         {"limit_bytes": 1000, "weights_bytes": 896, "peak_bytes": 4 * (2 * 3 * 64 + 2 * 8 * 36)},
         options={"memory_limit": 1000}, fine_options={"memory_limit": 9000}),
    # Inputs, four maps, weights and gradients.
    Case("memory-peak", "warning", lambda: chain(3), (2, 3, 8, 8), "",
         {"training_bytes": 4 * (2 * 3 * 64 + 4 * 2 * 8 * 16 + 2 * (224 + 3 * 584))},
         options={"memory_limit": 15000}, fine_options={"memory_limit": 10**9}),
    # Inputs and one map, which the activation overwrites.
    Case("memory-peak", "error", lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)), (2, 3, 8, 8), "",
         {"training_bytes": 4 * (2 * 3 * 64 + 2 * 8 * 36 + 2 * 224)}, options={"memory_limit": 1},
         fine_options={"memory_limit": 9000}),
    Case("input-too-small", "error", lambda: nn.Sequential(nn.Conv2d(3, 4, 7), nn.Conv2d(4, 4, 7)), (1, 3, 10, 10),
         "1", {"input_size": 10, "smallest_size": 13}, fine_input=(1, 3, 13, 13)),
    Case("input-too-small", "warning", lambda: nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 3, padding=1)),
         (1, 3, 4, 4), "1", {"taps": 9, "dead_taps": 8},
         fine=lambda: nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 1))),
    Case("input-refused", "error", lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), (1, 4, 8, 8), "1", {},
         fine_input=(1, 3, 8, 8)),
    Case("not-counted", "note", lambda: Calls(lambda m, x: m.a(torch.fft.rfft(x).abs()), a=nn.Linear(4, 2)), (2, 6),
         "aten._fft_r2c", {"count": 1},
         fine=lambda: Calls(lambda m, x: m.a(x.abs()), a=nn.Linear(6, 2))),
]  # fmt: skip
