"""ResNet-50 with deformable stages: its figures, its keys beside ResNet-50's, what it computes untrained."""

import pytest
import torch

from convscope.errors import UnknownNameError, UsageError
from convscope.models import DeformableResNet, create_model, create_seeded_model, model_entry
from convscope.nn import DeformableConv2d
from convscope.trace import trace

# name: (parameters, MACs), resnet50's and those of the added convolutions, 3x3 to 18 or 27 channels with bias
ADDED = {"resnet50_dcn": [(512, 7, 18)] * 3}
ADDED["resnet50_dcnv2"] = [(128, 28, 27)] * 4 + [(256, 14, 27)] * 6 + [(512, 7, 27)] * 3
STAGES = {"resnet50_dcn": ["layer4"], "resnet50_dcnv2": ["layer2", "layer3", "layer4"]}


def on_meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def small(modulated, stages=2):
    torch.manual_seed(0)
    return DeformableResNet((1, 1, 1, 2), num_classes=5, deformable_stages=stages, modulated=modulated).eval()


@pytest.mark.parametrize("name", sorted(ADDED))
def test_parameters_and_macs_are_resnet50s_and_those_of_the_offsets(name):
    num_params = 25_557_032 + sum(out * (9 * channels + 1) for channels, _, out in ADDED[name])
    macs = 4_089_184_256 + sum(out * 9 * channels * side**2 for channels, side, out in ADDED[name])
    found = trace(on_meta(name).eval(), (1, 3, 224, 224))
    assert (found.num_params, found.macs) == (num_params, macs)
    assert found.not_counted == {}
    assert {"resnet50_dcn": 25_805_918, "resnet50_dcnv2": 26_428_295}[name] == num_params
    assert {"resnet50_dcn": 4_101_377_024, "resnet50_dcnv2": 4_278_172_160}[name] == macs


@pytest.mark.parametrize("name", sorted(ADDED))
def test_only_the_offsets_are_not_in_resnet50s_state_dict(name):
    plain, state = on_meta("resnet50").state_dict(), on_meta(name).state_dict()
    added = [key for key in state if key not in plain]
    assert [(key, value.shape) for key, value in state.items() if key in plain] == [
        (key, value.shape) for key, value in plain.items()
    ]
    stages = STAGES[name]
    blocks = [f"{stage}.{i}" for stage in stages for i in range({"2": 4, "3": 6, "4": 3}[stage[-1]])]
    assert added == [f"{block}.conv2.offset.{key}" for block in blocks for key in ("weight", "bias")]
    assert model_entry(name).head == ("fc",)


def test_resnet50s_weights_give_resnet50s_logits():
    plain, ours = create_seeded_model("resnet50", 1).eval(), create_seeded_model("resnet50_dcn", 2).eval()
    missing, unexpected = ours.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert all(".conv2.offset." in key for key in missing)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        one, other = ours(images), plain(images)
    assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


def test_masks_start_at_a_half_so_doubled_weights_give_the_plain_logits():
    plain, ours = create_seeded_model("resnet50", 1).eval(), create_seeded_model("resnet50_dcnv2", 2).eval()
    ours.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        other = plain(images)
        scale = float(other.abs().max())
        assert float((ours(images) - other).abs().max()) > 1e-3 * scale
        for module in ours.modules():
            if isinstance(module, DeformableConv2d):
                module.weight.mul_(2)
        assert float((ours(images) - other).abs().max()) <= 1e-5 * scale


@pytest.mark.parametrize("modulated", [False, True])
def test_offsets_start_at_zero_and_the_other_weights_as_resnets(modulated):
    network = small(modulated)
    layers = [module for module in network.modules() if isinstance(module, DeformableConv2d)]
    assert len(layers) == 3
    assert all(layer.modulated is modulated for layer in layers)
    for layer in layers:
        assert not layer.offset.weight.any()
        assert not layer.offset.bias.any()
        assert float(layer.weight.detach().std()) == pytest.approx(
            (2 / (9 * layer.out_channels)) ** 0.5, rel=0.02
        )


@pytest.mark.parametrize("modulated", [False, True])
def test_every_parameter_gets_a_gradient_and_learns(modulated):
    torch.manual_seed(0)
    network = small(modulated).train()
    images, classes = torch.randn(2, 3, 64, 48), torch.arange(2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), classes)
        loss.backward()
        losses.append(float(loss.detach()))
        for key, parameter in network.named_parameters():
            assert bool(parameter.grad.abs().sum() > 0), key
        optimiser.step()
    assert losses[2] < losses[0]
    assert all(bool(p.any()) for key, p in network.named_parameters() if "offset.weight" in key)


def test_the_strides_and_dilations_of_resnet_stay():
    network = on_meta("resnet50_dcn", replace_stride_with_dilation=(False, True, True), num_classes=7)
    convs = [block.conv2 for block in network.layer4]
    assert [(conv.stride, conv.padding, conv.dilation) for conv in convs] == [
        ((1, 1), (2, 2), (2, 2)),
        ((1, 1), (4, 4), (4, 4)),
        ((1, 1), (4, 4), (4, 4)),
    ]
    assert [conv.offset.dilation for conv in convs] == [conv.dilation for conv in convs]
    assert network(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 7)
    assert on_meta("resnet50_dcn", stem="cifar").conv1.kernel_size == (3, 3)
    assert [block.conv2.stride for block in on_meta("resnet50_dcnv2").layer3][:2] == [(2, 2), (1, 1)]


def test_the_receptive_field_depends_on_values():
    found = trace(small(False, 1), (1, 3, 64, 64))
    assert found.receptive_field("layer3.0.conv2").data_dependent == ()
    assert found.receptive_field("layer4.0.conv2").data_dependent == ("layer4.0.conv2/deform_conv2d",)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: DeformableResNet((1, 1, 1)), UsageError, "depths are (1, 1, 1); give four"),
        (lambda: DeformableResNet((1, 1, 1, 1), deformable_stages=5), UsageError, "deformable_stages is 5; "),
        (lambda: create_model("resnet50_dcn", stem="mnist"), UnknownNameError, "unknown stem 'mnist'"),
        (lambda: create_model("resnet50_dcnv3"), UnknownNameError, "did you mean 'resnet50_dcnv2'"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
