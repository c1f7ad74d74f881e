"""MACs and parameters against torch's own counter, hand numbers and the set of parameters."""

from math import prod

import pytest
import torch
from networks import CASES, filled, made
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convscope.models import create_model, list_models, model_entry
from convscope.trace import trace


def deformable_flops(input_shape, weight_shape, *others, out_shape, **_):
    """Count as torch's counter counts a plain convolution; it does not know our operator."""
    return 2 * prod(out_shape) * prod(weight_shape[1:])


def counted(network, given):
    ours = {torch.ops.convscope.deform_conv2d: deformable_flops}
    # With gradients on, attention takes the path that torch's counter can see into.
    with FlopCounterMode(display=False, custom_mapping=ours) as counter:
        if isinstance(given, tuple):
            network(*given)
        else:
            network(given)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("real", [False, True], ids=["shape", "values"])
def test_macs_and_parameters(name, real):
    network, shape = made(name)
    found = trace(network, filled(shape) if real else shape)
    assert found.macs == counted(network, filled(shape))
    assert found.num_params == sum({id(p): p.numel() for p in network.parameters()}.values())
    assert found.not_counted == {}
    assert found.macs > 0


@pytest.mark.parametrize("name", list_models())
def test_the_zoo(name):
    with torch.device("meta"):
        network = create_model(name).eval()
    shape = (2, *model_entry(name).input_shape)
    found = trace(network, shape)
    assert found.macs == counted(network, torch.empty(shape, device="meta"))
    assert found.num_params == sum(p.numel() for p in network.parameters())
    assert found.not_counted == {}
    assert sum(record.num_params for record in found.records) == found.num_params


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # output 1*8*31*31 is written by 4 inputs of 4 groups... each input pixel spends its whole kernel
        (nn.ConvTranspose2d(4, 8, 3, 2, bias=False), (1, 4, 15, 15), 15 * 15 * 4 * 8 * 9),
        (nn.ConvTranspose2d(4, 8, 4, 2, 1, groups=2), (3, 4, 5, 6), 3 * 5 * 6 * 4 * 4 * 16),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (1, 8, 10, 12), 10 * 12 * 8 * 9),
        (nn.Conv2d(8, 16, 3, groups=4), (2, 8, 10, 12), 2 * 8 * 10 * 16 * 2 * 9),
        (nn.Linear(8, 3), (2, 5, 7, 8), 2 * 5 * 7 * 8 * 3),
        (nn.Conv1d(2, 3, 5), (1, 2, 20), 16 * 2 * 3 * 5),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6), 3 * 4 * 5 * 2 * 3 * 8),
    ],
    ids=["transposed", "transposed grouped", "depthwise", "grouped", "4-D linear", "1-D", "3-D"],
)
def test_hand_numbers(layer, shape, macs):
    assert trace(layer, shape).macs == macs


def test_tied_and_unused_parameters_count_once():
    network, shape = made("tied weights")
    found = trace(network, shape)
    # encoder 6*4+4 (its weight shared by encoder2), decoder 4*6+6, unused 3*7+7
    assert found.num_params == 28 + 30 + 28
    assert found.unused_parameters == ["unused.weight", "unused.bias"]
    assert sum(record.num_params for record in found.records) == 28 + 30


def test_an_operator_without_a_rule_is_told():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x) + torch.linalg.svdvals(x)

    found = trace(Odd(), (4, 5))
    assert found.not_counted == {"aten._linalg_svd": 2}


def test_most_activations_at_once_by_hand():
    plain = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 1, 1))
    image = 4 * 10 * 10  # bytes of one channel; the input is the caller's and stays
    assert trace(plain, (1, 1, 10, 10)).peak_bytes == (1 + 4 + 1) * image
    plain[1].inplace = False  # before and after the activation are both there, then the first goes
    assert trace(plain, (1, 1, 10, 10)).peak_bytes == (1 + 4 + 4) * image

    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.first(x)
            return self.second(x.permute(0, 1, 3, 2)).add_(
                x
            )  # a view takes no memory, a sum in place neither

    assert trace(Skip(), (1, 1, 10, 10)).peak_bytes == (1 + 4 + 4) * image


def test_bytes_and_element_operations_by_hand():
    found = trace(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).eval(), (1, 2, 6, 6))
    conv, norm, relu = found.visible
    assert conv.bytes_moved == 4 * (2 * 36 + 3 * 2 * 9 + 3 + 3 * 16)
    assert (conv.element_ops, norm.element_ops, relu.element_ops) == (
        48,
        96,
        48,
    )  # bias; scale and shift; compare
    assert found.macs == 16 * 3 * 2 * 9
