"""What follows a tensor of a trace, run once more, is what the network does with it, gradients included."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import UsageError
from convscope.trace import trace
from convscope.trace.continuation import continuation


def sliced(x):
    x[:, :2, 1:] = x[:, :2, 1:] * 2
    return x.relu_()


def selected(x):
    x[:, 3].mul_(-1)
    x.select(2, 1).add_(1)
    return torch.sigmoid(x)


def flat_view(x):
    x.view(len(x), -1)[:, 3:40:5].mul_(-2)
    return x.tanh_()


def transposed_view(x):
    x.transpose(1, 3)[:, 1].exp_()
    return x * x


def strided_parts(x):
    first, second = x[:, ::2], x[:, 1::2]
    second.mul_(3)
    return first.sum() + (second * second).sum() + x.sum()


def copied(x):
    y = torch.empty_like(x)
    y.copy_(x)
    y[..., 0] = x[..., 1]
    return y * torch.arange(y.shape[-1], dtype=y.dtype)


def pooled(x):
    x, places = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(F.relu6(x, inplace=True), places, 2)


def split(x):
    a, b = x.chunk(2, dim=2)
    return torch.cat((b, a.softmax(1)), 1)


def normalised(x):
    x = F.layer_norm(F.batch_norm(x, torch.full((6,), 0.1), torch.full((6,), 2.0)), x.shape[2:])
    return F.interpolate(F.pad(F.gelu(x), (1, 2, 0, 1), "reflect"), scale_factor=1.5, mode="bilinear")


def attended(x):
    tokens = x.flatten(2).transpose(1, 2)[:, None].contiguous()
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


def indexed(x):
    x = x[:, [0, 2, 2]]
    x[x < 0] = 0.5
    return torch.einsum("nchw,nkhw->nck", x, x)


class Network(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.conv, self.after = nn.Conv2d(3, 6, 3), after

    def forward(self, x):
        return self.after(self.conv(x))


OF_SHAPES = [
    sliced, selected, flat_view, transposed_view, strided_parts, copied, pooled, split, normalised, attended,
]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "real"),
    [(after, real) for after in OF_SHAPES for real in (False, True)] + [(indexed, True)],
)
def test_values_and_gradients_are_the_networks(after, real):
    torch.manual_seed(0)
    network, image = Network(after).eval(), torch.randn(2, 3, 10, 12)
    found = trace(network, image if real else tuple(image.shape), mode="eval")
    rest = continuation(found, found.tensor_of("conv").index, found.outputs[0])
    maps = network.conv(image).detach()
    values = found.run_on((image,), {}, rest.given).values
    leaf, other = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    made = rest.run({**values, rest.source: leaf})
    expected = after(other.clone())
    assert torch.allclose(made, expected, rtol=1e-5, atol=1e-6)
    weights = torch.linspace(-1, 1, made.numel()).reshape(made.shape)
    (gradient,) = torch.autograd.grad((made * weights).sum(), leaf)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), other)
    assert torch.allclose(gradient, wanted, rtol=1e-4, atol=1e-5)
    assert network.conv.weight.grad is None


def test_what_goes_round_is_given():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            first = self.one(x)
            return self.two(first.relu()) + first * x[:, :1]

    network, image = Around().eval(), torch.randn(1, 3, 8, 8)
    found = trace(network, (1, 3, 8, 8))
    rest = continuation(found, found.tensor_of("two").index, found.outputs[0])
    assert [record.short_operator for record in rest.records] == ["add"]
    assert len(rest.given) == 1
    values = found.run_on((image,), {}, (rest.source, *rest.given)).values
    assert torch.allclose(rest.run(values), network(image))


def test_a_given_tensor_written_in_part_is_kept_as_it_was_then():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            first = self.one(x)
            first[:, 1] = 7
            made = self.two(first) + first
            first.mul_(0)
            return made

    network, image = Around().eval(), torch.randn(1, 3, 8, 8)
    found = trace(network, image)
    rest = continuation(found, found.tensor_of("two").index, found.outputs[0])
    (number,) = rest.given
    assert found.producer(number).operator == "convscope.write"
    values = found.run_on((image,), {}, (rest.source, number)).values
    assert torch.allclose(rest.run(values), network(image))


def test_random_numbers_are_those_of_the_run():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            maps = self.conv(x)
            return maps * torch.rand(maps.shape, device=maps.device) * torch.ones(4, 1, 1, device=maps.device)

    network, image = Noisy(), torch.randn(1, 3, 8, 8)
    torch.manual_seed(1)
    found = trace(network, (1, 3, 8, 8))
    rest = continuation(found, found.tensor_of("conv").index, found.outputs[0])
    assert len(rest.given) == 1
    values = found.run_on((image,), {}, (rest.source, *rest.given)).values
    assert torch.equal(rest.run(values), network(image))


def test_what_has_no_part_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    found = trace(network, (1, 3, 8, 8))
    with pytest.raises(UsageError, match="the one tensor has no part in the other"):
        continuation(found, found.outputs[0], found.tensor_of("0").index)


def test_equal_parts_changed_in_place_are_refused():
    def parts(x):
        first, second = x.chunk(2, dim=1)
        first.mul_(2)
        return second.sum() + x.sum()

    found = trace(Network(parts).eval(), (1, 3, 8, 8))
    rest = continuation(found, found.tensor_of("conv").index, found.outputs[0])
    with pytest.raises(UsageError, match="one of several parts of a tensor"):
        rest.run({rest.source: torch.zeros(1, 6, 6, 6)})
