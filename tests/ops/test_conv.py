"""Convolution against torch: outputs and every gradient, then types, layouts and tensors without values."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from witnesses import assert_same_with_gradients, convolve_by_loops, seeded

from convscope import ops

OURS = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}
TORCH = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# input shape, weight shape, settings that torch takes as they are
CASES = [
    ((2, 3, 11), (4, 3, 3), {}),
    ((2, 4, 11), (6, 2, 4), {"stride": 3, "padding": 2, "dilation": 2, "groups": 2}),
    ((3, 11), (4, 3, 3), {"padding": (1,)}),
    ((2, 3, 9, 12), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 9, 12), (4, 3, 2, 5), {"stride": (2, 3), "padding": (1, 2)}),
    ((1, 3, 10, 13), (2, 3, 3, 2), {"stride": [4, 4], "dilation": (2, 3), "padding": "valid"}),
    ((2, 4, 7, 6), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    ((2, 4, 7, 6), (6, 2, 1, 1), {"groups": 2, "stride": 2}),
    ((2, 3, 8, 7), (4, 3, 3, 5), {"padding": "same", "dilation": (2, 1)}),
    ((0, 3, 9, 12), (4, 3, 3, 3), {"padding": 1}),
    ((3, 9, 12), (4, 3, 3, 3), {"stride": 2, "padding": (0, 1)}),
    ((1, 2, 5, 6, 7), (3, 2, 3, 2, 1), {"stride": (1, 2, 3), "padding": (1, 1, 0)}),
    ((4, 5, 6, 7), (4, 1, 2, 2, 3), {"groups": 4, "dilation": (1, 2, 1)}),
]


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("input_shape", "weight_shape", "settings"), CASES)
def test_equals_torch(input_shape, weight_shape, settings, biased):
    ndim = len(weight_shape) - 2
    assert_same_with_gradients(
        lambda x, w, b: OURS[ndim](x, w, b, **settings),
        lambda x, w, b: TORCH[ndim](x, w, b, **settings),
        seeded(*input_shape),
        seeded(*weight_shape, seed=1),
        seeded(weight_shape[0], seed=2) if biased else None,
    )


@pytest.mark.parametrize(("input_shape", "weight_shape", "settings"), CASES[:2] + CASES[4:7] + CASES[11:12])
def test_equals_the_definition(input_shape, weight_shape, settings):
    ndim = len(weight_shape) - 2
    sides = settings.get("padding", 0)
    sides = (0,) * ndim if sides == "valid" else (sides,) * ndim if isinstance(sides, int) else sides
    every = {"stride": 1, "dilation": 1} | settings
    stride, dilation = (
        tuple([value] * ndim if isinstance(value, int) else value)
        for value in (every["stride"], every["dilation"])
    )
    x, w = seeded(*input_shape), seeded(*weight_shape, seed=1)
    padded = F.pad(x, [side for side in reversed(sides) for _ in range(2)])
    expected = convolve_by_loops(padded, w, stride, dilation, settings.get("groups", 1))
    torch.testing.assert_close(OURS[ndim](x, w, **settings), expected)


def test_all_ones_by_hand():
    corner, edge, middle = 4.0, 6.0, 9.0
    output = ops.conv2d(torch.ones(1, 3, 3), torch.ones(1, 1, 3, 3), padding=1)
    assert output.tolist() == [[[corner, edge, corner], [edge, middle, edge], [corner, edge, corner]]]


@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": [(0, 2), (1, 0)]}])
def test_views_and_channels_last(settings):
    x, w = seeded(2, 3, 8, 9, grad=False), seeded(4, 3, 3, 2, grad=False)
    expected = ops.conv2d(x, w, **settings)
    wide = torch.zeros(2, 3, 9, 16, dtype=x.dtype)
    wide[..., ::2][..., :8] = x.transpose(2, 3)
    strided = wide[..., ::2].transpose(2, 3)
    assert not strided.is_contiguous()
    torch.testing.assert_close(ops.conv2d(strided, w, **settings), expected)
    last = x.contiguous(memory_format=torch.channels_last)
    output = ops.conv2d(last, w, **settings)
    torch.testing.assert_close(output, expected)
    assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": "same", "dilation": (1, 2)},
        {"padding": "full", "flip": True, "groups": 2},
        {"padding": [(2, 0), (1, 3)], "padding_mode": "linear"},
        {"padding": 2, "padding_mode": "circular"},
    ],
)
def test_gradcheck(settings):
    groups = settings.get("groups", 1)
    operands = seeded(1, 2, 4, 5), seeded(2, 2 // groups, 3, 2, seed=1), seeded(2, seed=2)
    assert torch.autograd.gradcheck(lambda x, w, b: ops.conv2d(x, w, b, **settings), operands, fast_mode=True)


@pytest.mark.parametrize("mode", ["zeros", "linear", "symmetric"])
def test_bfloat16_is_near_float32(mode):
    x, w = seeded(1, 3, 8, 9, grad=False).bfloat16(), seeded(4, 3, 3, 3, grad=False).bfloat16()
    settings = {"stride": 2, "padding": "same", "padding_mode": mode}
    output = ops.conv2d(x, w, **settings)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(
        output.float(), ops.conv2d(x.float(), w.float(), **settings), atol=0.1, rtol=0.02
    )


def test_integers_and_autocast_as_torch():
    x, w = torch.arange(16).reshape(1, 1, 4, 4), torch.ones(1, 1, 2, 2, dtype=torch.int64)
    assert ops.conv2d(x, w, stride=2, padding=[(0, 0), (1, 1)]).tolist() == [[[[4, 14, 10], [20, 46, 26]]]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ops.conv2d(x.float(), w.bfloat16(), padding="same")
    assert mixed.dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ops.PADDING_MODES)
@pytest.mark.parametrize("padding", [1, "same", "full", [(1, 0), (2, 3)]])
def test_meta_and_fake_tensors_have_the_shape(mode, padding):
    def call(x, w):
        return ops.conv2d(x, w, stride=(2, 1), padding=padding, padding_mode=mode)

    x, w = torch.ones(2, 3, 7, 8), torch.ones(4, 3, 2, 3)
    shape = call(x, w).shape
    assert call(x.to("meta"), w.to("meta")).shape == shape
    with FakeTensorMode() as fake:
        assert call(fake.from_tensor(x), fake.from_tensor(w)).shape == shape


@pytest.mark.parametrize(
    ("settings", "strict"),
    [({"padding": 1}, True), ({"padding": "same", "stride": 2, "padding_mode": "linear"}, False)],
)
def test_exports_with_open_sizes(settings, strict):
    class Net(torch.nn.Module):
        def forward(self, x):
            return ops.conv2d(x, torch.ones(4, 3, 3, 3), **settings)

    batch, width = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("width", min=4, max=64)
    exported = torch.export.export(
        Net(), (torch.ones(2, 3, 9, 9),), dynamic_shapes=({0: batch, 3: 2 * width + 1},), strict=strict
    )
    x = seeded(5, 3, 9, 21, dtype=torch.float32, grad=False)
    torch.testing.assert_close(exported.module()(x), Net()(x))


def test_compiles_without_breaks():
    def call(x, w, padding):
        return ops.conv2d(x, w, None, 2, padding)

    compiled = torch.compile(call, backend="eager", fullgraph=True, dynamic=True)
    w = torch.ones(4, 3, 3, 3)
    for size in (9, 12):
        x = seeded(2, 3, size, 8, dtype=torch.float32, grad=False)
        torch.testing.assert_close(compiled(x, w, "same"), call(x, w, "same"))
