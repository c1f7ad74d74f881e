"""Deformable convolution against a definition in loops: outputs and every gradient, the border, types, refusals."""

import math
import subprocess
import sys
from itertools import product

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from witnesses import assert_same_with_gradients, seeded

from convscope import ops
from convscope.errors import ShapeError, UsageError
from convscope.ops import deformed_patches


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def between_pixels(plane, y, x):
    """Sum over all pixels q of max(0, 1 - |q_y - y|) * max(0, 1 - |q_x - x|) * value: the paper's equations 3 and 4."""
    total = plane.new_zeros(())
    # Other pixels weigh 0; floor decides which of two slopes a place exactly on a pixel has.
    top, left = math.floor(y.detach()), math.floor(x.detach())
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            down = 1 - (y - row) if row == top else 1 - (row - y)
            right = 1 - (x - column) if column == left else 1 - (column - x)
            total = total + down * right * plane[row, column]
    return total


def deform_by_loops(input, offset, weight, bias=None, stride=1, padding=0, dilation=1, mask=None):
    """Add up w(p_n) * x(p_0 + p_n + dp_n) * dm_n, one tap after the other; gradients by autograd through scalars."""
    (sy, sx), (py, px), (dy, dx) = pair(stride), pair(padding), pair(dilation)
    out_channels, in_group, kh, kw = weight.shape
    n, channels = input.shape[:2]
    groups, offset_groups = channels // in_group, offset.shape[1] // (2 * kh * kw)
    maps = []
    for i, o, y, x in product(range(n), range(out_channels), *map(range, offset.shape[2:])):
        total = input.new_zeros(()) if bias is None else bias[o]
        for c, a, b in product(range(in_group), range(kh), range(kw)):
            channel = o // (out_channels // groups) * in_group + c
            tap = (channel // (channels // offset_groups) * kh + a) * kw + b
            value = between_pixels(
                input[i, channel],
                y * sy - py + a * dy + offset[i, 2 * tap, y, x],
                x * sx - px + b * dx + offset[i, 2 * tap + 1, y, x],
            )
            total = total + weight[o, c, a, b] * value * (1 if mask is None else mask[i, tap, y, x])
        maps.append(total)
    unread = 0 * (
        input.sum() + offset.sum() + (0 if mask is None else mask.sum())
    )  # they have a gradient too
    return torch.stack(maps).reshape(n, out_channels, *offset.shape[2:]) + unread


def operands(shape, weight_shape, offset_groups=1, masked=False, biased=False, reach=2.0, seed=0, **given):
    """Return (input, offset, weight, bias, mask) in float64, the offsets of the given standard deviation."""
    kernel = weight_shape[2:]
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(
            shape[2:],
            kernel,
            pair(given.get("stride", 1)),
            pair(given.get("padding", 0)),
            pair(given.get("dilation", 1)),
            strict=True,
        )
    ]
    taps = offset_groups * math.prod(kernel)
    offset = (reach * seeded(shape[0], 2 * taps, *sizes, seed=seed + 1, grad=False)).requires_grad_()
    return (
        seeded(*shape, seed=seed),
        offset,
        seeded(*weight_shape, seed=seed + 2),
        seeded(weight_shape[0], seed=seed + 3) if biased else None,
        seeded(shape[0], taps, *sizes, seed=seed + 4) if masked else None,
    )


def ours(**given):
    return lambda x, o, w, b, m: ops.deform_conv2d(x, o, w, b, mask=m, **given)


def by_loops(**given):
    return lambda x, o, w, b, m: deform_by_loops(x, o, w, b, mask=m, **given)


# input, weight, offset groups, settings: H != W, K_h != K_w, even kernels, strides that do not divide
CASES = [
    ((2, 2, 4, 5), (3, 2, 3, 3), 1, {"padding": 1}),
    ((1, 4, 5, 4), (2, 4, 2, 3), 2, {"stride": (2, 1), "padding": (0, 1)}),
    ((1, 4, 6, 7), (4, 2, 2, 2), 4, {"stride": (3, 2), "dilation": (1, 2)}),
    ((1, 4, 5, 5), (8, 1, 3, 1), 2, {"padding": (2, 0), "dilation": (2, 1)}),
    ((2, 6, 3, 4), (4, 3, 1, 2), 3, {"stride": 2}),
    ((1, 2, 3, 3), (2, 2, 1, 1), 1, {}),
]


@pytest.mark.parametrize(("masked", "biased"), [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("shape", "weight_shape", "offset_groups", "given"), CASES)
def test_equals_the_definition(shape, weight_shape, offset_groups, given, masked, biased):
    tensors = operands(shape, weight_shape, offset_groups, masked, biased, **given)
    assert_same_with_gradients(ours(**given), by_loops(**given), *tensors)


@pytest.mark.parametrize("masked", [False, True])
def test_whole_offsets_have_the_slope_towards_larger_coordinates(masked):
    x, offset, w, b, m = operands((1, 2, 4, 5), (2, 2, 3, 2), masked=masked, padding=1)
    whole = offset.detach().round().requires_grad_()
    assert_same_with_gradients(ours(padding=1), by_loops(padding=1), x, whole, w, b, m)
    line, one = torch.tensor([[[[1.0, 4.0, 6.0]]]]), torch.ones(1, 1, 1, 1)
    zero = torch.zeros(1, 2, 1, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(ops.deform_conv2d(line, zero, one).sum(), zero)
    assert slope[0, 1].tolist() == [[3.0, 2.0, -6.0]]


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_random_settings_equal_the_definition(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups, offset_groups = draw(1, 2), draw(1, 2)
    kernel = draw(1, 3), draw(1, 3)
    given = {
        "stride": (draw(1, 3), draw(1, 3)),
        "padding": (draw(0, 2), draw(0, 2)),
        "dilation": (draw(1, 2), draw(1, 2)),
    }
    sides = [d * (k - 1) + 1 + draw(0, 2) for k, d in zip(kernel, given["dilation"], strict=True)]
    tensors = operands(
        (draw(1, 2), 2, *sides),
        (2, 2 // groups, *kernel),
        offset_groups,
        masked=data.draw(st.booleans()),
        biased=data.draw(st.booleans()),
        reach=data.draw(st.sampled_from([0.3, 2.0, 8.0])),
        seed=draw(0, 1000),
        **given,
    )
    assert_same_with_gradients(ours(**given), by_loops(**given), *tensors)


@pytest.mark.parametrize("given", [{}, {"stride": 2, "padding": (1, 2), "dilation": (2, 1)}])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_zero_offsets_are_a_plain_convolution(groups, given):
    x, offset, w, b, _ = operands((2, 4, 9, 8), (8, 4 // groups, 3, 2), biased=True, reach=0.0, **given)
    offset = offset.detach()
    assert_same_with_gradients(
        lambda x, w, b: ops.deform_conv2d(x, offset, w, b, **given),
        lambda x, w, b: F.conv2d(x, w, b, groups=groups, **given),
        x, w, b,
    )  # fmt: skip


def test_a_mask_multiplies_each_tap():
    x, offset, w, _, m = operands((1, 2, 5, 4), (3, 2, 2, 2), masked=True, biased=False)
    whole = ops.deform_conv2d(x, offset, w, mask=torch.ones_like(m))
    torch.testing.assert_close(whole, ops.deform_conv2d(x, offset, w), rtol=0, atol=0)
    torch.testing.assert_close(ops.deform_conv2d(x, offset, w, mask=0.25 * torch.ones_like(m)), 0.25 * whole)


@pytest.mark.parametrize(
    ("shift", "row"),
    [
        ((0.0, -1.25), [0.0, 0.75, 1.75]),  # half outside, on the left
        ((0.0, 1.25), [2.25, 2.25, 0.0]),
        ((0.0, -0.75), [0.25, 1.25, 2.25]),
        ((0.0, 0.75), [1.75, 2.75, 0.75]),
        ((-0.5, 0.0), [0.5, 1.0, 1.5]),  # half a pixel above the only row
        ((0.5, 0.0), [0.5, 1.0, 1.5]),
        ((-1.0, 0.0), [0.0, 0.0, 0.0]),
        ((1.0, 0.0), [0.0, 0.0, 0.0]),
        ((0.0, -3.5), [0.0, 0.0, 0.0]),
        ((1e30, -1e30), [0.0, 0.0, 0.0]),
        ((math.inf, 0.0), [0.0, 0.0, 0.0]),
    ],
)
def test_beyond_the_border_by_hand(shift, row):
    line, one = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.ones(1, 1, 1, 1)
    offset = torch.tensor(shift).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    assert ops.deform_conv2d(line, offset, one).tolist() == [[[row]]]


def test_what_lies_outside_is_zero_even_beside_infinity():
    image = torch.full((1, 1, 2, 2), math.inf)
    offset = torch.full((1, 2, 2, 2), 5.0)
    assert ops.deform_conv2d(image, offset, torch.ones(1, 1, 1, 1)).tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]
    offset[0, 0, 1, 0] = math.nan
    output = ops.deform_conv2d(torch.ones(1, 1, 2, 2), offset, torch.ones(1, 1, 1, 1))
    assert output.isnan().tolist() == [[[[False, False], [True, False]]]]


@pytest.mark.parametrize(
    ("shape", "weight_shape", "offset_groups", "masked", "given"),
    [
        ((1, 2, 4, 3), (2, 2, 2, 2), 1, False, {}),
        ((2, 4, 4, 5), (2, 2, 3, 2), 2, True, {"stride": 2, "padding": 1, "dilation": (1, 2)}),
    ],
)
def test_gradcheck(shape, weight_shape, offset_groups, masked, given):
    tensors = operands(shape, weight_shape, offset_groups, masked, biased=True, **given)
    assert torch.autograd.gradcheck(ours(**given), tensors)


@pytest.mark.parametrize("elements", [1, 100, 10_000])
def test_chunks_do_not_show(elements, monkeypatch):
    given = {"padding": 1, "stride": (1, 2)}
    tensors = operands((3, 4, 3, 4), (2, 2, 2, 3), 2, masked=True, biased=True, **given)
    monkeypatch.setattr(deformed_patches, "_PATCH_ELEMENTS", elements)
    assert_same_with_gradients(ours(**given), by_loops(**given), *tensors)


def test_empty_batch():
    tensors = operands((0, 4, 5, 6), (4, 2, 3, 3), 2, masked=True, biased=True)
    output = ours()(*tensors)
    assert output.shape == (0, 4, 3, 4)
    output.sum().backward()
    assert all(tensor.grad.shape == tensor.shape for tensor in tensors)
    assert not tensors[2].grad.any()


def test_padding_words_and_unequal_sides():
    """The same places on a padded image."""
    x, _, w, _, _ = operands((1, 2, 6, 7), (3, 2, 2, 4))
    offset = seeded(1, 16, 3, 4, seed=9)
    expected = deform_by_loops(F.pad(x, (1, 1, 0, 0)), offset, w, stride=2)
    torch.testing.assert_close(ops.deform_conv2d(x, offset, w, stride=2, padding="same"), expected)
    offset = seeded(1, 16, 8, 5, seed=9)
    expected = deform_by_loops(F.pad(x, (0, 1, 1, 2)), offset, w)
    torch.testing.assert_close(ops.deform_conv2d(x, offset, w, padding=[(1, 2), (0, 1)]), expected)


def test_views_and_channels_last():
    given = {"padding": 1}
    tensors = operands((2, 4, 4, 5), (2, 2, 3, 2), 2, masked=True, biased=True, **given)
    expected = by_loops(**given)(*tensors)
    wide = [torch.stack([t, t + 7], -1).detach()[..., 0].requires_grad_() for t in tensors]
    assert not any(t.is_contiguous() for t in wide)
    upstream = seeded(*expected.shape, grad=False)
    wanted = torch.autograd.grad(expected, tensors, upstream)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        wide[0] = wide[0].detach().contiguous(memory_format=memory_format).requires_grad_()
        output = ours(**given)(*wide)
        torch.testing.assert_close(output, expected)
        assert output.is_contiguous(memory_format=memory_format)
        for one, other in zip(torch.autograd.grad(output, wide, upstream), wanted, strict=True):
            torch.testing.assert_close(one, other)
    swapped = torch.autograd.grad(
        ours(**given)(*wide), wide, upstream.transpose(2, 3).contiguous().transpose(2, 3)
    )
    torch.testing.assert_close(swapped, wanted)


@pytest.mark.parametrize(
    ("dtype", "slack"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01), (torch.float16, 0.002)]
)
def test_other_types_are_within_their_rounding(dtype, slack):
    tensors = operands((2, 4, 5, 6), (4, 2, 3, 3), 2, masked=True, biased=True, padding=1)
    low = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    exact = [tensor.detach().double().requires_grad_() for tensor in low]
    outputs = [ours(padding=1)(*given) for given in (low, exact)]
    assert outputs[0].dtype == dtype
    upstream = seeded(*outputs[0].shape, grad=False).to(dtype)
    grads = [
        torch.autograd.grad(output, given, upstream.to(output.dtype))
        for output, given in zip(outputs, (low, exact), strict=True)
    ]
    for one, other in zip((outputs[0], *grads[0]), (outputs[1], *grads[1]), strict=True):
        assert one.dtype == dtype
        assert float((one.double() - other).detach().abs().max()) < slack * float(other.detach().abs().max())


class SeenTypes(TorchDispatchMode):
    """Notes the types of the tensors that our operators get."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "convscope":
            self.types |= {each.dtype for each in args if isinstance(each, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def test_autocast_computes_in_float32():
    tensors = [t.detach().float() for t in operands((1, 2, 5, 6), (4, 2, 3, 3), masked=True, biased=True)]
    x, offset, w, b, m = tensors
    with SeenTypes() as seen, torch.autocast("cpu", dtype=torch.bfloat16):
        same = ops.deform_conv2d(x, offset, w, b, mask=m)
        mixed = ops.deform_conv2d(x.bfloat16(), offset, w.requires_grad_(), b, mask=m.bfloat16())
    torch.testing.assert_close(same, ops.deform_conv2d(x, offset, w, b, mask=m), rtol=0, atol=0)
    assert seen.types == {torch.float32}
    assert mixed.dtype == torch.bfloat16
    mixed.sum().backward()
    assert w.grad.dtype == torch.float32


def test_meta_and_fake_tensors_have_the_shape_and_layout():
    given = {"stride": 2, "padding": 1}
    tensors = operands((2, 4, 7, 8), (6, 2, 3, 3), 2, masked=True, biased=True, **given)
    tensors = [tensors[0].detach().contiguous(memory_format=torch.channels_last), *tensors[1:]]
    output = ours(**given)(*tensors)
    meta = ours(**given)(*(t.to("meta") for t in tensors))
    assert (meta.shape, meta.stride()) == (output.shape, output.stride())
    with FakeTensorMode() as fake:
        assert ours(**given)(*map(fake.from_tensor, tensors)).shape == output.shape


def test_the_operators_keep_torchs_rules():
    x, offset, w, b, m = operands(
        (2, 4, 7, 8), (6, 2, 3, 3), 2, masked=True, biased=True, stride=2, padding=1
    )
    settings = 2, 2, 1, 1, 1, 1, 2, 2, True
    torch.library.opcheck(torch.ops.convscope.deform_conv2d, (x, w, offset, m, b, *settings))
    grad = seeded(2, 6, 4, 4, grad=False)
    plain = [t.detach() for t in (x, w, offset, m, b)]
    torch.library.opcheck(torch.ops.convscope.deform_conv2d_backward, (grad, *plain, *settings))


def test_the_schema_is_torchvisions():
    assert str(torch.ops.convscope.deform_conv2d.default._schema) == (
        "convscope::deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
        "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, "
        "SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor"
    )


class Net(torch.nn.Module):
    def forward(self, x, offset):
        return ops.deform_conv2d(x, offset, torch.ones(4, 3, 3, 3), padding=1)


@pytest.mark.parametrize("strict", [True, False])
def test_exports_with_open_sizes(strict):
    batch, height = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("height", min=4, max=64)
    example = torch.ones(2, 3, 9, 8), torch.ones(2, 18, 9, 8)
    sizes = {0: batch, 2: height}
    exported = torch.export.export(Net(), example, dynamic_shapes=(sizes, sizes), strict=strict)
    x, offset = (seeded(5, c, 7, 8, dtype=torch.float32, grad=False) for c in (3, 18))
    torch.testing.assert_close(exported.module()(x, offset), Net()(x, offset))


def test_compiles_without_breaks():
    compiled = torch.compile(ops.deform_conv2d, backend="aot_eager", fullgraph=True)
    x, offset, w, _, _ = operands((1, 2, 5, 6), (4, 2, 3, 3))
    wanted = torch.autograd.grad(ops.deform_conv2d(x, offset, w).sum(), (x, offset, w))
    torch.testing.assert_close(torch.autograd.grad(compiled(x, offset, w).sum(), (x, offset, w)), wanted)


def test_second_derivatives_are_refused():
    x, offset, w, _, _ = operands((1, 2, 5, 6), (4, 2, 3, 3))
    (slope,) = torch.autograd.grad(ops.deform_conv2d(x, offset, w).sum(), offset, create_graph=True)
    with pytest.raises(NotImplementedError, match="deform_conv2d has first derivatives only"):
        slope.sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("moved", range(5))
def test_forward_mode_is_refused(moved):
    x, offset, w, b, m = (
        tensor.detach() for tensor in operands((1, 2, 5, 6), (4, 2, 3, 3), masked=True, biased=True)
    )
    given = [x, offset, w, b, m]

    def call(one):
        chosen = [*given[:moved], one, *given[moved + 1 :]]
        return ops.deform_conv2d(*chosen[:4], mask=chosen[4])

    with pytest.raises(NotImplementedError, match="deform_conv2d has no forward-mode derivatives"):
        torch.func.jvp(call, (given[moved],), (torch.ones_like(given[moved]),))
    with forward_ad.dual_level():
        call(given[moved])  # nothing to differentiate
        with pytest.raises(NotImplementedError, match="deform_conv2d has no forward-mode derivatives"):
            call(forward_ad.make_dual(given[moved], torch.ones_like(given[moved])))


@pytest.mark.parametrize("name", ["deform_conv2d", "deform_conv2d_backward"])
def test_other_devices_have_the_operator(name):
    """What runs there is what runs here; no other device is at hand to run it."""
    for device in ("CPU", "CUDA", "MPS", "XPU"):
        assert torch._C._dispatch_has_computed_kernel_for_dispatch_key(f"convscope::{name}", device)


def test_importing_it_does_not_import_the_compiler():
    code = (
        "import sys, convscope.ops; print({'torch._dynamo', 'torch._inductor', 'sympy'} & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def z(*shape, **given):
    return torch.zeros(*shape, **given)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: ops.deform_conv2d(z(4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: input (4, 5, 5) has 3 axes; give 4: (N, C, height, width).",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(18, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: offset (18, 3, 3) has 3 axes; give 4: (N, 2*offset_groups*K_h*K_w, H_out, W_out).",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3)),
            ShapeError,
            "deform_conv2d: weight (2, 4, 3) has 3 axes; give 4: (C_out, C_in/groups, K_h, K_w).",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 3, 3, 3)),
            ShapeError,
            "deform_conv2d: input (1, 4, 5, 5) has 4 channels, which weight (2, 3, 3, 3) cannot divide into groups "
            "of 3.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(3, 2, 3, 3)),
            ShapeError,
            "deform_conv2d: groups is 2; it must divide in_channels 4 and out_channels 3. Both allow 1.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3), z(4)),
            ShapeError,
            "deform_conv2d: bias (4,) must be (2,): one number for each output channel.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 9, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: offset (1, 9, 3, 3) has 9 channels; it must have a multiple of 2*K_h*K_w = 2*3*3 = 18: "
            "a (height, width) pair for each tap of each group.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 54, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: offset (1, 54, 3, 3) has 54/18 = 3 offset groups, which must divide the 4 channels of "
            "input (1, 4, 5, 5).",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3), padding=1, stride=(1, 2)),
            ShapeError,
            "deform_conv2d: offset (1, 18, 3, 3) must be (1, 18, 5, 3): the batch of input (1, 4, 5, 5) and the 5x3 "
            "outputs of kernel (3, 3), stride (1, 2), padding ((1, 1), (1, 1)), dilation (1, 1).",
        ),
        (
            lambda: ops.deform_conv2d(z(2, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: offset (1, 18, 3, 3) must be (2, 18, 3, 3): the batch of input (2, 4, 5, 5) and the 3x3 "
            "outputs of kernel (3, 3), stride (1, 1), padding ((0, 0), (0, 0)), dilation (1, 1).",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3), mask=z(1, 18, 3, 3)),
            ShapeError,
            "deform_conv2d: mask (1, 18, 3, 3) must be (1, 9, 3, 3): a number where offset (1, 18, 3, 3) has a pair.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 2), z(1, 18, 3, 3), z(2, 4, 3, 3)),
            ShapeError,
            "deform_conv2d: kernel does not fit along width: dilation*(kernel_size-1)+1 = 1*(3-1)+1 = 3, but ",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3), z(2, 4, 3, 3), stride=0),
            ShapeError,
            "deform_conv2d: stride is 0",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5), z(1, 18, 3, 3).double(), z(2, 4, 3, 3)),
            UsageError,
            "deform_conv2d: input is torch.float32 and offset is torch.float64; convert one, as in "
            "input.to(offset.dtype), or run under torch.autocast.",
        ),
        (
            lambda: ops.deform_conv2d(z(1, 4, 5, 5).long(), z(1, 18, 3, 3), z(2, 4, 3, 3)),
            UsageError,
            "deform_conv2d: input is torch.int64; give floating-point numbers, as in input.float().",
        ),
    ],
)  # fmt: skip
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(text)
    assert caught.type is error
