"""AlexNet: torchvision's, the paper's and the one for 32x32."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.models import AlexNet, AlexNetPaper, create_model, create_seeded_model

# The paper's MACs by hand: places * output channels * inputs of each, halved where there are two groups.
PAPER_MACS = (
    55**2 * 96 * 3 * 121
    + 27**2 * 256 * 48 * 25
    + 13**2 * (384 * 256 * 9 + 384 * 192 * 9 + 256 * 192 * 9)
    + 9216 * 4096
    + 4096 * 4096
    + 4096 * 1000
)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("alexnet", (61_100_840, 714_188_480)),
        ("alexnet_paper", (60_965_224, PAPER_MACS)),
        ("alexnet_cifar", (5_868_362, 179_075_072)),
    ],
)
def test_figures(measured, name, figures):
    assert measured(name) == figures


def test_layout_is_torchvisions(layout_digest):
    assert layout_digest("alexnet") == "649d31563b0127f5"


def test_ungrouped_paper(on_meta):
    network = on_meta("alexnet_paper", groups=1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 62_378_344


def test_the_papers_features_are_its_formula():
    """ReLU, then x / (2 + 1e-4 * sum of the squares of five channels)^0.75, then pooling; two groups."""
    network, images = create_seeded_model("alexnet_paper", 0).eval(), torch.randn(1, 3, 99, 83)
    convs = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [conv.groups for conv in convs] == [1, 2, 1, 2, 2]

    def normalised(maps):
        squares = F.pad(maps.square(), (0, 0, 0, 0, 2, 2))
        total = sum(squares[:, shift : shift + maps.shape[1]] for shift in range(5))
        return maps / (2 + 1e-4 * total) ** 0.75

    maps = 40 * images  # so large that the normalisation shows
    with torch.no_grad():
        expected = maps
        for index, conv in enumerate(convs):
            halves = [
                F.conv2d(part, weight, bias, conv.stride, conv.padding)
                for part, weight, bias in zip(
                    expected.chunk(conv.groups, 1),
                    conv.weight.chunk(conv.groups),
                    conv.bias.chunk(conv.groups),
                    strict=True,
                )
            ]
            expected = torch.cat(halves, 1).relu()
            if index < 2:
                expected = normalised(expected)
            if index in (0, 1, 4):
                expected = F.max_pool2d(expected, 3, 2)
        torch.testing.assert_close(network.features(maps), expected)


def test_the_papers_biases_start_alive():
    network = create_seeded_model("alexnet_paper", 0)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert [float(layer.bias.detach().unique()) for layer in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(float(layer.weight.detach().std()) == pytest.approx(0.01, rel=0.05) for layer in layers)


def test_the_pooling_before_the_classifier_changes_nothing_at_the_published_size(on_meta):
    for name, side in (("alexnet", 224), ("alexnet_paper", 227), ("alexnet_cifar", 32)):
        network = on_meta(name)
        shape = network.features(torch.empty(1, 3, side, side, device="meta")).shape[2:]
        assert shape == network.avgpool(torch.empty(1, 256, *shape, device="meta")).shape[2:]


@pytest.mark.parametrize(
    ("name", "smallest"), [("alexnet", 63), ("alexnet_paper", 67), ("alexnet_cifar", 15)]
)
def test_smallest_image(name, smallest):
    network = create_model(name).eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, smallest, smallest + 5))
        with pytest.raises(ShapeError, match=rf"pixels is too small; give at least {smallest}x{smallest}\."):
            network(torch.zeros(1, 3, smallest - 1, 300))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: AlexNet(dropout=1.0), "AlexNet: dropout is 1.0; it must be at least 0 and below 1."),
        (lambda: AlexNet(hidden=0), "AlexNet: hidden is 0; it must be at least 1."),
        (lambda: AlexNet(stem="cifar10"), "AlexNet: unknown stem 'cifar10': did you mean 'cifar'?"),
        (lambda: AlexNetPaper(groups=0), "AlexNetPaper: groups is 0; it must be at least 1."),
        (lambda: AlexNetPaper(groups=5), "AlexNetPaper: "),
        (lambda: AlexNetPaper(dropout=-0.5), "AlexNetPaper: dropout is -0.5"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
