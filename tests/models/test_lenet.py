"""LeNet-5 and the perceptrons: published figures, any width and depth."""

import pytest
import torch

from convscope.errors import ShapeError, UsageError
from convscope.models import LeNet5, create_model
from convscope.trace import trace


@pytest.mark.parametrize(
    ("channels", "side", "figures"),
    [(1, 28, (61_706, 416_520)), (1, 32, (61_706, 416_520)), (3, 32, (62_006, 651_720))],
)
def test_figures(on_meta, channels, side, figures):
    network = on_meta("lenet5", in_channels=channels, image_size=side)
    assert (
        sum(parameter.numel() for parameter in network.parameters()),
        trace(network, (1, channels, side, side)).macs,
    ) == figures


def test_the_mlps_figures_on_cifar(on_meta):
    network = on_meta("mlp", in_channels=3, image_size=32)
    num_params = sum(parameter.numel() for parameter in network.parameters())
    assert (num_params, trace(network, (1, 3, 32, 32)).macs) == (1_841_162, 1_840_128)


def test_the_keys_are_what_they_were():
    layers = ("conv1", "conv2", "classifier.hidden.0", "classifier.hidden.2", "classifier.fc")
    assert list(LeNet5().state_dict()) == [
        f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")
    ]


@pytest.mark.parametrize(
    ("widths", "smallest"), [((3,), 2), ((3, 4), 12), ((3, 4, 5), 36), ((3, 4, 5, 6), 76)]
)
@pytest.mark.parametrize("hidden", [(7,), (9, 8, 7)])
def test_any_width_and_depth(widths, smallest, hidden):
    for shape in ((smallest, smallest + 9), (97, smallest)):
        network = LeNet5(4, 3, shape, widths, hidden)
        assert network(torch.randn(2, 3, *shape)).shape == (2, 4)
        assert [network.get_submodule(f"conv{i + 1}").out_channels for i in range(len(widths))] == list(
            widths
        )
    with pytest.raises(ShapeError, match=f"need {smallest} pixels"):
        LeNet5(4, 3, (smallest - 1, 200), widths, hidden)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: LeNet5(widths=()), "LeNet5: widths is (); give one or more widths, such as (6, 16)."),
        (lambda: LeNet5(hidden=120), "LeNet5: hidden is 120; give one or more widths"),
        (lambda: LeNet5(widths=(6, 0)), "LeNet5: widths is 0; it must be at least 1."),
        (lambda: LeNet5(hidden=(1.5,)), "LeNet5: hidden is 1.5; it must be a whole number."),
        (
            lambda: LeNet5(image_size=(35, 35), widths=(6, 16, 24)),
            "LeNet5: image_size is (35, 35); 3 5x5 convolutions and pools need 36 pixels.",
        ),
        (lambda: create_model("mlp", hidden=7), "mlp: hidden is 7; give a sequence of widths"),
        (lambda: create_model("mlp", hidden=(7, 0)), "mlp: hidden is 0; it must be at least 1."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_heads_are_known(on_meta):
    from convscope.models import model_entry

    for name in ("lenet5", "mlp", "perceptron", "small_vgg"):
        (head,) = model_entry(name).head
        assert on_meta(name, num_classes=7).get_submodule(head).out_features == 7
