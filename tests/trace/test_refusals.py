"""What a trace refuses, and what it says: operator, path, shapes, sizes that fit."""

import pytest
import torch
from networks import made
from torch import nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.trace import trace


def dense():
    return nn.Sequential(nn.Conv2d(3, 4, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 10 * 10, 10))


@pytest.mark.parametrize("real", [False, True])
def test_a_size_that_the_head_does_not_take(real):
    shape = (1, 3, 30, 30)
    with pytest.raises(ShapeError) as caught:
        trace(dense(), torch.randn(shape) if real else shape)
    text = str(caught.value)
    assert "operator aten.addmm in 3 (Linear)" in text
    assert "(1, 676)" in text
    assert "(400, 10)" in text
    # 24 and 25 give 10 x 10 maps.
    assert "nearest input sizes that fit: (1, 3, 25, 25)" in text
    for size in (24, 25):
        trace(dense(), (1, 3, size, size))


def test_sizes_on_both_sides():
    network, _ = made("u-net")
    with pytest.raises(ShapeError) as caught:
        trace(network, (1, 3, 27, 27))
    text = str(caught.value)
    assert "aten.cat" in text
    assert "(1, 3, 24, 24) and (1, 3, 28, 28)" in text


def test_channels():
    with pytest.raises(ShapeError, match=r"\(1, 4, 24, 24\).*It takes \(1, 3, 24, 24\): 3 channels"):
        trace(dense(), (1, 4, 24, 24))


def test_too_small():
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.Conv2d(4, 4, 7))
    with pytest.raises(ShapeError, match=r"operator aten.convolution in 1 \(Conv2d\).*fit: \(1, 3, 13, 13\)"):
        trace(network, (1, 3, 10, 10))


def test_our_own_layers_refuse_in_their_words():
    from convscope.models import create_model

    with pytest.raises(ShapeError, match=r"6 \(MaxPool2d\) refuses.*kernel does not fit along height"):
        trace(create_model("small_vgg"), (1, 1, 1, 9))


def test_an_error_of_the_networks_own():
    class Picky(nn.Module):
        def forward(self, x):
            raise KeyError("missing")

    with pytest.raises(UsageError, match=r"the network \(Picky\) raises KeyError: 'missing'"):
        trace(Picky(), (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("network", "given", "error", "text"),
    [
        ("resnet", (1, 3, 8, 8), UsageError, "got a str; give a torch.nn.Module"),
        (nn.ReLU(), "big", UsageError, "holds no tensor and no shape"),
        (nn.ReLU(), object(), UsageError, "the input is a object; give a shape"),
        (nn.ReLU(), (), UsageError, "the input is a tuple"),
        (nn.ReLU(), (1, -3), ShapeError, r"shape \(1, -3\) has a negative length"),
        (nn.ReLU(), {}, UsageError, "holds no tensor"),
    ],
)
def test_wrong_calls(network, given, error, text):
    with pytest.raises(error, match=text):
        trace(network, given)


def test_names():
    with pytest.raises(UnknownNameError, match="unknown mode 'evaluation': did you mean"):
        trace(nn.ReLU(), (1, 2), mode="evaluation")
    with pytest.raises(UnknownNameError, match="unknown layer '9'"):
        trace(dense(), torch.randn(1, 3, 24, 24), layers=["9"])
    found = trace(dense(), (1, 3, 24, 24))
    with pytest.raises(UnknownNameError, match="receptive_field: unknown layer 'O'"):
        found.receptive_field("O")
    with pytest.raises(ShapeError, match="support: at"):
        found.support("1", (0, 9, 9, 99))
    with pytest.raises(UsageError, match="made from a shape and has no values"):
        found.with_values()


def test_inputs_of_every_kind():
    network, shape = made("dict and list")
    found = trace(network, shape)
    assert [found.tensors[n].name for n in found.inputs] == ["image", "depth"]
    assert len(found.outputs) == 3
    network, shape = made("two inputs")
    found = trace(network, shape)
    assert [found.tensors[n].name for n in found.inputs] == ["input0", "input1"]
    assert found.receptive_field("image").axes[0].input == 0
    assert found.receptive_field("output").size == (3, 3, 5, 5)  # height and width of both inputs
    by_keyword = trace(network, {"depth": shape[1], "image": shape[0]})
    assert by_keyword.macs == found.macs

    class TakesList(nn.Module):
        def forward(self, parts):
            return torch.cat(parts, 1)

    assert trace(TakesList(), [(1, 2, 4, 4), (1, 3, 4, 4)]).tensors[-1].shape == (1, 5, 4, 4)
    integers = trace(nn.Embedding(10, 4), torch.tensor([[1, 2]]))
    assert integers.tensors[integers.outputs[0]].shape == (1, 2, 4)
    assert trace(nn.Embedding(10, 4), (1, 2), dtype=torch.int64).tensors[-1].shape == (1, 2, 4)


def test_half_precision_networks_get_their_own_type():
    found = trace(nn.Conv2d(3, 4, 3).to(torch.bfloat16), (1, 3, 8, 8))
    assert {tensor.dtype for tensor in found.tensors} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("network", "shape", "text"),
    [
        ("digits", (1, 1, 28, 30), "(1, 1, 28, 28)"),
        ("digits", (1, 1, 128, 128), "It takes (1, 1, 28, 28)"),
        ("digits", (1, 3, 30, 30), "(1, 1, 28, 28)"),
        ("u-net", (1, 3, 24, 27), "(1, 3, 24, 24) and (1, 3, 24, 28)"),
        ("u-net", (1, 3, 1080, 1918), "(1, 3, 1080, 1916) and (1, 3, 1080, 1920)"),
        ("linear", (2, 9), "It takes (2, 10)"),
        ("norm", (3, 8, 8), "It takes (1, 3, 8, 8): the batch axis is missing"),
    ],
)
def test_sizes_that_fit(network, shape, text):
    made_here = {
        "digits": nn.Sequential(nn.Conv2d(1, 4, 5), nn.Flatten(), nn.Linear(4 * 24 * 24, 10)),
        "u-net": made("u-net")[0],
        "linear": nn.Linear(10, 5),
        "norm": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    }
    with pytest.raises(ShapeError) as caught:
        trace(made_here[network], shape)
    assert text in str(caught.value)


def test_a_failure_that_the_network_caught_is_not_blamed():
    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.good = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            try:
                x @ x.new_zeros(99, 1)
            except RuntimeError:
                x = x + 1
            return self.good(x)

    with pytest.raises(ShapeError, match=r"operator aten.convolution in good \(Conv2d\)"):
        trace(Tries(), (1, 5, 8, 8))


def test_sizes_beyond_every_integer():
    with pytest.raises(ShapeError, match="too large for torch"):
        trace(nn.ReLU(), (1, 3, 10**20, 8))


def test_named_tuples_stay_what_they_are():
    from collections import namedtuple

    Pair = namedtuple("Pair", "left right")

    class Takes(nn.Module):
        def forward(self, pair):
            return pair.left + pair.right

    assert trace(Takes(), (Pair((1, 2), (1, 2)),)).tensors[-1].shape == (1, 2)
