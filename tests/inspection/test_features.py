"""Networks as sources of feature maps."""

import pytest
import torch
from torch import nn

from convscope.errors import UnknownNameError, UsageError
from convscope.inspection import feature_maps, features_only
from convscope.models import create_model, create_seeded_model

SIZE = 192


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("resnet18", [2, 4, 8, 16, 32], [64, 64, 128, 256, 512]),
        ("efficientnet_b0", [2, 4, 8, 16, 32], [16, 24, 40, 112, 1280]),
        ("vgg11", [2, 4, 8, 16, 32], [128, 256, 512, 512, 512]),
        ("googlenet", [2, 4, 8, 16, 32], [64, 192, 480, 832, 1024]),
        ("mobilenet_v2", [2, 4, 8, 16, 32], [16, 24, 32, 96, 1280]),
        ("convnext_tiny", [4, 8, 16, 32], [96, 192, 384, 768]),
        ("alexnet", [4, 8, 16, 32], [64, 192, 256, 256]),
        ("unet", [2, 4, 8, 16], [128, 256, 512, 1024]),
        ("fcn_resnet18", [2, 4, 8], [64, 64, 512]),
        ("deeplabv3_resnet50", [2, 4, 8], [64, 256, 2048]),
        ("resnet18_cifar", [2, 4, 8], [128, 256, 512]),
    ],
)
def test_one_map_a_stride(name, strides, channels):
    with torch.device("meta"):
        network = features_only(create_model(name).eval(), (1, 3, SIZE, SIZE))
        maps = network(torch.zeros(1, 3, SIZE, SIZE))
    assert [[int(step) for step in entry.stride] for entry in network.feature_info] == [
        [s, s] for s in strides
    ]
    assert [entry.channels for entry in network.feature_info] == channels
    assert [map.shape[1] for map in maps] == channels
    if (
        name != "alexnet"
    ):  # which pads less than its kernels reach, so that sizes are not the image's over the stride
        assert [tuple(map.shape[2:]) for map in maps] == [(SIZE // s, SIZE // s) for s in strides]


@pytest.mark.parametrize(
    ("name", "side", "layers"),
    [
        # At 224 pixels the adaptive pooling before the head keeps the size, at others its stride is another.
        ("alexnet", 224, ["features.1", "features.4", "features.11", "features"]),
        ("vgg11", 224, ["features.4", "features.9", "features.14", "features.19", "features"]),
        ("fcn_resnet18", 64, ["backbone.relu", "backbone.layer1", "backbone.layer4"]),
        ("deeplabv3_resnet50", 64, ["backbone.relu", "backbone.layer1", "backbone.layer4"]),
        ("unet", 64, ["encoder.1", "encoder.2", "encoder.3", "encoder.4"]),
    ],
)
def test_neither_heads_nor_poolings_to_a_size_are_features(name, side, layers):
    with torch.device("meta"):
        network = features_only(create_model(name).eval(), (1, 3, side, side))
    assert [entry.layer for entry in network.feature_info] == layers


def test_a_network_without_a_head_ends_with_its_last_map():
    stage = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU())
    assert [e.layer for e in features_only(nn.Sequential(stage), (1, 1, 9, 9)).feature_info] == ["0"]
    bare = nn.Sequential(nn.Conv2d(1, 4, 3, 2))
    assert [e.layer for e in features_only(bare, (1, 1, 9, 9)).feature_info] == ["0"]
    scored = nn.Sequential(stage, nn.Conv2d(4, 2, 1), nn.Upsample(scale_factor=2))
    assert [e.layer for e in features_only(scored, (1, 1, 9, 9)).feature_info] == ["0"]


def test_published_receptive_field():
    with torch.device("meta"):
        network = features_only(create_model("resnet50"), (1, 3, 224, 224))
    last = network.feature_info[-1]
    assert (last.receptive_field.size, last.receptive_field.padding) == ((427, 427), (213, 213))
    assert last.to_dict()["stride"] == [32.0, 32.0]


def test_maps_are_those_of_the_network_and_the_rest_is_not_run():
    inner = create_seeded_model("resnet18", 0).eval()
    network = features_only(inner, (1, 3, 64, 64), ["layer2", "layer1.0.conv1"])
    images = torch.randn(2, 3, 64, 64)
    ran = []
    inner.layer3.register_forward_pre_hook(lambda *_: ran.append(True))
    maps = network(images)
    assert not ran
    kept = {entry.layer: entry.values for entry in feature_maps(inner, images, ["layer2", "layer1.0.conv1"])}
    for layer, map in zip(["layer2", "layer1.0.conv1"], maps, strict=True):
        torch.testing.assert_close(map, kept[layer], rtol=0, atol=0)
    assert not inner.layer2._forward_hooks


def test_gradients_flow():
    network = features_only(create_model("resnet18"), (1, 3, 64, 64))
    network(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    assert network.network.conv1.weight.grad is not None
    assert network.network.fc.weight.grad is None


def test_a_map_that_is_changed_in_place_is_copied():
    inner = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    images = torch.randn(1, 1, 8, 8)
    maps, _ = features_only(inner, (1, 1, 8, 8), ["0", "2"])(images)
    assert maps.equal(inner[0](images))
    assert bool((maps < 0).any())


def test_refusals():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(UnknownNameError, match="unknown layer '7'"):
        features_only(network, (1, 1, 8, 8), ["7"])
    with pytest.raises(UsageError, match="'1' returns no single map"):
        features_only(network, (1, 1, 8, 8), ["1"])
    with pytest.raises(UsageError, match="name one twice"):
        features_only(network, (1, 1, 8, 8), ["0", "0"])
    with pytest.raises(UsageError, match=r"layers is 'layer1'; give a list of paths, as in \['layer1'\]"):
        features_only(network, (1, 1, 8, 8), "layer1")
    with pytest.raises(UsageError, match="layers is empty"):
        features_only(network, (1, 1, 8, 8), [])
    with pytest.raises(UsageError, match="no module of the network returns an image map"):
        features_only(nn.Linear(3, 2), (1, 3))
