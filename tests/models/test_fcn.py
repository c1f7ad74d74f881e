"""FCN, and what it shares with DeepLabV3: backbone, heads, sizes; torchvision's figures and layout."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.models import FCN, create_model, create_seeded_model, model_entry
from convscope.trace import trace

# (parameters, 10^9 MACs for a 520x520 image) as torchvision publishes them, both heads counted, and the beginning of
# the SHA-256 of its state dict's keys, shapes and dtypes.
PUBLISHED = {
    "fcn_resnet50": (35_322_218, 152.717, "7d81769f078f4f92"),
    "fcn_resnet101": (54_314_346, 232.738, "d52d04bdd6ef9b33"),
}
# Without the second head, and on ResNet-18: what we measured.
MEASURED = [
    ("fcn_resnet50", False, 32_957_013, 142_725_772_800),
    ("fcn_resnet101", False, 51_949_141, 222_746_867_200),
    ("fcn_resnet18", True, 11_918_250, 52_777_483_200),
    ("fcn_resnet18", False, 11_769_301, 52_148_803_200),
]


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


@pytest.fixture(scope="module")
def small():
    return create_seeded_model("fcn_resnet18", 0, num_classes=4).eval()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_parameters_macs_and_layout(name):
    network = on_meta(name)
    found = trace(network, (1, *model_entry(name).input_shape))
    lines = [f"{key} {list(value.shape)} {value.dtype}" for key, value in network.state_dict().items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert (found.num_params, round(found.macs / 1e9, 3), digest) == PUBLISHED[name]
    assert found.not_counted == {}
    assert [found.tensors[output].shape for output in found.outputs] == [(1, 21, 520, 520)] * 2


@pytest.mark.parametrize(("name", "aux_loss", "num_params", "macs"), MEASURED)
def test_measured_parameters_and_macs(name, aux_loss, num_params, macs):
    found = trace(on_meta(name, aux_loss=aux_loss), (1, *model_entry(name).input_shape))
    assert (found.num_params, found.macs, found.not_counted) == (num_params, macs, {})


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 47)])
def test_every_size_comes_out_as_it_went_in(small, size):
    with torch.no_grad():
        output = small(torch.randn(2, 3, *size))
    assert {name: scores.shape for name, scores in output.items()} == {
        "out": (2, 4, *size),
        "aux": (2, 4, *size),
    }


def test_a_network_is_its_formula(small):
    images = torch.randn(1, 3, 33, 50)
    body = small.backbone
    with torch.no_grad():
        maps = F.max_pool2d(F.relu(body.bn1(body.conv1(images))), 3, stride=2, padding=1)
        third = body.layer3(body.layer2(body.layer1(maps)))
        expected = {"out": small.classifier(body.layer4(third)), "aux": small.aux_classifier(third)}
        output = small(images)
    assert expected["out"].shape[2:] == expected["aux"].shape[2:] == (5, 7)
    for name, scores in expected.items():
        enlarged = F.interpolate(scores, (33, 50), mode="bilinear", align_corners=False)
        torch.testing.assert_close(output[name], enlarged)


def test_the_second_head_is_on_the_third_stage_and_can_be_left_out():
    network = create_seeded_model("fcn_resnet18", 0)
    network(torch.randn(2, 3, 32, 32))["aux"].square().mean().backward()
    assert all(parameter.grad is None for parameter in network.backbone.layer4.parameters())
    assert all(bool(parameter.grad.any()) for parameter in network.backbone.layer3.parameters())
    network = on_meta("fcn_resnet18", aux_loss=False)
    assert list(network(torch.zeros(1, 3, 32, 32, device="meta"))) == ["out"]
    assert not [key for key in network.state_dict() if key.startswith("aux_classifier")]


def test_every_parameter_gets_a_gradient():
    network = create_seeded_model("fcn_resnet18", 0)
    sum(scores.square().mean() for scores in network(torch.randn(2, 3, 32, 32)).values()).backward()
    assert all(bool(parameter.grad.any()) for parameter in network.parameters())


@pytest.mark.parametrize(("output_stride", "third", "last"), [(8, 9, 9), (16, 5, 5), (32, 5, 3)])
def test_the_output_stride_changes_maps_and_no_weights(output_stride, third, last):
    network = on_meta("fcn_resnet18", output_stride=output_stride)
    maps = network.backbone(torch.zeros(1, 3, 65, 65, device="meta"))
    assert [tuple(stage.shape) for stage in maps] == [(1, 256, third, third), (1, 512, last, last)]
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    assert shapes == {key: value.shape for key, value in on_meta("fcn_resnet18").state_dict().items()}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: FCN("resnet19"),
            UnknownNameError,
            "FCN: unknown backbone 'resnet19': did you mean 'resnet18'",
        ),
        (lambda: FCN("lenet5"), UnknownNameError, "FCN: unknown backbone 'lenet5'"),
        (lambda: FCN(output_stride=4), UsageError, "FCN: output_stride is 4; give 8, 16 or 32."),
        (
            lambda: create_model("fcn_resnet50", image_size=64),
            UnknownNameError,
            "argument of 'fcn_resnet50' 'image_size'",
        ),
        (
            lambda: FCN("resnet18")(torch.zeros(1, 3, 0, 5)),
            ShapeError,
            "FCN: an image of 0x5 pixels is too small; give at least 1x1.",
        ),
        (
            lambda: FCN("resnet18")(torch.zeros(1, 1, 8, 8)),
            ShapeError,
            "FCN: the images have 1 channels, the network takes 3",
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
