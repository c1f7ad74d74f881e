"""The ResNet paper's networks for CIFAR-10: figures and the shortcut without parameters."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import UsageError
from convscope.models import CifarResNet
from convscope.models.resnet_cifar import CifarBlock

# name: parameters, MACs in tenths of a million, as published
PUBLISHED = {
    "resnet20": (269_722, 406),
    "resnet32": (464_154, 689),
    "resnet44": (658_586, 972),
    "resnet56": (853_018, 1255),
    "resnet110": (1_727_962, 2529),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures(measured, on_meta, name):
    num_params, macs = measured(name)
    assert (num_params, round(macs / 1e5)) == PUBLISHED[name]
    layers = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert name == f"resnet{len(layers)}"


def test_the_shortcut_takes_every_second_pixel_and_adds_channels_of_zeros():
    block = CifarBlock(2, 5, stride=2)
    nn.init.zeros_(block.bn2.weight)  # cuts off the residual
    maps = torch.randn(2, 2, 5, 4).abs()
    expected = torch.zeros(2, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            expected[:, :2, row, column] = maps[:, :, 2 * row, 2 * column]
    assert block(maps).equal(expected)
    assert CifarBlock(2, 2)._shortcut(maps) is maps


def test_a_block_is_its_formula():
    torch.manual_seed(0)
    block, maps = CifarBlock(3, 4, stride=2).eval(), torch.randn(2, 3, 6, 5)
    hidden = block.bn1(F.conv2d(maps, block.conv1.weight, stride=2, padding=1)).relu()
    residual = block.bn2(F.conv2d(hidden, block.conv2.weight, padding=1))
    shortcut = torch.cat([maps[:, :, ::2, ::2], torch.zeros(2, 1, 3, 3)], dim=1)
    torch.testing.assert_close(block(maps), (residual + shortcut).relu())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: CifarResNet(18), "CifarResNet: depth is 18; it must be 6n + 2, such as 14 or 20."),
        (lambda: CifarResNet(2), "CifarResNet: depth is 2; it must be at least 8."),
        (lambda: CifarBlock(4, 2), "CifarBlock: out_channels is 2; a shortcut that adds zero channels needs"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
