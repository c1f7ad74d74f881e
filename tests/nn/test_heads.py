"""Heads against the same thing written with torch, their counts by hand, and their refusals."""

import pytest
import torch

from convscope.errors import ShapeError
from convscope.nn import FlattenHead, GlobalAveragePoolHead


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("in_shape", [(3, 4, 5), 60])
def test_flatten_head_is_flatten_and_linear(in_shape):
    head, x = FlattenHead(in_shape, 10), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(head(x), x.flatten(1) @ head.fc.weight.T + head.fc.bias)
    assert list(head.state_dict()) == ["fc.weight", "fc.bias"]
    assert count(head) == 60 * 10 + 10


def test_hidden_layers_have_a_relu_each():
    head, x = FlattenHead((3, 4, 5), 10, hidden=(7, 6)), torch.randn(2, 3, 4, 5)
    first, second = head.hidden[0], head.hidden[2]
    expected = head.fc(second(first(x.flatten(1)).clamp(min=0)).clamp(min=0))
    torch.testing.assert_close(head(x), expected)
    assert count(head) == (60 * 7 + 7) + (7 * 6 + 6) + (6 * 10 + 10)


def test_another_activation():
    head, x = FlattenHead(60, 10, (7,), activation=torch.nn.Tanh), torch.randn(2, 60)
    torch.testing.assert_close(head(x), head.fc(head.hidden[0](x).tanh()))


@pytest.mark.parametrize("sizes", [(9,), (7, 5), (3, 4, 5)])
def test_global_average_pool_head_is_mean_and_linear(sizes):
    head, x = GlobalAveragePoolHead(6, 10), torch.randn(2, 6, *sizes)
    torch.testing.assert_close(head(x), x.flatten(2).mean(2) @ head.fc.weight.T + head.fc.bias)
    assert list(head.state_dict()) == ["fc.weight", "fc.bias"]
    assert count(head) == 6 * 10 + 10


def test_its_class_activation_map_has_the_score_as_its_mean():
    head, x = GlobalAveragePoolHead(6, 3), torch.randn(1, 6, 7, 5)
    maps = torch.einsum("kc,nchw->nkhw", head.fc.weight, x)
    torch.testing.assert_close(maps.mean((2, 3)) + head.fc.bias, head(x))


@pytest.mark.parametrize("head", [FlattenHead((2, 3, 3), 4, (5,)), GlobalAveragePoolHead(2, 4)])
def test_every_parameter_and_the_input_get_a_gradient(head):
    x = torch.randn(2, 2, 3, 3, requires_grad=True)
    head(x).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in (x, *head.parameters()))


@pytest.mark.parametrize(
    "build",
    [lambda **named: FlattenHead(8, 4, (5,), **named), lambda **named: GlobalAveragePoolHead(8, 4, **named)],
)
def test_bias_device_and_dtype(build):
    bare = build(bias=False, device="meta", dtype=torch.bfloat16)
    assert all(key.endswith("weight") for key in bare.state_dict())
    assert all(p.is_meta and p.dtype == torch.bfloat16 for p in bare.parameters())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: FlattenHead((16, 5, 5), 10)(torch.ones(1, 16, 6, 5)),
            "FlattenHead: input (1, 16, 6, 5) has 480 values a sample; this head was built for 400. "
            "Resize the input, or pool it to one size before the head.",
        ),
        (
            lambda: GlobalAveragePoolHead(16, 10)(torch.ones(1, 8, 5, 5)),
            "GlobalAveragePoolHead: input (1, 8, 5, 5) has 8 channels; this head was built for 16.",
        ),
        (
            lambda: GlobalAveragePoolHead(16, 10)(torch.ones(1, 16)),
            "GlobalAveragePoolHead: input (1, 16) has no spatial axis behind N and C; without a batch, give ndim.",
        ),
        (lambda: FlattenHead((16, 0), 10), "FlattenHead: in_shape is 0; it must be at least 1."),
        (lambda: FlattenHead(16, 10, (0,)), "FlattenHead: hidden is 0; it must be at least 1."),
        (
            lambda: GlobalAveragePoolHead(16, 0),
            "GlobalAveragePoolHead: num_classes is 0; it must be at least 1.",
        ),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == text
