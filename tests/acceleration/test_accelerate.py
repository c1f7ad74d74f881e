"""An accelerated network computes what it computed before, and stays the network that it was."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convscope as cs
from convscope.acceleration import acceleration_of
from convscope.errors import UnknownNameError, UsageError

NETWORKS = (
    ("alexnet", 224),
    ("convnext_tiny_cifar", 32),
    ("deeplabv3_resnet50", 64),
    ("efficientnet_b0", 64),
    ("googlenet", 64),
    ("mobilenet_v2", 64),
    ("resnet18", 64),
    ("resnext50_32x4d", 64),
    ("unet", 64),
    ("vgg11_bn_cifar", 32),
)


def prepared(name):
    """A network with batch statistics of its own and nothing random in its forward."""
    torch.manual_seed(0)
    network = cs.create_model(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.Dropout | cs.nn.StochasticDepth):
            module.p = 0.0
    return network


def flat(result):
    """All that a network returns as one row of numbers."""
    if isinstance(result, dict):
        result = tuple(result.values())
    parts = [result] if isinstance(result, torch.Tensor) else [each for each in result if each is not None]
    return torch.cat([part.flatten() for part in parts])


def relative(result, truth):
    return float((result - truth).detach().abs().max() / truth.detach().abs().max())


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_same_numbers_in_inference_and_training(name, size):
    network = prepared(name)
    plain, images = copy.deepcopy(network), torch.randn(4, 3, size, size)
    keys, parameters = list(network.state_dict()), list(network.parameters())
    assert cs.accelerate(network, "fp32") is network
    assert list(network.state_dict()) == keys
    assert all(mine is before for mine, before in zip(network.parameters(), parameters, strict=True))
    with torch.no_grad():
        assert relative(flat(network.eval()(images)), flat(plain.eval()(images))) < 2e-5
    mine, truth = flat(network.train()(images)), flat(plain.train()(images))
    assert relative(mine, truth) < 2e-4
    for each, other in zip(network.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(each, other, rtol=1e-3, atol=1e-4)
    cs.decelerate(network)
    assert "forward" not in network.__dict__
    assert acceleration_of(network) is None
    network.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(flat(network.eval()(images)), flat(plain.eval()(images)))


@pytest.mark.parametrize(
    "name", ["convnext_tiny_cifar", "resnet18_cifar", "efficientnet_b0_cifar", "vgg11_bn_cifar"]
)
def test_gradients_are_as_near_to_float64_as_the_plain_ones(name):
    network = prepared(name).train()
    plain, exact = copy.deepcopy(network), copy.deepcopy(network).double()
    cs.accelerate(network, "fp32")
    images, direction = torch.randn(8, 3, 32, 32), torch.randn(8, 10)
    errors = {}
    for label, each in (("fused", network), ("plain", plain), ("exact", exact)):
        kind = torch.float64 if label == "exact" else torch.float32
        (each(images.to(kind)) * direction.to(kind)).sum().backward()
    scale = torch.cat([p.grad.flatten() for p in exact.parameters()]).norm()
    for label, each in (("fused", network), ("plain", plain)):
        pairs = zip(each.parameters(), exact.parameters(), strict=True)
        errors[label] = float(torch.cat([(p.grad - q.grad).flatten() for p, q in pairs]).norm() / scale)
    # A ReLU whose input rounds across 0 moves a gradient by some 1e-3 in either network.
    assert errors["fused"] < max(5 * errors["plain"], 1e-2), errors


def test_fusions_are_counted():
    network = cs.accelerate(cs.create_model("resnet18_cifar"), "fp32")
    state = acceleration_of(network)
    assert state.fused(network.train()).counts == {"Convolution": 20, "Linear": 1, "Normalisation": 20}
    with torch.no_grad():
        assert state.fused(network.eval()).counts == {"FoldedConvolution": 20, "FoldedLinear": 1}


def test_layer_norms_and_gelus_are_fused():
    network = cs.accelerate(cs.create_model("convnext_tiny_cifar"), "fp32")
    state, rest = acceleration_of(network), {"LayerNormalisation": 23}
    assert state.fused(network.train()).counts == rest | {"Convolution": 22, "Linear": 37, "Gelu": 18}
    with torch.no_grad():
        assert state.fused(network.eval()).counts == rest | {"FoldedConvolution": 22, "FoldedLinear": 37}


def test_squeeze_and_excitation_scales_by_our_kernel(monkeypatch):
    network = cs.accelerate(cs.create_model("efficientnet_b0_cifar"), "fp32").train()
    assert acceleration_of(network).fused(network).counts["Scaling"] == 16
    shapes, scale_maps = [], cs.kernels.scale_maps
    monkeypatch.setattr(
        cs.kernels, "scale_maps", lambda *each: shapes.append(each[0].shape) or scale_maps(*each)
    )
    network(torch.randn(2, 3, 32, 32))
    assert len(shapes) == 16


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_products_stay_what_they_are(precision):
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, images):
            maps = self.conv(images)
            scale = maps.mean((2, 3), keepdim=True)
            return scale * maps * (maps * images.shape[0]) * (scale * scale) * scale.mean(1, keepdim=True)

    network, images = Products().train(), torch.randn(2, 3, 7, 6)
    plain = copy.deepcopy(network)
    mine, truth = cs.accelerate(network, precision)(images), plain(images)
    assert relative(mine, truth) < (1e-5 if precision == "fp32" else 0.05)


class Pixelwise(nn.Module):
    """Layer norms and GELUs in all the ways they are written."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.first, self.second = nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False, eps=0.1)
        self.whole, self.linear = nn.LayerNorm((8, 6, 6)), nn.Linear(8, 8)
        self.exact, self.tanh = nn.GELU(), nn.GELU(approximate="tanh")

    def forward(self, images):
        maps = F.gelu(self.norm(self.conv(images)))
        maps = maps + F.gelu(self.conv(images)) + self.tanh(self.conv(images))
        pixels = self.whole(maps).permute(0, 2, 3, 1)
        pixels = self.second(self.exact(self.linear(self.exact(self.first(pixels)))))
        pixels = F.layer_norm(pixels, (8,), self.first.weight, eps=0.2) + F.gelu(pixels, approximate="tanh")
        return self.tanh(self.linear(pixels)) + F.gelu(F.layer_norm(pixels, pixels.shape[-1:]))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_all_forms_of_layer_norm_and_gelu(train, precision, bound):
    torch.manual_seed(0)
    network, images = Pixelwise().train(train), torch.randn(4, 3, 8, 8)
    nn.init.normal_(network.first.bias)
    plain = copy.deepcopy(network)
    cs.accelerate(network, precision)
    with torch.set_grad_enabled(train):
        mine, truth = network(images), plain(images)
    assert mine.dtype == torch.float32
    assert relative(mine, truth) < bound
    counts = acceleration_of(network).fused(network).counts
    assert counts["LayerNormalisation"] == 3
    if train:
        direction = torch.randn_like(truth)
        for each in (mine, truth):
            (each * direction).sum().backward()
        for one, other in zip(network.parameters(), plain.parameters(), strict=True):
            assert relative(one.grad, other.grad) < 4 * bound or other.grad.abs().max() < 1e-3


def test_wrong_channels_get_the_layer_norms_own_error():
    network = cs.accelerate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(5, elementwise_affine=False)))
    with pytest.raises(RuntimeError, match="normalized_shape"):
        network(torch.randn(1, 3, 6, 6))


def block(*layers):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), *layers)


def test_changed_weights_are_folded_again():
    network, images = cs.accelerate(block().eval(), "fp32"), torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        first = network(images)
        network[0].weight.mul_(2)
        network[1].running_mean.add_(1)
        second = network(images)
        assert not torch.equal(first, second)
        torch.testing.assert_close(second, cs.decelerate(network)(images))


def test_exchanged_layer_is_used():
    network, images = cs.accelerate(block(nn.Conv2d(8, 4, 1)).eval(), "fp32"), torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        network(images)
        network[3] = nn.Conv2d(8, 5, 1)
        assert network(images).shape == (1, 5, 6, 6)


def test_mixed_modes_are_kept():
    """Frozen batch norm in a network that trains: running statistics are used, and stay."""
    network = block()
    plain = copy.deepcopy(network)
    cs.accelerate(network, "fp32")
    images = torch.randn(4, 3, 6, 6)
    for each in (network, plain):
        each.train()
        each[1].eval()
    torch.testing.assert_close(network(images), plain(images))
    assert torch.equal(network[1].running_mean, torch.zeros(8))


def test_hooks_are_called():
    network, seen = cs.accelerate(block().eval(), "fp32"), []
    network[1].register_forward_hook(lambda module, given, result: seen.append(result.shape))
    network(torch.randn(1, 3, 6, 6))
    assert seen == [(1, 8, 6, 6)]


def test_traced_as_before():
    network = cs.create_model("resnet18_cifar")
    before = cs.trace(network, (1, 3, 32, 32))
    after = cs.trace(cs.accelerate(network), torch.randn(1, 3, 32, 32))
    assert (after.macs, after.num_params) == (before.macs, before.num_params)
    assert [r.operator for r in after.records] == [r.operator for r in before.records]


def test_copies_are_accelerated_for_themselves():
    network = cs.accelerate(cs.create_model("resnet18_cifar").eval(), "fp32")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert acceleration_of(copied) is not acceleration_of(network)
            assert torch.equal(copied(images), network(images))
            copied.fc.weight.zero_()
            assert not torch.equal(copied(images), network(images))
            assert cs.decelerate(copied).forward.__self__ is copied


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    network = cs.accelerate(cs.create_model("resnet18_cifar").train(), "fp32")
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_bfloat16_is_near_and_returns_float32():
    network = prepared("resnet18_cifar").eval()
    plain, images = copy.deepcopy(network), torch.randn(2, 3, 32, 32)
    cs.accelerate(network, "bf16")
    with torch.no_grad():
        mine, truth = network(images), plain(images)
    assert mine.dtype == torch.float32
    assert 0 < relative(mine, truth) < 0.1
    mine, truth = network.train()(images), plain.train()(images)
    mine.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())


def test_auto_takes_bfloat16_only_where_the_cpu_has_it(monkeypatch):
    monkeypatch.delenv("CONVSCOPE_PRECISION", raising=False)
    network = cs.accelerate(nn.Sequential(nn.Conv2d(3, 4, 3)))
    native = cs.kernels.processor().native_bf16
    assert acceleration_of(network).dtype == (torch.bfloat16 if native else torch.float32)


def test_the_environment_says_what_auto_is(monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    monkeypatch.setenv("CONVSCOPE_PRECISION", "bf16")
    assert acceleration_of(cs.accelerate(network)).dtype == torch.bfloat16
    assert acceleration_of(cs.accelerate(network, "fp32")).dtype == torch.float32
    monkeypatch.setenv("CONVSCOPE_PRECISION", "half")
    with pytest.raises(UnknownNameError, match="unknown precision 'half'"):
        cs.accelerate(network)


def test_layers_with_parameters_of_their_own_compute_in_float32():
    """In bfloat16, what is not fused gets and gives float32."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1))
    plain, images = copy.deepcopy(network), torch.randn(2, 3, 8, 8)
    mine, truth = cs.accelerate(network, "bf16")(images), plain(images)
    assert mine.dtype == torch.float32
    assert relative(mine, truth) < 0.05
    mine.sum().backward()


def test_branching_network_is_accelerated_by_blocks():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = block(), nn.Sequential(nn.Conv2d(8, 4, 3), nn.ReLU())

        def forward(self, images):
            maps = self.first(images)
            return self.second(maps) if maps.mean() > -1 else maps

    network = cs.accelerate(Branching().eval(), "fp32")
    assert acceleration_of(network) is None
    assert acceleration_of(network.first) is not None
    images = torch.randn(1, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(network(images), cs.decelerate(copy.deepcopy(network))(images))
    cs.decelerate(network)
    assert acceleration_of(network.first) is None


def test_a_mode_without_a_graph_runs_the_plain_forward():
    class Modal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = block()

        def forward(self, images):
            maps = self.layers(images)
            return maps if not self.training or maps.sum() > 0 else -maps

    network, images = cs.accelerate(Modal().eval(), "fp32"), torch.randn(1, 3, 6, 6)
    plain = cs.decelerate(copy.deepcopy(network))
    with torch.no_grad():
        torch.testing.assert_close(network(images), plain(images))
        torch.testing.assert_close(network.train()(images), plain.train()(images))


@pytest.mark.parametrize(
    "images",
    [torch.randn(3, 6, 6), torch.randn(1, 3, 6, 6).double(), torch.randn(0, 3, 6, 6)],
    ids=["unbatched", "float64", "empty"],
)
def test_other_inputs_go_the_plain_way(images):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).to(images.dtype).eval()
    plain = copy.deepcopy(network)
    cs.accelerate(network, "fp32")
    with torch.no_grad():
        assert torch.equal(network(images), plain(images))


def test_wrong_images_get_the_networks_own_error():
    network = cs.accelerate(cs.create_model("resnet18").eval())
    plain = cs.create_model("resnet18").eval()
    with torch.no_grad():
        for images in (torch.randn(1, 4, 64, 64), torch.randn(1, 3, 0, 64)):
            with pytest.raises(Exception) as own:
                plain(images)
            with pytest.raises(type(own.value)):
                network(images)


def test_refusals():
    with pytest.raises(UsageError, match=r"accelerate: network is a int; give a torch.nn.Module"):
        cs.accelerate(3)
    with pytest.raises(UnknownNameError, match="unknown precision 'fp23': did you mean 'fp32'"):
        cs.accelerate(nn.Conv2d(1, 1, 1), "fp23")
