"""Every network of the zoo through one battery, and the figures that are known of them."""

import hashlib

import pytest
import torch
from figures import COUNTED, PUBLISHED
from torch import nn
from torch.nn import functional

from convscope.errors import RunError, ShapeError, UnknownNameError, UsageError
from convscope.geometry import Windows, conv_cost, dense_cost
from convscope.inspection import audit
from convscope.models import (
    create_model,
    create_seeded_model,
    list_models,
    load_weights,
    minimum_image_size,
    model_entry,
    read_metadata,
    register_model,
    save_weights,
)
from convscope.trace import trace

# Sides of images for members that need more, or take longer, than 64 and 72 pixels.
SIDES = {
    "alexnet_paper": (67, 80),
    "googlenet_cifar": (32, 40),
    "random_filters": (16, 24),
    "unet_paper": (188, 204),
}
# Weights files of some only: the others are made of the same blocks, and hundreds of megabytes large.
FILES = ("convnext_tiny", "efficientnet_b0", "fcn_resnet18", "lenet5", "mlp", "resnet18", "resnet20", "unet")


def sides_of(name):
    entry = model_entry(name)
    if entry.takes_image_size:
        return entry.input_shape[1:2] * 2
    return SIDES.get(name, (32, 40) if entry.input_shape[1] == 32 else (64, 72))


def inputs_of(name, batch=2, place=0):
    side = sides_of(name)[place]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, model_entry(name).input_shape[0], side, side + place, generator=generator)


def without_chance(name):
    """A network of the zoo without dropout and stochastic depth, which may leave out what is looked at."""
    network = create_seeded_model(name, 0)
    for module in network.modules():
        if isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
            module.p = 0.0
    return network


def outputs_of(result):
    """The scores in what a network returns: one tensor, several heads, or the maps of a segmentation."""
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [part for part in parts if part is not None]


def loss_of(result, labels):
    losses = []
    for scores in outputs_of(result):
        wanted = labels if scores.dim() == 2 else labels[:, None, None].expand(-1, *scores.shape[2:])
        losses.append(functional.cross_entropy(scores, wanted))
    return sum(losses)


def on_meta(name):
    with torch.device("meta"):
        return create_model(name).eval()


def test_the_tables_hold_the_whole_zoo():
    assert list_models() == sorted(COUNTED | PUBLISHED)


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_parameters_and_macs(name):
    found = trace(on_meta(name), (1, *model_entry(name).input_shape))
    assert (found.num_params, found.macs) == COUNTED[name]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_parameters_and_macs(name):
    found = trace(on_meta(name), (1, *model_entry(name).input_shape))
    assert (found.num_params, round(found.macs / 1e9, 3)) == PUBLISHED[name][:2]


@pytest.mark.parametrize("name", sorted(COUNTED | PUBLISHED))
def test_the_trace_is_complete_and_the_audit_finds_no_error(name):
    network, shape = on_meta(name), (1, *model_entry(name).input_shape)
    found = trace(network, shape)
    assert not found.not_counted
    assert not [entry for entry in audit(network, shape).findings if entry.severity == "error"]
    # A convolution's bias before a batch norm is subtracted again; only VGG was published with it.
    before = {number: record for record in found.records for number in record.outputs}
    biased = [
        record.name
        for record in found.records
        if "batch_norm" in record.operator
        and (given := before.get(record.inputs[0])) is not None
        and given.operator == "aten.convolution"
        and given.arguments["bias"] is not None
    ]
    assert bool(biased) == (name in ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")), biased


def test_resnet50s_macs_to_the_last_one():
    assert trace(on_meta("resnet50"), (1, 3, 224, 224)).macs == 4_089_184_256


@pytest.mark.parametrize("name", [name for name in sorted(PUBLISHED) if PUBLISHED[name][2]])
def test_the_state_dict_is_laid_out_as_torchvisions(name):
    state = on_meta(name).state_dict()
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


@pytest.mark.parametrize("name", sorted(COUNTED | PUBLISHED))
def test_a_member_computes_and_learns(name):
    """One test, because building the large ones takes longer than running them."""
    network = without_chance(name)
    evaluates_alike_at_two_sizes(name, network.eval())
    learns_in_three_steps(name, network.train())


def evaluates_alike_at_two_sizes(name, network):
    again = on_meta(name)
    again.load_state_dict(network.state_dict(), strict=True, assign=True)
    with torch.no_grad():
        for place in range(len(set(sides_of(name)))):
            images = inputs_of(name, 2, place)
            for one, two, copy in zip(
                *(outputs_of(net(images)) for net in (network, network, again)), strict=True
            ):
                assert one.shape[:2] == (2, model_entry(name).num_classes)
                assert bool(one.isfinite().all())
                assert two.equal(one)
                assert copy.equal(one)


def learns_in_three_steps(name, network):
    images, labels = inputs_of(name), torch.tensor([0, 1])
    # Batch norms of two small images are noisy, and behind many of them small steps go nowhere.
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2 if name.startswith("efficientnet") else 1e-3)
    losses = []
    for step in range(3):
        loss = loss_of(network(images), labels)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        if not step:
            for key, parameter in network.named_parameters():
                if not parameter.requires_grad:  # set from the images, not learned
                    continue
                assert parameter.grad is not None, key
                assert bool(parameter.grad.abs().sum() > 0), key
        optimiser.step()
    losses.append(loss_of(network(images), labels).item())
    assert losses[3] < losses[0], losses


@pytest.mark.parametrize("name", FILES)
def test_images_of_a_batch_are_kept_apart(name):
    network, images = create_seeded_model(name, 1).eval(), inputs_of(name, 3)
    with torch.no_grad():
        for together, alone in zip(
            outputs_of(network(images)), outputs_of(network(images[1:2])), strict=True
        ):
            # Other batch sizes may run other kernels, which round differently; untrained scores may be tiny or huge.
            slack = 1e-3 * float(together.abs().max())
            torch.testing.assert_close(together[1:2], alone, rtol=0, atol=slack)


@pytest.mark.parametrize("name", sorted(COUNTED | PUBLISHED))
def test_classes_and_channels_can_be_chosen(name):
    entry = model_entry(name)
    channels = entry.input_shape[0] + 1
    with torch.device("meta"):
        network = create_model(name, num_classes=7, in_channels=channels).eval()
        results = outputs_of(network(torch.zeros(2, channels, *entry.input_shape[1:])))
    assert [result.shape[1] for result in results] == [7] * len(results)


@pytest.mark.parametrize("name", sorted(COUNTED | PUBLISHED))
def test_the_head_is_named(name):
    """What the registry calls the head is all that the number of classes changes."""
    if name == "random_filters":  # has filters in place of a head
        return
    one, other = on_meta(name).state_dict(), None
    with torch.device("meta"):
        other = create_model(name, num_classes=model_entry(name).num_classes + 1).state_dict()
    changed = {key for key in one if one[key].shape != other[key].shape}
    heads = {f"{head}.{part}" for head in model_entry(name).head for part in ("weight", "bias")}
    assert changed
    assert changed == heads & one.keys()


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "convnext_tiny", "googlenet", "unet", "mobilenet_v2"])
def test_wrong_channels_are_told(name):
    with pytest.raises(ShapeError, match=r"the images have 2 channels, the network takes 3; .*in_channels=2"):
        create_model(name).eval()(torch.zeros(1, 2, 64, 64))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "unet", "mobilenet_v2"])
def test_a_single_image_without_a_batch_is_told(name):
    with pytest.raises(ShapeError, match=r"the input has the shape \(3, 64, 64\); give \(N, C, H, W\)"):
        create_model(name).eval()(torch.zeros(3, 64, 64))


@pytest.mark.parametrize(
    ("name", "least"), [("alexnet", 63), ("vgg11", 32), ("googlenet", 15), ("convnext_tiny", 32)]
)
def test_images_that_are_too_small_are_told_the_least(name, least):
    network = create_model(name).eval()
    with pytest.raises(ShapeError, match=rf"pixels is too small; give at least {least}x{least}"):
        network(torch.zeros(1, 3, least - 1, least))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, least, least)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["lenet5", "mlp", "perceptron"])
def test_images_of_another_size_are_told_the_one_that_fits(name):
    network = create_model(name, in_channels=2)
    text = r": an image of 10x31 pixels; the network takes images of 28x28\. .*image_size=\(10, 31\)"
    with pytest.raises(ShapeError, match=text):
        network(torch.zeros(3, 2, 10, 31))
    with pytest.raises(ShapeError, match=r"the images have 3 channels, the network takes 2; .*in_channels=3"):
        network(torch.zeros(1, 3, 28, 28))
    with pytest.raises(ShapeError, match=r"the input has the shape \(2, 10, 31\); give \(N, C, H, W\)"):
        network(torch.zeros(2, 10, 31))
    assert minimum_image_size(network, 2) == 28


def test_the_smallest_image_of_a_network_that_takes_one_size():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 43 * 43, 3))
    assert minimum_image_size(network, 1) == 45
    assert minimum_image_size(nn.Linear(3, 2), 1) == 3
    assert minimum_image_size(nn.Conv1d(3, 2, 1), 1) is None


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
def test_one_value_a_channel_in_training_is_told(name):
    text = r"\(1, 3, 32, 32\) leaves .* one value a channel in training; give two images or more, or larger"
    with pytest.raises(ShapeError, match=text):
        create_model(name)(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "shape"), [("lenet5", (40, 33)), ("lenet5", (12, 40)), ("mlp", (8, 9)), ("perceptron", (5, 5))]
)
def test_image_size(name, shape):
    assert create_model(name, image_size=shape)(torch.randn(1, 1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", FILES)
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
        (lambda: create_model("mlp", weights="x.bin"), UsageError, "'x.bin' are no .safetensors, .pth or"),
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
    with pytest.raises(
        UsageError, match=r"are of another network: of its 10 tensors 10 missing \(classifier"
    ):
        load_weights(create_model("lenet5"), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"of another shape \(1\.weight .*, 1\.bias \(512,\) for \(9,\)"):
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
