"""Networks that attributions are tested on: of the zoo with seeded weights, and the awkward ones."""

import torch
import torch.nn.functional as F
from torch import nn

from convscope.models import create_seeded_model

# name, (C, H, W): small inputs that the network takes
ZOO = {
    "lenet5": (1, 28, 28),
    "small_vgg": (1, 32, 32),
    "resnet20": (3, 32, 32),
    "speed_cnn": (3, 32, 32),
    "resnet18": (3, 64, 64),
    "mobilenet_v2": (3, 48, 48),
    "efficientnet_b0": (3, 48, 48),
    "googlenet": (3, 48, 48),
}


def images_of(shape, count=1, seed=0, dtype=torch.float32):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def zoo_network(name, dtype=torch.float32):
    """A network in evaluation mode whose batch norms have seen images, so that scores depend on what comes in."""
    network = create_seeded_model(name, 0)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for norm in norms:
            norm.momentum = None  # the mean over all batches, of which there is one
        if norms:
            network.train()(images_of(ZOO[name], 8, seed=2))
        for norm in norms:
            norm.momentum = 0.1
    return network.eval().to(dtype)


class Awkward(nn.Module):
    """In-place and functional activations, a layer used twice, a channel attention, a branch, a dict of outputs."""

    def __init__(self, classes=5):
        super().__init__()
        self.first = nn.ReLU(inplace=True)  # on the input itself
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.twice = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=2)
        self.gate = nn.Conv2d(6, 6, 1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Conv2d(12, classes, 1)

    def forward(self, image):
        x = F.relu(self.norm(self.conv(self.first(image - 0.1))), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        y = self.twice(F.elu(self.twice(x)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = torch.cat([x, self.drop(y)], 1)
        return {"aux": image.mean(), "out": F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear")}


class LeafInPlace(nn.Module):
    """Its first layer changes its input."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(48, 3))

    def forward(self, image):
        return self.layers(image)


class State:
    """All of a network's state, and torch's, that a call could leave changed."""

    def __init__(self, network):
        self.network = network
        self.facts = self.read()

    def read(self):
        network = self.network
        return {
            "modes": [module.training for module in network.modules()],
            "hooks": [(len(m._forward_hooks), len(m._backward_hooks)) for m in network.modules()],
            "tensors": {name: (id(t), t._version) for name, t in network.named_parameters()},
            "values": {name: t.clone() for name, t in network.state_dict().items()},
            "wanted": [p.requires_grad for p in network.parameters()],
            "gradients": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
            "random": torch.get_rng_state(),
            "enabled": torch.is_grad_enabled(),
            "call": nn.Module.__call__,
        }

    def check(self):
        """Everything is as it was."""
        now = self.read()
        for name in ("modes", "hooks", "wanted", "enabled", "call"):
            assert now[name] == self.facts[name], name
        assert now["values"].keys() == self.facts["values"].keys()
        for name, value in now["values"].items():
            assert value.equal(self.facts["values"][name]), name
        for one, other in zip(now["gradients"], self.facts["gradients"], strict=True):
            assert (one is None and other is None) or one.equal(other)
        assert now["random"].equal(self.facts["random"])
