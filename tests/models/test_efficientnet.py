"""EfficientNet: what neither the battery nor the figures of the zoo would notice."""

import pytest
import torch
from torch import nn

from convscope.errors import UsageError
from convscope.models import EfficientNet, create_model, create_seeded_model
from convscope.models.efficientnet import MBConv, SqueezeExcitation
from convscope.nn import StochasticDepth


def modules(network, kind):
    return [module for module in network.modules() if isinstance(module, kind)]


# variant: dropout, eps and momentum of batch norm
SETTINGS = {
    "b0": (0.2, 1e-5, 0.1),
    "b1": (0.2, 1e-5, 0.1),
    "b2": (0.3, 1e-5, 0.1),
    "b3": (0.3, 1e-5, 0.1),
    "b4": (0.4, 1e-5, 0.1),
    "b5": (0.4, 1e-3, 0.01),
    "b6": (0.5, 1e-3, 0.01),
    "b7": (0.5, 1e-3, 0.01),
}


@pytest.mark.parametrize("variant", SETTINGS)
def test_settings_that_no_state_dict_holds(variant):
    with torch.device("meta"):
        network = create_model(f"efficientnet_{variant}")
    norms = {(norm.eps, norm.momentum) for norm in modules(network, nn.BatchNorm2d)}
    assert (network.classifier[0].p, *norms.pop()) == SETTINGS[variant]
    assert not norms
    probabilities = [layer.p for layer in modules(network, StochasticDepth)]
    expected = [0.2 * index / len(probabilities) for index in range(len(probabilities))]
    assert probabilities == pytest.approx(expected)


def test_small_member(measured, on_meta):
    assert measured("efficientnet_b0_cifar") == (4_020_358, 116_167_168)
    network = on_meta("efficientnet_b0_cifar")
    maps, sides = torch.empty(1, 3, 32, 32, device="meta"), []
    for stage in network.features:
        maps = stage(maps)
        sides.append(maps.shape[2])
    assert sides == [32, 32, 32, 16, 8, 8, 4, 4, 4]


def test_options_reach_their_layers():
    with torch.device("meta"):
        network = create_model("efficientnet_b0", dropout=0.75, stochastic_depth_prob=0.5)
    assert network.classifier[0].p == 0.75
    assert modules(network, StochasticDepth)[-1].p == pytest.approx(0.5 * 15 / 16)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, maps = StochasticDepth(0.25), torch.ones(4000, 2, 1, 3)
    rows = layer(maps).flatten(1)
    assert bool((rows == rows[:, :1]).all())  # a sample stays or goes as a whole
    assert rows[:, 0].unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float((rows[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert layer.eval()(maps) is maps


def test_a_block_that_is_left_out_returns_its_input():
    torch.manual_seed(0)
    block, maps = MBConv(8, 8, 3, stride=1, expansion=6, drop_prob=0.999), torch.randn(4, 8, 5, 4)
    assert block(maps).equal(maps)
    assert not block.eval()(maps).equal(maps)


def test_activations_stand_where_they_should():
    def kinds(network):
        return [type(layer).__name__ for layer in network.modules() if not list(layer.children())]

    conv_silu, excitation = (
        ["Conv2d", "BatchNorm2d", "SiLU"],
        ["GlobalAvgPool2d", "Conv2d", "Conv2d", "SiLU", "Sigmoid"],
    )
    narrow = ["Conv2d", "BatchNorm2d", "StochasticDepth"]
    assert kinds(MBConv(8, 8, 3, 1, 6)) == conv_silu * 2 + excitation + narrow
    assert kinds(MBConv(8, 8, 3, 1, 1)) == conv_silu + excitation + narrow
    with torch.device("meta"):
        network = create_model("efficientnet_b0")
    assert kinds(network.features[0]) == kinds(network.features[8]) == conv_silu
    assert kinds(network.classifier) == ["Dropout", "Linear"]


def test_only_blocks_that_keep_their_shape_have_a_shortcut():
    for settings, shortcut in (((8, 8, 3, 1, 6), True), ((8, 16, 3, 1, 6), False), ((8, 8, 3, 2, 6), False)):
        assert MBConv(*settings).has_shortcut is shortcut


def test_squeeze_excitation_weighs_channels_by_their_means():
    layer, maps = SqueezeExcitation(2, 1), torch.tensor([[[[1.0, 3.0]], [[4.0, 4.0]]]])
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    assert layer(maps).equal(maps / 2)  # sigmoid(0)
    with torch.no_grad():
        layer.fc1.weight[:] = 1.0
        layer.fc2.weight[1] = 1.0
        squeezed = torch.tensor(2.0 + 4.0)
        weight = (squeezed * squeezed.sigmoid()).sigmoid()
        torch.testing.assert_close(layer(maps), torch.stack([maps[:, 0] / 2, maps[:, 1] * weight], dim=1))


def test_gradients_are_right_in_spite_of_in_place_operations():
    block = MBConv(4, 4, 3, stride=1, expansion=2).double().eval()
    maps = torch.randn(2, 4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(block, maps.requires_grad_())


def test_weights_start_with_the_published_deviations():
    network = create_seeded_model("efficientnet_b0", 0)
    for key, expected in (
        ("features.0.0.weight", (2 / (32 * 9)) ** 0.5),
        ("features.6.0.block.1.0.weight", (2 / 25) ** 0.5),  # depthwise: the fan of one channel
        ("features.8.0.weight", (2 / 1280) ** 0.5),
        ("classifier.1.weight", (1 / 3 / 1000) ** 0.5),  # uniform to 1 / sqrt(classes)
    ):
        assert float(network.get_parameter(key).detach().std()) == pytest.approx(expected, rel=0.05), key
    assert not any(bool(conv.bias.any()) for conv in modules(network, nn.Conv2d) if conv.bias is not None)
    assert not bool(network.classifier[1].bias.any())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: EfficientNet(0, 1), "EfficientNet: width_mult is 0; it must be above 0 and finite."),
        (lambda: EfficientNet(1, -1), "EfficientNet: depth_mult is -1; it must be above 0 and finite."),
        (
            lambda: EfficientNet(1, 1, stochastic_depth_prob=1.0),
            "stochastic_depth_prob is 1.0; it must be at least 0",
        ),
        (lambda: EfficientNet(1, 1, stem="cifr"), "EfficientNet: unknown stem 'cifr': did you mean 'cifar'?"),
        (lambda: StochasticDepth(-0.1), "StochasticDepth: p is -0.1; it must be at least 0 and below 1."),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert text in str(caught.value)
