"""Receptive fields against gradient support: the pixels whose change changes the value, in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from networks import CASES, filled, made
from torch import nn

from convscope.geometry import TableField
from convscope.trace import trace


@pytest.fixture
def means_for_maxima(monkeypatch):
    """A maximum passes its gradient to one pixel only; a mean over the same window to all of them."""

    def mean(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        assert dilation == 1
        return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode)

    monkeypatch.setattr(F, "max_pool2d", mean)


def positive(network, seed=1):
    """Weights without zeros and, where sums could cancel, all of one sign."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            value = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.1
            parameter.copy_(value / parameter[:1].numel())  # small, so that no sigmoid saturates
    return network


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for entry in value for tensor in tensors_of(entry)]


def spans_by_gradient(output, at, inputs):
    """The first and last pixel of each input axis with a gradient from all channels of one position."""
    weights = torch.rand(output.shape[1], dtype=torch.float64) + 0.5
    value = (output[(0, slice(None), *at)] * weights).sum()
    grads = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)
    found = {}
    for number, grad in enumerate(grads):
        if grad is None:
            continue
        for axis in range(2, grad.dim()):
            others = tuple(a for a in range(grad.dim()) if a != axis)
            places = (grad != 0).sum(others).nonzero().flatten().tolist()
            if places:
                found[number, axis] = (places[0], places[-1])
    return found


def assert_support(network, shape, output_of=None):
    given = filled(shape, torch.float64)
    inputs = [tensor.abs().add_(0.1).requires_grad_() for tensor in tensors_of(given)]
    if isinstance(given, dict):
        given = dict(zip(given, inputs, strict=True))
        output = tensors_of(network(given))[0]
    elif isinstance(given, tuple):
        output = network(*inputs)
    else:
        output = network(inputs[0])
    found = trace(network, shape)
    layer = "output" if len(found.outputs) == 1 else "output0"
    if output.dim() == 2:
        output = output[..., None]
    sizes = output.shape[2:]
    checked = 0
    for at in itertools.product(*(sorted({*range(0, n, max(n // 4, 1)), 1 % n, n - 1}) for n in sizes)):
        place = (0, 0, *at)[: len(found.tensor_of(layer).shape)]
        expected = spans_by_gradient(output, at, inputs)
        assert found.support(layer, place) == expected, (at, found.support(layer, place), expected)
        checked += 1
    assert checked


NOT_POSITIONS = {"attention", "tied weights"}  # their outputs have no spatial axis, or no image goes in


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_POSITIONS])
def test_support_equals_the_gradients(name, means_for_maxima):
    network, shape = made(name)
    assert_support(positive(network), shape)


def larger(shape, factor=3):
    if isinstance(shape, dict):
        return {key: larger(entry, factor) for key, entry in shape.items()}
    if isinstance(shape[0], tuple):
        return tuple(larger(entry, factor) for entry in shape)
    return (*shape[:2], *(n * factor for n in shape[2:]))


GLOBAL = {"attention", "tied weights", "pyramid", "squeeze-excite", "adaptive", "normalised"}  # no pattern
GLOBAL |= {"dynamic", "volume", "corners"}  # another network, too large a volume, another scale at that size
LOCAL = [name for name in CASES if name not in GLOBAL]


@pytest.mark.parametrize("name", LOCAL)
def test_size_stride_and_padding_hold_away_from_the_borders(name, means_for_maxima):
    """The pattern of the whole plane against the gradients of positions in the middle of a large image."""
    network, shape = made(name)
    network, shape = positive(network), larger(shape)
    found = trace(network, shape)
    inputs = [tensor.abs().add_(0.1).requires_grad_() for tensor in tensors_of(filled(shape, torch.float64))]
    given = dict(zip(shape, inputs, strict=True)) if isinstance(shape, dict) else inputs
    output = tensors_of(network(given) if isinstance(shape, dict) else network(*inputs))[0]
    field = found.receptive_field("output" if len(found.outputs) == 1 else "output0")
    state = found.fields().of(found.outputs[0])
    middle = [n // 2 for n in output.shape[2:]]
    for shift in range(4):
        at = [n + shift for n in middle]
        expected = spans_by_gradient(output, at, inputs)
        spans = {}
        for dim, index in zip(state.dims[2:], at, strict=True):
            spans |= {source: entry.at(index) for source, entry in found.fields().single(dim).items()}
        assert spans == expected
    assert field.whole_because == ()
    assert field.unknown == ()
    for axis in field.axes:
        low, high = expected[axis.input, axis.axis]
        assert axis.sizes[0] <= high - low + 1 <= axis.size


def sizes(network, shape, layer):
    field = trace(network, shape).receptive_field(layer)
    return field.size[0], field.stride[0], field.padding[0]


def test_published_fields():
    """Last feature maps as torchvision builds these networks: 435/32/217 and 427/32/213."""
    from convscope.models import create_model

    assert sizes(create_model("resnet18"), (1, 3, 224, 224), "layer4") == (435, 32, 217)
    assert sizes(create_model("resnet50"), (1, 3, 224, 224), "layer4") == (427, 32, 213)


def test_vgg16():
    layers, channels = [], 3
    for width, depth in ((8, 2), (8, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers)
    pools = [str(index) for index, layer in enumerate(network) if isinstance(layer, nn.MaxPool2d)]
    assert [sizes(network, (1, 3, 224, 224), name)[0] for name in pools] == [6, 16, 44, 100, 212]
    assert sizes(network, (1, 3, 224, 224), pools[-1]) == (212, 32, 90)


def test_global_operations_are_told_beside_the_local_field():
    network, shape = made("squeeze-excite")
    field = trace(network, shape).receptive_field("mul")
    assert (field.size, field.stride) == ((7, 7), (2, 2))
    assert field.whole_because == ("mean",)
    assert "the whole image because of mean" in str(field)
    assert field.short() == "7, all"


def test_attention_sees_the_whole_image():
    network, shape = made("attention")
    found = trace(network, shape)
    field = found.receptive_field("attention")
    assert field.size == (4, 4)
    assert all("attention" in name for name in field.whole_because)
    assert found.receptive_field("patches").whole_because == ()


def test_a_crop_moves_the_offset():
    class Crop(nn.Module):
        def forward(self, x):
            return F.avg_pool2d(x, 2)[:, :, 3:, 1:-1]

    height, width = trace(Crop(), (1, 3, 24, 24)).receptive_field("output").axes
    assert (height.size, height.stride, height.padding, float(height.offset)) == (2, 2, -6, 6.5)
    assert (width.size, width.stride, width.padding) == (2, 2, -2)


def test_batch_norm_in_training_sees_the_whole_batch():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert trace(network, (2, 3, 9, 9), mode="train").receptive_field("1").whole_because == ("1",)
    assert trace(network, (2, 3, 9, 9), mode="eval").receptive_field("1").whole_because == ()


def test_an_unknown_operator_is_told():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    found = trace(Odd(), (1, 3, 8, 8))
    field = found.receptive_field("output")
    assert field.unknown == ("linalg_inv_ex",)
    assert "not known" in str(field)


def test_the_test_of_support_can_fail():
    network, shape = made("dilated")
    found = trace(network, shape)
    fields = found.fields(TableField)
    entry = next(iter(fields.single(fields.of(found.outputs[0]).dims[2]).values()))
    assert entry.at(9) == (2, 16)  # 1 + 2 + 4 on each side


def test_unlike_parts_side_by_side_are_listed():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.near, self.far = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 7, padding=3)

        def forward(self, x):
            return torch.cat([self.near(x)[..., :6], self.far(x)[..., 6:]], 3)

    height, width = trace(Halves(), (1, 3, 12, 12)).receptive_field("output").axes
    assert (width.sizes, width.stride) == ((3, 7), None)
    assert height.size == 7


class Views(nn.Module):
    """A function and perhaps a layer."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def tiles(x):
    return x.view(1, 2, 3, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(12, 2, 4, 4)


def whole(y):
    return y.view(1, 3, 4, 2, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(1, 2, 12, 16)


def test_axes_split_and_put_together_again_are_what_they_were():
    for function, layers in (
        (lambda x: x.view(1, 2, 3, 4, 4, 4).view(1, 2, 12, 16), ()),
        (lambda x: whole(tiles(x).relu() + 1), ()),
        (lambda x, mix: whole(mix(tiles(x))), (nn.Conv2d(2, 2, 1),)),
    ):
        found = trace(Views(function, *layers), (1, 2, 12, 16))
        assert found.receptive_field("output").size == (1, 1)
        assert found.support("output", (0, 0, 7, 5)) == {(0, 2): (7, 7), (0, 3): (5, 5)}


def test_positions_inside_blocks_count_as_their_block_and_it_is_said():
    found = trace(Views(lambda x, mix: whole(mix(tiles(x))), nn.Conv2d(2, 2, 3, padding=1)), (1, 2, 12, 16))
    field = found.receptive_field("output")
    assert field.size == (4, 4)
    assert "layers.0" in field.unknown
    assert "not known" in str(field)


def test_a_chosen_position_is_no_global_operation():
    field = trace(Views(lambda x: x[:, :, 3]), (1, 2, 12, 16)).receptive_field("output")
    assert field.whole_because == ()
    assert "a fixed part of height because of select" in str(field)


def test_a_scale_that_is_no_ratio_of_the_sizes():
    network = Views(lambda x: F.interpolate(x, scale_factor=0.5))
    assert trace(network, (1, 1, 13, 17)).receptive_field("output").stride == (2, 2)


def test_where_nothing_is_seen_no_axis_is():
    found = trace(nn.ConvTranspose2d(2, 2, 2, 3), (1, 2, 3, 3))
    assert found.support("output", (0, 0, 2, 3)) == {(0, 2): None, (0, 3): None}
