"""Operators beyond the everyday ones: deformable convolution, antialiased resizing, unfolding, in-place views."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.inspection import explain
from convscope.nn import Conv2d, DeformableConv2d
from convscope.trace import trace
from convscope.trace.arithmetic import deformable_sums

# torchvision's operator, with its schema, computed by a slow definition: for machines without torchvision.
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
LIBRARY.define(
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
    "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
    "SymInt offset_groups, bool use_mask) -> Tensor"
)  # fmt: skip


def sampled(image, y, x):
    """Return the value of one plane between four pixels, zero outside, by torch's own sampler."""
    height, width = image.shape
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(image[None, None], grid[None, None, None], align_corners=True)[0, 0, 0, 0]


def deformed(
    input, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, offset_groups,
    use_mask,
):  # fmt: skip
    n, channels = input.shape[:2]
    out, per_group, kh, kw = weight.shape
    h_out, w_out = offset.shape[-2:]
    output = torch.zeros(n, out, h_out, w_out, dtype=input.dtype)
    for i, o, y, x in itertools.product(range(n), range(out), range(h_out), range(w_out)):
        total = bias[o] if bias.numel() else torch.zeros(())
        for c, (a, b) in itertools.product(range(per_group), itertools.product(range(kh), range(kw))):
            channel = o // (out // groups) * per_group + c
            tap = channel // (channels // offset_groups) * kh * kw + a * kw + b
            dy, dx = offset[i, 2 * tap, y, x], offset[i, 2 * tap + 1, y, x]
            value = sampled(
                input[i, channel],
                y * stride_h - pad_h + a * dilation_h + dy,
                x * stride_w - pad_w + b * dilation_w + dx,
            )
            total = total + value * (mask[i, tap, y, x] if use_mask else 1) * weight[o, c, a, b]
        output[i, o, y, x] = total
    return output


LIBRARY.impl("deform_conv2d", deformed, "CPU")
LIBRARY.impl(
    "deform_conv2d",
    lambda x, weight, offset, *_: x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:]),
    "Meta",
)


class Deformable(nn.Module):
    """Version 2, with offsets and masks computed from the input."""

    def __init__(self, use_mask, operators):
        super().__init__()
        self.use_mask, self.operators = use_mask, operators
        self.offset, self.mask = nn.Conv2d(4, 2 * 2 * 9, 3, 2, 1), nn.Conv2d(4, 2 * 9, 3, 2, 1)
        self.weight, self.bias = nn.Parameter(torch.randn(6, 2, 3, 3)), nn.Parameter(torch.randn(6))

    def forward(self, x):
        mask = torch.sigmoid(self.mask(x)) if self.use_mask else x.new_zeros(0)
        return getattr(torch.ops, self.operators).deform_conv2d(
            x, self.weight, self.offset(x) * 2, mask, self.bias, 2, 2, 1, 1, 1, 1, 2, 2, self.use_mask
        )


@pytest.mark.parametrize("operators", ["torchvision", "convscope"])
@pytest.mark.parametrize("use_mask", [True, False])
def test_deformable_convolution(use_mask, operators):
    torch.manual_seed(0)
    network = Deformable(use_mask, operators)
    given = torch.randn(1, 4, 9, 8)
    found = trace(network, given)
    record = found.record("deform_conv2d")
    assert record.macs == 5 * 4 * 6 * 2 * 9
    assert found.not_counted == {}
    field = found.receptive_field("output")
    assert (field.size, field.data_dependent) == ((3, 3), ("deform_conv2d",))
    assert "moves with the values of deform_conv2d" in str(field)
    for at in ((0, 0, 0), (5, 4, 3), (2, 2, 1), (3, 1, 2)):
        value = explain(found, "output", at, down=1)
        assert value.difference < 1e-5
        assert value.down[0].operator == "input"
    assert trace(network, (1, 4, 9, 8)).macs == found.macs


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), 1), ((2, 4), "same"), ((2, 3), [(0, 2), (1, 0)])])
def test_deformable_layers_cost_a_convolution_and_their_offsets(modulated, kernel, padding):
    torch.manual_seed(0)
    network = DeformableConv2d(4, 6, kernel, (2, 1), padding, groups=2, modulated=modulated, offset_groups=2)
    nn.init.normal_(network.offset.weight, std=0.3)
    plain = nn.Sequential(Conv2d(4, 6, kernel, (2, 1), padding, groups=2))
    given = torch.randn(1, 4, 9, 8)
    for found in (
        trace(network, given),
        trace(network, (1, 4, 9, 8)),
        trace(network, (1, 4, 9, 8), mode="train"),
    ):
        record = found.record("deform_conv2d")
        assert record.operator == "convscope.deform_conv2d"
        assert record.macs == trace(plain, (1, 4, 9, 8)).macs
        assert found.macs == record.macs + trace(network.offset, (1, 4, 9, 8)).macs
        assert found.not_counted == {}
    field = found.receptive_field("output")
    assert field.data_dependent == ("deform_conv2d",)
    assert field.size == kernel
    found = trace(network, given)
    height, width = found.tensors[found.outputs[0]].shape[2:]
    for at in ((0, 0, 0), (5, height - 1, width - 1), (2, 2, 1)):
        value = explain(found, "output", at)
        assert value.difference < 1e-5
        assert len(value.terms) == 2 * math.prod(kernel) + 1


def test_deformable_sums_without_offsets_are_a_convolution():
    from convscope.geometry import Windows

    torch.manual_seed(0)
    image, weight = torch.randn(1, 2, 6, 7), torch.randn(3, 2, 3, 3)
    offset = torch.zeros(1, 18, 6, 7)
    windows = Windows.of(2, (3, 3), 1, 1, 1)
    plain = F.conv2d(image, weight, padding=1)
    for at in ((0, 0, 0, 0), (0, 2, 5, 6), (0, 1, 3, 2)):
        taps = deformable_sums(image, weight, offset, None, windows, 1, 1, at)
        assert sum(tap.product for tap in taps) == pytest.approx(float(plain[at]), abs=1e-5)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def spans(function, shape, at):
    """What one output position depends on, by gradients."""
    given = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(function(given)[(0, slice(None), *at)].sum(), given)
    found = {}
    for axis in range(2, len(shape)):
        places = grad.abs().sum([a for a in range(len(shape)) if a != axis]).nonzero().flatten().tolist()
        found[0, axis] = (places[0], places[-1])
    return found


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        lambda x: F.interpolate(x, size=(7, 15), mode="bilinear"),
        lambda x: F.interpolate(x, size=(5, 6), mode="nearest-exact"),
        lambda x: F.interpolate(x, size=(7, 25), mode="nearest"),
        lambda x: F.interpolate(x, size=(5, 7), mode="bilinear", antialias=True),
        lambda x: F.interpolate(x, size=(4, 21), mode="bicubic", antialias=True),
        lambda x: F.adaptive_avg_pool2d(x, (4, 5)),
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: F.pad(x, (2, 1, 3, 0), mode="replicate"),
        lambda x: F.pad(x, (2, 1, 3, 0), mode="circular"),
        lambda x: x.flip(3).roll(2, 2),
        lambda x: x.repeat(1, 1, 2, 1),
        lambda x: x.repeat_interleave(2, 3),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: torch.stack(x.chunk(2, 2), 1).sum(1),
        lambda x: torch.cat([x[..., :3], x[..., 7:]], -1),
        lambda x: x.transpose(2, 3),
        lambda x: x.unfold(2, 3, 2).sum(-1),
    ],
)  # fmt: skip
def test_support_of_single_operators(function):
    shape = (1, 2, 8, 12) if "pixel_unshuffle" in function.__code__.co_names else (1, 2, 8, 13)
    output = function(torch.rand(shape))
    found = trace(Calls(function), shape)
    assert found.not_counted == {}
    sizes = output.shape[2:]
    for at in itertools.product(*(sorted({0, 1, n // 2, n - 1}) for n in sizes)):
        support = found.support("output", (0, 0, *at))
        expected = spans(function, shape, at)
        assert support == expected, at


def test_channels_are_not_told_apart():
    """A field is that of all channels of a position: of unfolded patches that is the whole patch."""
    function = Calls(lambda x: F.fold(F.unfold(x, 3, padding=1), (8, 13), 3, padding=1))
    found = trace(function, (1, 2, 8, 13))
    assert found.not_counted == {}
    assert found.receptive_field("output").size == (5, 5)
    assert found.support("output", (0, 0, 4, 5)) == {(0, 2): (2, 6), (0, 3): (3, 7)}


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_interpolation_is_explained(mode):
    torch.manual_seed(0)
    function = Calls(lambda x: F.interpolate(x, size=(5, 17), mode=mode, antialias=True))
    found = trace(function, torch.randn(1, 2, 12, 13))
    for at in ((0, 0, 0), (1, 2, 8), (1, 4, 16)):
        assert explain(found, "output", at).difference < 1e-5


def test_recurrent_layers_by_hand():
    network = nn.LSTM(5, 7, num_layers=2, bidirectional=True)
    found = trace(network, torch.randn(11, 3, 5))
    assert found.not_counted == {}
    # four gates of 7, from 5 and 7 numbers in the first layer, from 14 and 7 in the second; both directions
    assert found.macs == 11 * 3 * 2 * (28 * (5 + 7) + 28 * (14 + 7))
    by_shape = trace(network, (11, 3, 5))  # torch takes it apart there
    assert (by_shape.macs, by_shape.not_counted) == (found.macs, {})
    assert sum(record.num_params for record in by_shape.records) == found.num_params
    assert trace(nn.GRU(5, 7), (4, 1, 5)).macs == 4 * 21 * (5 + 7)


def test_a_constant_of_the_inputs_type_reads_nothing():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(x) + x.new_zeros(x.shape)

    found = trace(Adds(), (1, 3, 4, 4))
    conv, add = found.visible
    assert found.edges == ((-1, conv.index), (conv.index, add.index))
    assert [r.name for r in trace(nn.Dropout(0.5), (1, 3), mode="train").visible] == ["mul"]
