"""A trace leaves no trace: hooks, modes, gradients, buffers, random states, also when the network raises."""

import gc
import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.modules.module as torch_modules
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from convscope.errors import ConvscopeError
from convscope.inspection import explain
from convscope.trace import trace


class Busy(nn.Module):
    """Changes everything that it can: statistics, buffers, a parameter, its mode, random numbers, its input."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails = fails
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.register_buffer("counter", torch.zeros(()))
        self.register_buffer("moving", torch.rand(2))
        self.register_buffer("sliced", torch.rand(4, 3))
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.head = nn.utils.spectral_norm(nn.Conv2d(4, 2, 1))
        self.scale = nn.Parameter(torch.ones(()))
        self.norm.register_forward_hook(lambda *_: None)
        self.conv.register_forward_pre_hook(lambda *_: None)

    def forward(self, x):
        x.mul_(2)
        random.random()
        np.random.rand()  # noqa: NPY002  what must be put back
        y = self.drop(self.norm(self.conv(x))) + torch.rand(())
        self.counter += 1
        self.sliced[1:].t()[0].mul_(3)
        self.moving = self.moving * 0.5  # a new tensor in the buffer's place
        with torch.no_grad():
            self.scale.mul_(1.5)
        self.eval()
        if self.fails:
            return y @ torch.zeros(3, 99, device=y.device)
        return self.head(self.frozen(y)) * self.scale


def state_of(network):
    own = [*network.named_parameters(), *network.named_buffers()]
    lists = [key for key in vars(torch_modules) if key.startswith("_global") and key.endswith("hooks")]
    numbers = np.random.get_state()  # noqa: NPY002  the global one
    return {
        "modes": [(name, module.training) for name, module in network.named_modules()],
        "tensors": {name: value.detach().clone() for name, value in own},
        "identities": [(name, id(value)) for name, value in own],
        "grads": {
            name: (p.requires_grad, None if p.grad is None else p.grad.clone())
            for name, p in network.named_parameters()
        },
        "hooks": [
            (name, {key: list(getattr(module, key)) for key in vars(module) if key.endswith("hooks")})
            for name, module in network.named_modules()
        ],
        "global hooks": [len(getattr(torch_modules, key)) for key in lists],
        "random": (torch.get_rng_state(), random.getstate(), numbers[1].copy(), numbers[2]),
        "grad mode": torch.is_grad_enabled(),
        "dispatch": _get_current_dispatch_mode(),
        "attention": (
            torch.backends.mha.get_fastpath_enabled(),
            torch.nn.functional.scaled_dot_product_attention,
        ),
        "collector": gc.isenabled(),
        "calls": nn.Module.__call__,
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for key in before:
        assert_equal(before[key], after[key], key)


def assert_equal(first, second, where):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, np.ndarray):
        assert np.array_equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where} {key}")
    elif isinstance(first, (tuple, list)):
        assert len(first) == len(second), where
        for a, b in zip(first, second, strict=True):
            assert_equal(a, b, where)
    else:
        assert first == second, where


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "raises"])
@pytest.mark.parametrize("real", [False, True], ids=["shape", "values"])
@pytest.mark.parametrize("mode", ["same", "train", "eval"])
def test_everything_is_as_before(fails, real, mode):
    torch.manual_seed(0)
    network = Busy(fails)
    network.conv.eval()  # a mixture of modes
    network.conv.weight.grad = torch.ones_like(network.conv.weight)
    image = torch.randn(2, 3, 8, 8)
    kept = image.clone()
    before = state_of(network)
    if fails:
        with pytest.raises(ConvscopeError, match=r"operator aten\..* in the network \(Busy\)"):
            trace(network, image if real else (2, 3, 8, 8), mode=mode)
    else:
        found = trace(network, image if real else (2, 3, 8, 8), mode=mode)
        if real:
            explain(found, "head", (0, 1, 1), down=2)
    assert_same(before, state_of(network))
    assert torch.equal(image, kept)


def test_the_test_can_fail():
    network = Busy()
    before = state_of(network)
    network(torch.randn(2, 3, 8, 8))
    with pytest.raises(AssertionError, match="modes"):
        assert_same(before, state_of(network))


def test_gradients_still_flow_afterwards():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    image = torch.randn(1, 3, 8, 8, requires_grad=True)
    trace(network, image)
    network(image).sum().backward()
    assert image.grad is not None
    assert network[0].weight.grad is not None


def test_inside_no_grad_and_inference_mode():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(6, 2))
    with torch.inference_mode():
        found = trace(network.eval(), torch.randn(1, 3, 8, 8))
    assert [record.operator for record in found.visible] == [
        "aten.convolution",
        "aten.native_batch_norm",
        "aten.addmm",
    ]


def test_two_threads_do_not_mix():
    """Dispatch modes are a thread's own; module hooks are everybody's."""
    import threading

    networks = [nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(n)]) for n in (5, 9)]
    found = {}

    def work(n):
        for _ in range(5):
            found[n] = trace(networks[n], (1, 3, 16, 16))

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[n].visible) for n in (0, 1)] == [5, 9]
    assert [record.path for record in found[1].visible] == [str(n) for n in range(9)]


def test_scripted_modules():
    """Their dictionaries cannot be put back, and need not be."""
    before = gc.isenabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        network = nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)), nn.ReLU())
    found = trace(network, torch.randn(1, 3, 8, 8))
    assert [record.operator for record in found.visible] == ["aten.convolution", "aten.relu"]
    assert gc.isenabled() is before


def test_lazy_layers_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of every lazy layer
        network = nn.LazyConv2d(4, 3)
    with pytest.raises(ConvscopeError, match="lazy layers, whose parameters have no shape yet; run it once"):
        trace(network, (1, 3, 8, 8))


def test_the_same_tensor_twice_stays_one():
    class Both(nn.Module):
        def forward(self, a, b):
            a.add_(1)
            return a * b

    x = torch.full((1, 2), 2.0)
    value = explain(trace(Both(), (x, x)), "output", (0, 1))
    assert value.engine_value == 9
    assert x.tolist() == [[2, 2]]
