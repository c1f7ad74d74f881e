"""Every network of the zoo through one battery, and the figures that are known of them."""

import hashlib

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

# name: (parameters, 10^9 MACs for one image of the network's own shape), both as torchvision publishes them, and the
# beginning of the SHA-256 of its state dict's keys, shapes and dtypes, from benchmarks/parity/resnet_efficientnet.py.
PUBLISHED = {
    "efficientnet_b0": (5_288_548, 0.386, "f9c03e803c0857e3"),
    "efficientnet_b1": (7_794_184, 0.687, "bfeddfd1223a84db"),
    "efficientnet_b2": (9_109_994, 1.088, "d3c48eda52183a6b"),
    "efficientnet_b3": (12_233_232, 1.827, "e962a30f0b4deb4c"),
    "efficientnet_b4": (19_341_616, 4.394, "01fff2d092db674a"),
    "efficientnet_b5": (30_389_784, 10.266, "3d30fa006ed27c1e"),
    "efficientnet_b6": (43_040_704, 19.068, "e4c7419aa0f483c3"),
    "efficientnet_b7": (66_347_960, 37.746, "5f49b6201cea4b65"),
    "resnet18": (11_689_512, 1.814, "96a672b6f666be68"),
    "resnet34": (21_797_672, 3.664, "781a7cdd18e2a9e5"),
    "resnet50": (25_557_032, 4.089, "537b1c87e6f187e4"),
    "resnet101": (44_549_160, 7.801, "59df6a08dcc322b0"),
    "resnet152": (60_192_808, 11.514, "5e6a489f59796aab"),
    "resnext50_32x4d": (25_028_904, 4.230, "9cb9371292b7f1d5"),
    "resnext101_32x8d": (88_791_336, 16.414, "75dd6e7490e23186"),
}

# The others are made of the same blocks; running them too would only take time.
RUN = sorted([*FIGURES, "efficientnet_b0", "resnet18", "resnet50"])


def inputs_of(name, batch=2):
    channels, height, width = model_entry(name).input_shape
    return torch.randn(batch, channels, min(height, 64), min(width, 64))


def parameters_and_macs(name):
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        network = create_model(name).eval()
        network(torch.zeros(1, *model_entry(name).input_shape))
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


def test_the_tables_hold_the_whole_zoo():
    assert list_models() == sorted(FIGURES | PUBLISHED)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_parameters_and_macs(name):
    assert parameters_and_macs(name) == FIGURES[name]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_parameters_and_macs(name):
    num_params, macs = parameters_and_macs(name)
    assert (num_params, round(macs / 1e9, 3)) == PUBLISHED[name][:2]


def test_resnet50s_macs_to_the_last_one():
    assert parameters_and_macs("resnet50")[1] == 4_089_184_256


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_state_dict_is_laid_out_as_torchvisions(name):
    with torch.device("meta"):
        state = create_model(name).state_dict()
    lines = [f"{key} {list(value.shape)} {value.dtype}" for key, value in state.items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == PUBLISHED[name][2]


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


@pytest.mark.parametrize("name", RUN)
def test_every_parameter_gets_a_gradient(name):
    # Stochastic depth may leave out a block for every image, which then has no gradient.
    options = {"stochastic_depth_prob": 0.0} if name.startswith("efficientnet") else {}
    network = create_model(name, **options)
    network(inputs_of(name)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert bool(parameter.grad.abs().sum() > 0), key


@pytest.mark.parametrize("name", RUN)
def test_evaluation_is_deterministic_and_keeps_images_apart(name):
    network, images = create_model(name).eval(), inputs_of(name, 3)
    with torch.no_grad():
        together = network(images)
        torch.testing.assert_close(together, network(images), rtol=0, atol=0)
        # Other batch sizes may run other kernels, which round differently; untrained scores may be tiny or huge.
        slack = 1e-3 * float(together.abs().max())
        torch.testing.assert_close(together[1:2], network(images[1:2]), rtol=0, atol=slack)


@pytest.mark.parametrize("name", RUN)
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


@pytest.mark.parametrize("name", RUN)
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
        (
            lambda: create_model("resnet50", image_size=64),
            UnknownNameError,
            "argument of 'resnet50' 'image_size'",
        ),
        (
            lambda: create_model("efficientnet_b0", dropout=1),
            UsageError,
            "EfficientNet: dropout is 1; it must be",
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
