"""DeepLabV3: torchvision's figures and layout, and the pyramid of dilations."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.models import ASPP, DeepLabV3, create_model, model_entry
from convscope.trace import trace

# As in test_fcn.py.
PUBLISHED = {
    "deeplabv3_resnet50": (42_004_074, 178.722, "ac1e0b15b65992e9"),
    "deeplabv3_resnet101": (60_996_202, 258.743, "4583147bddd7fa33"),
}
WITHOUT_AUX = {"deeplabv3_resnet50": (39_638_869, 168.731), "deeplabv3_resnet101": (58_630_997, 248.752)}


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options).eval()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_parameters_macs_and_layout(name):
    network = on_meta(name)
    found = trace(network, (1, *model_entry(name).input_shape))
    lines = [f"{key} {list(value.shape)} {value.dtype}" for key, value in network.state_dict().items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert (found.num_params, round(found.macs / 1e9, 3), digest) == PUBLISHED[name]
    assert found.not_counted == {}
    assert [found.tensors[output].shape for output in found.outputs] == [(1, 21, 520, 520)] * 2


@pytest.mark.parametrize("name", sorted(WITHOUT_AUX))
def test_parameters_and_macs_without_the_second_head(name):
    found = trace(on_meta(name, aux_loss=False), (1, *model_entry(name).input_shape))
    assert (found.num_params, round(found.macs / 1e9, 3)) == WITHOUT_AUX[name]
    assert [found.tensors[output].shape for output in found.outputs] == [(1, 21, 520, 520)]


def test_the_receptive_field_is_the_kernels_and_the_whole_image():
    """1,019 pixels by kernels: ResNet-50 with dilation, 36 * 2 + 2 pixels of 8 more."""
    field = trace(on_meta("deeplabv3_resnet50"), (1, 3, 520, 520)).receptive_field("classifier.4")
    assert "1019 pixels" in str(field)
    assert "the whole image because of classifier.0.convs.4.0" in str(field)


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 47)])
def test_every_size_comes_out_as_it_went_in(size):
    network = DeepLabV3("resnet18", num_classes=4).eval()
    with torch.no_grad():
        output = network(torch.randn(1, 3, *size))
    assert {name: scores.shape for name, scores in output.items()} == {
        "out": (1, 4, *size),
        "aux": (1, 4, *size),
    }


def test_the_pyramid_is_its_formula():
    pyramid, maps = ASPP(6, rates=(1, 3), out_channels=4), torch.randn(2, 6, 7, 5)

    def after(conv, norm, maps, rate=0):
        maps = F.conv2d(maps, conv.weight, padding=rate, dilation=max(rate, 1))
        return F.relu(F.batch_norm(maps, None, None, norm.weight, norm.bias, training=True))

    pyramid.project[3].p = 0.0  # dropout
    one, near, far, mean = pyramid.convs
    expected = torch.cat(
        [
            after(*one[:2], maps),
            after(*near[:2], maps, 1),
            after(*far[:2], maps, 3),
            after(*mean[1:3], maps.mean((2, 3), keepdim=True)).expand(2, 4, 7, 5),
        ],
        dim=1,
    )
    torch.testing.assert_close(pyramid(maps), after(*pyramid.project[:2], expected))


def test_the_papers_rates_are_the_usual_ones():
    assert [branch[0].dilation[0] for branch in ASPP(2, out_channels=2).convs[1:-1]] == [12, 24, 36]


def test_the_mean_lets_every_pixel_see_every_other():
    pyramid = ASPP(8, rates=(2,)).eval()
    maps = torch.randn(1, 8, 9, 9, requires_grad=True)
    (gradient,) = torch.autograd.grad(pyramid(maps)[0, :, 0, 0].sum(), maps)
    assert bool((gradient.abs().sum(1) > 0).all())


@pytest.mark.parametrize(("output_stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_rates_keep_their_reach_in_the_image(output_stride, rates):
    network = on_meta("deeplabv3_resnet50", output_stride=output_stride)
    found = [branch[0].dilation[0] for branch in network.classifier[0].convs[1:-1]]
    assert found == rates
    assert on_meta("deeplabv3_resnet50", rates=(2, 5)).classifier[0].convs[2][0].dilation == (5, 5)


def test_every_parameter_gets_a_gradient_in_training():
    network = DeepLabV3("resnet18")
    sum(scores.square().mean() for scores in network(torch.randn(2, 3, 40, 40)).values()).backward()
    assert all(bool(parameter.grad.any()) for parameter in network.parameters())


def test_a_single_image_trains_once_the_norms_are_frozen():
    pyramid = ASPP(4, out_channels=4)
    for module in pyramid.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert pyramid(torch.zeros(1, 4, 6, 6)).shape == (1, 4, 6, 6)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ASPP(4, rates=()), UsageError, "ASPP: no rate is given; give at least one."),
        (lambda: ASPP(4, rates=(6, 0)), ShapeError, "ASPP: a rate is 0; it must be at least 1"),
        (
            lambda: ASPP(4)(torch.zeros(1, 4, 6, 6)),
            ShapeError,
            "but the batch has 1 image(s); give at least 2",
        ),
        (
            lambda: DeepLabV3("resnet18")(torch.zeros(1, 3, 40, 40)),
            ShapeError,
            "but the batch has 1 image(s); give at least 2, or call eval()",
        ),
        (lambda: DeepLabV3("mlp"), UnknownNameError, "DeepLabV3: unknown backbone 'mlp'"),
        (lambda: DeepLabV3(output_stride=5), UsageError, "DeepLabV3: output_stride is 5; give 8, 16 or 32."),
        (
            lambda: DeepLabV3("resnet18")(torch.zeros(2, 3, 5, 0)),
            ShapeError,
            "DeepLabV3: an image of 5x0 pixels is too small; give at least 1x1.",
        ),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
