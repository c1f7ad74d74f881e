"""ResNet and ResNeXt: what neither the battery nor the figures of the zoo would notice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import UsageError
from convscope.models import create_model, create_seeded_model
from convscope.models.resnet import BasicBlock, Bottleneck, ResNet


def test_the_first_bottleneck_of_a_stage_strides_on_its_3x3_and_on_its_shortcut(on_meta):
    block = on_meta("resnet50").layer2[0]
    convs = [block.conv1, block.conv2, block.conv3, block.downsample[0]]
    assert [conv.kernel_size[0] for conv in convs] == [1, 3, 1, 1]
    assert [conv.stride[0] for conv in convs] == [1, 2, 1, 2]
    assert on_meta("resnet18").layer2[0].conv1.stride == (2, 2)


@pytest.mark.parametrize(("name", "channels"), [("resnext50_32x4d", 4), ("resnext101_32x8d", 8)])
def test_resnext_has_32_groups_that_widen_with_the_stages(on_meta, name, channels):
    network = on_meta(name)
    for stage in range(4):
        conv = network.get_submodule(f"layer{stage + 1}.0.conv2")
        assert conv.groups == 32
        assert conv.weight.shape[1] == channels * 2**stage


def test_a_network_is_its_formula():
    network, images = create_seeded_model("resnet18", 0).eval(), torch.randn(2, 3, 33, 50)
    with torch.no_grad():
        maps = F.max_pool2d(F.relu(network.bn1(network.conv1(images))), 3, stride=2, padding=1)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            maps = stage(maps)
        torch.testing.assert_close(network(images), network.fc(maps.mean((2, 3))))


def test_blocks_are_their_formulas():
    basic, bottleneck, maps = (
        BasicBlock(4, 6, 8, 2).eval(),
        Bottleneck(4, 6, 8, 2).eval(),
        torch.randn(2, 4, 9, 8),
    )
    hidden = F.relu(basic.bn1(basic.conv1(maps)))
    residual = basic.bn2(basic.conv2(hidden))
    torch.testing.assert_close(basic(maps), F.relu(residual + basic.downsample(maps)))
    hidden = F.relu(bottleneck.bn1(bottleneck.conv1(maps)))
    hidden = F.relu(bottleneck.bn2(bottleneck.conv2(hidden)))
    residual = bottleneck.bn3(bottleneck.conv3(hidden))
    torch.testing.assert_close(bottleneck(maps), F.relu(residual + bottleneck.downsample(maps)))


@pytest.mark.parametrize("block", [BasicBlock(8, 8, 8), Bottleneck(8, 2, 8)])
def test_without_its_residual_a_block_is_relu_and_leaves_its_input_alone(block):
    """A last batch norm of zeros cuts off the residual."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)
    maps = torch.randn(2, 8, 5, 4)
    before = maps.clone()
    assert block(maps).equal(before.relu())
    assert maps.equal(before)


@pytest.mark.parametrize("block", [BasicBlock(4, 6, 8, stride=2), Bottleneck(4, 6, 8, stride=2, groups=2)])
def test_gradients_are_right_in_spite_of_in_place_operations(block):
    block = block.double()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.5, 1.0)  # away from the corner of ReLU
    maps = torch.randn(2, 4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(block.eval(), maps.requires_grad_())


def test_convolutions_start_with_the_published_deviation():
    network = create_seeded_model("resnet18", 0)
    for layer, fan_out in (("conv1", 64 * 49), ("layer3.0.conv2", 256 * 9), ("layer4.0.downsample.0", 512)):
        weight = network.get_parameter(f"{layer}.weight").detach()
        assert float(weight.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.03), layer


def test_sides_round_up_and_any_size_is_taken():
    network = create_seeded_model("resnet18", 0).eval()
    with torch.no_grad():
        assert network.layer1(network.maxpool(network.conv1(torch.zeros(1, 3, 33, 50)))).shape[2:] == (9, 13)
        assert network(torch.zeros(1, 3, 1, 50)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("resnet18_cifar", (11_173_962, 555_422_720)),
        ("resnet50_cifar", (23_520_842, 1_297_829_888)),
        ("resnext50_32x4d_cifar", (22_992_714, 1_343_967_232)),
    ],
)
def test_small_members(measured, on_meta, name, figures):
    assert measured(name) == figures
    images, network = torch.empty(1, 3, 32, 32, device="meta"), on_meta(name)
    assert network.layer1(network.maxpool(network.conv1(images))).shape[2:] == (32, 32)
    big = on_meta(name.removesuffix("_cifar"), num_classes=10)
    assert big.state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    "flags", [(False, False, True), (False, True, True), (True, True, True), (True, False, True)]
)
@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_dilated_network_holds_the_ordinary_one_in_every_second_pixel_for_each_stride(block, flags):
    torch.manual_seed(0)
    plain = ResNet(block, (1, 2, 2, 2), 2).eval()
    dilated = ResNet(block, (1, 2, 2, 2), 2, replace_stride_with_dilation=flags).eval()
    dilated.load_state_dict(plain.state_dict())
    maps, step = {}, 2 ** sum(flags)
    with torch.no_grad():
        for network in (plain, dilated):
            start = network.maxpool(network.relu(network.bn1(network.conv1(torch.ones(1, 3, 97, 65)))))
            maps[network] = network.layer4(network.layer3(network.layer2(network.layer1(start))))
    assert maps[dilated].shape[2:] > maps[plain].shape[2:]
    torch.testing.assert_close(maps[dilated][:, :, ::step, ::step], maps[plain])


def test_dilations_are_torchvisions(on_meta):
    network = on_meta("resnet50", replace_stride_with_dilation=(False, True, True))
    dilations = [[block.conv2.dilation[0] for block in stage] for stage in (network.layer3, network.layer4)]
    assert dilations == [[1, 2, 2, 2, 2, 2], [2, 4, 4]]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stem": "small"}, "ResNet: unknown stem 'small': "),
        (
            {"replace_stride_with_dilation": (True, False)},
            "ResNet: replace_stride_with_dilation is (True, False); give three of True and False.",
        ),
        (
            {"replace_stride_with_dilation": (1, 2, 4)},
            "ResNet: replace_stride_with_dilation is (1, 2, 4); give three of True and False.",
        ),
    ],
)
def test_options_that_are_none(options, text):
    with pytest.raises(UsageError) as caught:
        create_model("resnet18", **options)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("depths", [(2, 2, 2), (2, 2, 2, 0), ()])
def test_depths_that_are_no_resnet(depths):
    with pytest.raises(UsageError, match=r"ResNet: depths are .*; give four, each at least 1\."):
        ResNet(BasicBlock, depths)
