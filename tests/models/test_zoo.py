"""Every network of the zoo through one battery, and the figures that are known of them."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convscope.errors import RunError, ShapeError, UnknownNameError, UsageError
from convscope.geometry import Windows, conv_cost, dense_cost
from convscope.models import (
    create_model,
    create_seeded_model,
    list_models,
    load_weights,
    model_entry,
    read_metadata,
    register_model,
    save_weights,
)

# name: (parameters, MACs for one image of the network's own shape); LeNet-5's are the published figures.
FIGURES = {
    "lenet5": (61_706, 416_520),
    "mlp": (669_706, 784 * 512 + 512 * 512 + 512 * 10),
    "perceptron": (7_850, 7_840),
    "random_filters": (243, 3 * 81 * 300 * 451),
    "small_vgg": (
        72_666,
        9 * 784 * (16 + 16 * 16) + 9 * 196 * (16 * 32 + 32 * 32) + 9 * 49 * (32 * 64 + 64 * 64) + 640,
    ),
}


def inputs_of(name, batch=2):
    channels, height, width = model_entry(name).input_shape
    return torch.randn(batch, channels, min(height, 64), min(width, 64))


def test_the_table_holds_the_whole_zoo():
    assert list_models() == sorted(FIGURES)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_parameters_and_macs(name):
    network = create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *model_entry(name).input_shape))
    assert sum(parameter.numel() for parameter in network.parameters()) == FIGURES[name][0]
    assert counter.get_total_flops() // 2 == FIGURES[name][1]


def test_the_formulas_give_lenet5s_published_figures():
    """The same two numbers from geometry alone."""
    layers = (
        conv_cost(1, 6, Windows.of(2, 5, padding=2), (28, 28)),
        conv_cost(6, 16, Windows.of(2, 5), (14, 14)),
        dense_cost(400, 120),
        dense_cost(120, 84),
        dense_cost(84, 10),
    )
    assert sum(layer.num_params for layer in layers) == 61_706
    assert sum(layer.macs for layer in layers) == 416_520


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_parameter_gets_a_gradient(name):
    network = create_model(name)
    network(inputs_of(name)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.abs().sum() > 0), key


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_evaluation_is_deterministic_and_keeps_images_apart(name):
    network, images = create_model(name).eval(), inputs_of(name, 3)
    with torch.no_grad():
        together = network(images)
        torch.testing.assert_close(together, network(images), rtol=0, atol=0)
        # Other batch sizes may run other kernels, which round differently.
        torch.testing.assert_close(together[1:2], network(images[1:2]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_classes_and_channels_can_be_chosen(name):
    channels = model_entry(name).input_shape[0] + 1
    network = create_model(name, num_classes=7, in_channels=channels)
    images = torch.randn(2, channels, *model_entry(name).input_shape[1:])
    assert network(images).shape[1] == 7


@pytest.mark.parametrize(
    ("name", "shape"), [("lenet5", (40, 33)), ("lenet5", (12, 40)), ("mlp", (8, 9)), ("perceptron", (5, 5))]
)
def test_image_size(name, shape):
    assert create_model(name, image_size=shape)(torch.randn(1, 1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_weights_round_trip(name, tmp_path):
    one, other = create_seeded_model(name, 1), create_seeded_model(name, 2)
    save_weights(one, tmp_path / "w.safetensors", {"model": name})
    assert load_weights(other, tmp_path / "w.safetensors") == {"model": name}
    for key, value in one.state_dict().items():
        assert value.equal(other.state_dict()[key]), key
    loaded = create_model(name, weights=tmp_path / "w.safetensors")
    assert all(a.equal(b) for a, b in zip(one.parameters(), loaded.parameters(), strict=True))


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = create_seeded_model("lenet5", 3)
    assert torch.random.get_rng_state().equal(before)
    again, other = create_seeded_model("lenet5", 3), create_seeded_model("lenet5", 4)
    weights = [next(network.parameters()) for network in (first, again, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_random_filters_are_standard_normal_without_bias():
    network = create_seeded_model("random_filters", 0, width=64, num_classes=64)
    weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert abs(float(weights.mean())) < 0.02
    assert abs(float(weights.std()) - 1) < 0.02
    assert not [key for key, _ in network.named_parameters() if "bias" in key]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: create_model("lenet"),
            UnknownNameError,
            "create_model: unknown model 'lenet': did you mean 'lenet5'",
        ),
        (
            lambda: create_model("mlp", hiden=3),
            UnknownNameError,
            "unknown argument of 'mlp' 'hiden': did you mean 'hid",
        ),
        (
            lambda: create_model("small_vgg", image_size=3),
            UnknownNameError,
            "argument of 'small_vgg' 'image_size'",
        ),
        (lambda: create_model("mlp", num_classes=-1), ShapeError, "num_classes is -1; it must be at least 1"),
        (lambda: create_model("mlp", num_classes=0), ShapeError, "num_classes is 0; it must be at least 1"),
        (
            lambda: create_model("lenet5", image_size=8),
            ShapeError,
            "image_size is (8, 8); two 5x5 convolutions",
        ),
        (lambda: create_model("mlp", weights="x.pth"), UsageError, "'x.pth' are no .safetensors file"),
        (lambda: create_model("mlp", weights="x.safetensors"), UsageError, "'x.safetensors' do not exist"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network(tmp_path):
    save_weights(create_model("mlp"), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"are of another network: 10 keys are missing \(classifier"):
        load_weights(create_model("lenet5"), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"have 1.bias of shape \(512,\), the network \(9,\)"):
        load_weights(create_model("mlp", hidden=(9, 512)), tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04junk", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}{}{}{}"])
def test_damaged_weights(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    for read in (read_metadata, lambda path: load_weights(create_model("mlp"), path)):
        with pytest.raises(RunError, match="are damaged"):
            read(tmp_path / "w.safetensors")


def test_a_name_is_given_once():
    with pytest.raises(UsageError, match="model name 'mlp' is taken"):
        register_model("mlp", input_shape=(1, 1, 1), num_classes=1, source="")(lambda: None)
