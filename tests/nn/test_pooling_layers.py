"""Pooling layers: torch's where torch has them, the functions where it has not."""

import pytest
import torch

from convscope import nn, ops
from convscope.errors import ShapeError, UnknownNameError

X = torch.arange(2.0 * 3 * 7 * 8 * 9).sin().reshape(2, 3, 7, 8, 9)


def image(ndim):
    return X[(..., *[0] * (3 - ndim))]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_equal_torchs_layers(ndim, ceil_mode):
    x = image(ndim)
    for kind, more in (("MaxPool", {"dilation": 2}), ("AvgPool", {"count_include_pad": False})):
        name = f"{kind}{ndim}d"
        arguments = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": ceil_mode} | more
        ours, theirs = (getattr(module, name)(**arguments) for module in (nn, torch.nn))
        assert isinstance(ours, type(theirs))
        assert torch.equal(ours(x), theirs(x))
    pairs = (getattr(module, f"MaxPool{ndim}d")(2, return_indices=True)(x) for module in (nn, torch.nn))
    for one, other in zip(*pairs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "full", [(0, 1)]])
def test_call_the_functions(ndim, padding):
    x = image(ndim)
    layer, call = (getattr(*place) for place in ((nn, f"MaxPool{ndim}d"), (ops, f"max_pool{ndim}d")))
    assert torch.equal(layer(3, 2, padding, ceil_mode=True)(x), call(x, 3, 2, padding, 1, True))
    layer, call = (getattr(*place) for place in ((nn, f"AvgPool{ndim}d"), (ops, f"avg_pool{ndim}d")))
    assert torch.equal(layer(3, 2, padding, True, False)(x), call(x, 3, 2, padding, True, False))
    assert torch.equal(
        layer(3, 2, padding, divisor_override=5)(x), call(x, 3, 2, padding, divisor_override=5)
    )
    layer, call = (getattr(*place) for place in ((nn, f"BlurPool{ndim}d"), (ops, f"blur_pool{ndim}d")))
    assert torch.equal(layer(5, 3, padding_mode="symmetric")(x), call(x, 5, 3, padding_mode="symmetric"))
    for kind, call in (("Avg", ops.global_avg_pool), ("Max", ops.global_max_pool)):
        layer = getattr(nn, f"Global{kind}Pool{ndim}d")
        assert torch.equal(layer()(x), call(x))
        assert torch.equal(layer(keepdim=True)(x[0]), call(x, keepdim=True)[0])


def test_no_parameters_and_their_text():
    net = torch.nn.Sequential(
        nn.MaxPool2d(3, 2, "same"),
        nn.AvgPool2d(2, padding=[(0, 1), (0, 0)]),
        nn.BlurPool2d(),
        nn.GlobalAvgPool2d(True),
    )
    assert not net.state_dict()
    assert [repr(layer) for layer in net] == [
        "MaxPool2d(kernel_size=3, stride=2, padding=same, dilation=1, ceil_mode=False)",
        "AvgPool2d(kernel_size=2, stride=2, padding=[(0, 1), (0, 0)])",
        "BlurPool2d(kernel_size=(3, 3), stride=(2, 2), padding_mode=reflect)",
        "GlobalAvgPool2d(keepdim=True)",
    ]


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: nn.MaxPool2d(3, padding=2),
            ShapeError,
            "MaxPool2d: pooling padding along height is 2; it must be at most half the kernel, 3 // 2 = 1.",
        ),
        (lambda: nn.AvgPool1d(0), ShapeError, "AvgPool1d: kernel_size is 0; it must be at least 1."),
        (lambda: nn.BlurPool2d(stride=0), ShapeError, "BlurPool2d: stride is 0; it must be at least 1."),
        (
            lambda: nn.BlurPool3d(padding_mode="circle"),
            UnknownNameError,
            "BlurPool3d: unknown padding mode 'circle': did you mean 'circular'? Known: 'zeros', 'constant', "
            "'reflect', 'replicate', 'circular', 'symmetric', 'linear'.",
        ),
    ],
)
def test_refusals(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text
