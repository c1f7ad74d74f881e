"""Every kind of value against the engine that computed it, followed down to the pixels."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.inspection import explain
from convscope.models import create_model
from convscope.trace import trace


class Calls(nn.Module):
    """A function as a network; its parameters are those given."""

    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def norm(layer, channels=6):
    """A normalisation whose parameters and statistics are not the trivial ones."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5)
        for name, buffer in layer.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return layer


MAPS, LINE, CUBE = (2, 6, 9, 11), (2, 6, 17), (1, 6, 5, 6, 7)
CASES = {
    "conv": (lambda: nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 2)), MAPS),
    "conv dilated": (lambda: nn.Conv2d(6, 4, 3, padding=2, dilation=2, bias=False), MAPS),
    "conv grouped": (lambda: nn.Conv2d(6, 8, 3, groups=2), MAPS),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), MAPS),
    "conv 1-D": (lambda: nn.Conv1d(6, 4, 5, 2, 2), LINE),
    "conv 3-D": (lambda: nn.Conv3d(6, 4, (2, 3, 3), (1, 2, 1)), CUBE),
    "conv same": (lambda: nn.Conv2d(6, 4, 4, padding="same"), MAPS),
    "conv reflect": (lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), MAPS),
    "conv circular": (lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"), MAPS),
    "transposed": (lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), MAPS),
    "transposed grouped": (lambda: nn.ConvTranspose2d(6, 4, 4, 3, 1, groups=2, dilation=2), MAPS),
    "transposed 1-D": (lambda: nn.ConvTranspose1d(6, 4, 3, 2, bias=False), LINE),
    "linear": (lambda: nn.Linear(11, 5), MAPS),
    "linear without bias": (lambda: nn.Linear(6, 5, bias=False), (3, 6)),
    "bmm": (lambda: Calls(lambda m, x: x @ x.transpose(-1, -2)), (2, 5, 7)),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1), MAPS),
    "max pool ceil": (lambda: nn.MaxPool2d(2, ceil_mode=True), MAPS),
    "max pool 1-D": (lambda: nn.MaxPool1d(3, 2), LINE),
    "avg pool": (lambda: nn.AvgPool2d(3, 2, 1), MAPS),
    "avg pool without padding": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True), MAPS),
    "adaptive avg": (lambda: nn.AdaptiveAvgPool2d((4, 3)), MAPS),
    "adaptive max": (lambda: nn.AdaptiveMaxPool2d((4, 3)), MAPS),
    "global mean": (lambda: nn.AdaptiveAvgPool2d(1), MAPS),
    "batch norm": (lambda: norm(nn.BatchNorm2d(6)), MAPS),
    "batch norm train": (lambda: norm(nn.BatchNorm2d(6)).train(), MAPS),
    "group norm": (lambda: norm(nn.GroupNorm(3, 6)), MAPS),
    "layer norm": (lambda: norm(nn.LayerNorm((9, 11))), MAPS),
    "instance norm": (lambda: norm(nn.InstanceNorm2d(6, affine=True)), MAPS),
    "local response": (lambda: nn.LocalResponseNorm(3), MAPS),
    "softmax": (lambda: nn.Softmax(1), MAPS),
    "log softmax": (lambda: nn.LogSoftmax(1), (3, 10)),
    "prelu": (lambda: nn.PReLU(6, 0.3), MAPS),
    "add": (lambda: Calls(lambda m, x: torch.add(x, x.flip(2), alpha=0.5)), MAPS),
    "subtract": (lambda: Calls(lambda m, x: x - x.roll(1, 2)), MAPS),
    "number minus": (lambda: Calls(lambda m, x: 1.5 - x), MAPS),
    "mul": (lambda: Calls(lambda m, x: x * x.mean((2, 3), keepdim=True)), MAPS),
    "divide": (lambda: Calls(lambda m, x: x / x.abs().amax(1, keepdim=True)), MAPS),
    "concat": (lambda: Calls(lambda m, x: torch.cat([x, 2 * x, x[:, :1]], 1)), MAPS),
    "stack": (lambda: Calls(lambda m, x: torch.stack([x, -x], 2)), MAPS),
    "pad": (lambda: Calls(lambda m, x: F.pad(x, (1, 2, 3, 0), value=1.5) * 1), MAPS),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), (1, 8, 4, 5)),
    "attention": (lambda: Calls(lambda m, x: F.scaled_dot_product_attention(x, x + 1, x * 2)), (2, 3, 7, 4)),
    "causal": (lambda: Calls(lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), (2, 3, 7, 4)),
    "sum": (lambda: Calls(lambda m, x: x.sum(1)), MAPS),
    "largest": (lambda: Calls(lambda m, x: x.amax((2, 3), keepdim=True)), MAPS),
    "conv with computed weight": (
        lambda: Calls(lambda m, x: F.conv2d(x, m.w / m.w.norm()), w=torch.randn(4, 6, 3, 3)),
        MAPS,
    ),
}  # fmt: skip
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Hardsigmoid,
    nn.Hardswish, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.LogSigmoid,
)  # fmt: skip
CASES |= {kind.__name__: (kind, MAPS) for kind in ACTIVATIONS}
CASES |= {
    f"interpolate {mode} {options} to {size}": (
        lambda mode=mode, options={**options, **size}: Calls(lambda m, x: F.interpolate(x, mode=mode, **options)),
        MAPS,
    )
    for mode, options in (
        ("nearest", {}), ("nearest-exact", {}), ("bilinear", {}), ("bilinear", {"align_corners": True}),
        ("bicubic", {}), ("bicubic", {"align_corners": True}),
    )
    for size in ({"scale_factor": 2}, {"size": (7, 15)}, {"scale_factor": 1.7})
}  # fmt: skip


def places(shape):
    """Corners and a few places inside, the same each time."""
    generator = torch.Generator().manual_seed(1)
    inside = [tuple(int(torch.randint(n, (), generator=generator)) for n in shape) for _ in range(12)]
    return [tuple(0 for _ in shape), tuple(n - 1 for n in shape), *inside]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", CASES)
def test_terms_sum_to_what_the_engine_computed(name):
    build, shape = CASES[name]
    torch.manual_seed(0)
    network = build()
    with torch.no_grad():
        given = torch.randn(shape)
        found = trace(network, given)
        output = build_output(network, given)
    for at in places(output.shape):
        value = explain(found, "output", at)
        assert value.engine_value == float(output[at])
        assert value.difference < 1e-5
        total = sum(term.value for term in value.terms)
        if value.formula.startswith("the "):
            total = max(term.value for term in value.terms)
        assert total == pytest.approx(value.total, rel=1e-12, abs=1e-12)


def build_output(network, given):
    """The network's own answer, from a copy, so that statistics do not drift."""
    import copy

    return copy.deepcopy(network)(given)


@pytest.mark.parametrize("name", ["conv", "linear", "batch norm", "avg pool", "GELU"])
def test_bfloat16_within_its_rounding(name):
    build, shape = CASES[name]
    torch.manual_seed(0)
    network = build().to(torch.bfloat16)
    found = trace(network, torch.randn(shape).to(torch.bfloat16))
    for at in places(found.tensors[found.outputs[0]].shape):
        assert explain(found, "output", at).difference < 2**-7


def test_hand_numbers():
    layer = nn.Conv2d(1, 1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        layer.bias.fill_(0.5)
    value = explain(trace(layer, torch.arange(9.0).reshape(1, 1, 3, 3)), "output", (0, 1, 0))
    # pixels 3 4 / 6 7
    assert [term.value for term in value.terms] == [3, 8, 18, 28, 0.5]
    assert [term.name for term in value.terms][:2] == [
        "channel 0, height 1, width 0",
        "channel 0, height 1, width 1",
    ]
    assert value.terms[3].source == (0, (0, 0, 2, 1))
    assert value.window == ((1, 2), (0, 1))
    assert value.total == value.engine_value == 57.5


def test_the_winner_of_a_maximum():
    image = torch.tensor([[[[1.0, 5.0], [3.0, 2.0]]]])
    value = explain(trace(nn.MaxPool2d(2), image), "output", (0, 0, 0), down=1)
    assert value.total == 5
    assert "height 0, width 1" in value.formula
    assert value.down[0].at == (0, 0, 0, 1)


def test_down_to_the_pixels():
    torch.manual_seed(0)
    network = create_model("small_vgg").eval()
    image = torch.randn(1, 1, 28, 28)
    found = trace(network, image)
    steps = explain(found, "output", (3,), down="input").path_down
    assert steps[-1].operator == "input"
    assert steps[-1].engine_value == float(image[steps[-1].at])
    for step, below in pairwise(steps):
        assert step.difference < 1e-5
        # The value below is the factor of a term above.
        values = {factor.value for term in step.terms for factor in term.factors} | {
            t.value for t in step.terms
        }
        assert below.engine_value in values
    operators = [step.operator for step in steps]
    assert "aten.max_pool2d_with_indices" in operators
    assert operators.count("aten.convolution") == 6


def test_follow_several_terms():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    value = explain(trace(network, torch.randn(1, 3, 8, 8)), "2", (1, 2, 2), down=2, follow=3)
    assert len(value.down) == 3
    assert [below.engine_value for below in value.down] == [t.factors[0].value for t in value.largest(3)]
    assert all(len(below.down) == 1 for below in value.down)  # a ReLU has one term
    assert str(value).count("aten.convolution") == 4


def test_values_before_an_operation_in_place():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True))
    image = torch.randn(1, 1, 5, 5)
    found = trace(network, image, layers=["0", "1"])
    plain = network[0](image).detach()
    negative = tuple((plain < 0).nonzero()[0].tolist())
    assert explain(found, "0", negative).engine_value == float(plain[negative]) < 0
    assert explain(found, "1", negative).engine_value == 0


def test_kept_layers_are_explained_without_a_second_run():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    runs = []
    network[2].register_forward_hook(lambda *_: runs.append(1))
    found = trace(network, torch.randn(1, 1, 6, 6), layers=["0"])
    explain(found, "0", (0, 1, 1))
    assert len(runs) == 1
    explain(found, "1", (0, 1, 1))
    assert len(runs) == 2
    assert set(found.values) < set(range(len(found.tensors)))


def test_dropout_is_replayed():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(20, 3)).train()
    given = torch.randn(1, 20)
    state = torch.get_rng_state()
    found = trace(network, given)
    torch.set_rng_state(state)
    expected = network(given)
    assert explain(found, "1", (2,)).engine_value == float(expected.detach()[0, 2])


def test_changed_weights_are_noticed():
    network = nn.Sequential(nn.Conv2d(1, 2, 3))
    found = trace(network, torch.randn(1, 1, 6, 6), layers=["0"])
    with torch.no_grad():
        network[0].weight.mul_(2)
    with pytest.raises(UsageError, match="weights or buffers have changed since the trace"):
        explain(found, "0", (0, 0, 0))


def test_json_and_text():
    torch.manual_seed(0)
    found = trace(create_model("lenet5"), torch.randn(1, 1, 28, 28))
    value = explain(
        found, "features.3" if "features.3" in found.layers else found.layers[3], (0, 2, 2), down=1
    )
    facts = json.loads(json.dumps(value.to_dict()))
    assert facts["engine_value"] == value.engine_value
    assert len(facts["terms"]) == len(value.terms)
    assert facts["down"]
    assert "torch computed" in str(value)
    assert len(str(value).splitlines()) < 60


def test_refusals():
    found = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), torch.randn(1, 1, 6, 6))
    with pytest.raises(UnknownNameError, match="explain: unknown layer '00': did you mean '0'"):
        explain(found, "00", (0, 0, 0))
    with pytest.raises(
        ShapeError, match=r"at \(2, 0, 0\) is outside '0', whose output has the shape \(1, 2, 4, 4\).*0 to 1"
    ):
        explain(found, "0", (2, 0, 0))
    with pytest.raises(ShapeError, match="valid along each axis"):
        explain(found, "0", (0,))
    with pytest.raises(UsageError, match="down is -1"):
        explain(found, "0", (0, 0, 0), down=-1)
    with pytest.raises(UsageError, match="follow is 0"):
        explain(found, "0", (0, 0, 0), follow=0)
    with pytest.raises(UsageError, match="made from a shape"):
        explain(trace(nn.Conv2d(1, 2, 3), (1, 1, 6, 6)), "output", (0, 0, 0))

    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(x)

    with pytest.raises(UsageError, match=r"linalg_inv_ex.*has no explanation"):
        explain(trace(Odd(), torch.eye(3)[None, None]), "output", (0, 0, 0))


def fails_after(change):
    """Trace, change something, explain what was not kept."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.ReLU())
    network.eval()
    image = torch.randn(1, 1, 6, 6)
    found = trace(network, image)
    expected = float(network(image).detach()[0, 1, 2, 2])
    change(network, image)
    return explain(found, "3", (1, 2, 2)).engine_value, expected


@pytest.mark.parametrize(
    "change",
    [
        lambda network, image: network.train(),
        lambda network, image: image.zero_(),
        lambda network, image: torch.manual_seed(99),
        lambda network, image: torch.set_grad_enabled(True),
    ],
)
def test_a_replay_is_the_run_again(change):
    value, expected = fails_after(change)
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda network, image: (network.train(), network(image + 1)), "weights or buffers have changed"),
        (lambda network, image: network[0].weight.data.add_(1), "computed something else when it ran again"),
        (lambda network, image: network.append(nn.ReLU()), "modules have changed"),
    ],
)
def test_a_replay_that_is_not_the_run_is_refused(change, text):
    with pytest.raises(UsageError, match=text):
        fails_after(change)


def test_random_numbers_of_numpy_and_python_come_again():
    import random

    import numpy as np

    class Draws(nn.Module):
        def forward(self, x):
            return x * np.random.rand() * random.random()  # noqa: NPY002  the global one

    found = trace(Draws(), torch.ones(1, 2))
    np.random.rand()  # noqa: NPY002
    assert explain(found, "output", (0, 1)).difference < 1e-5


def test_autocast_comes_again():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with torch.autocast("cpu"):
        found = trace(network, torch.randn(1, 1, 6, 6))
    assert sum(record.num_params for record in found.records) == 20  # through the weights' bfloat16 copies
    assert explain(found, "0", (1, 2, 2)).agrees


def test_what_forward_changes_of_its_own():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("k", torch.ones(()))
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            self.k.add_(1)
            with torch.no_grad():
                self.scale.mul_(3)
            return x * self.k * self.scale

    found = trace(Counts(), torch.ones(1, 2))
    for _ in range(2):
        value = explain(found, "output", (0, 1), down=1)
        assert (value.engine_value, value.total) == (6, 6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: torch.add(x, x, alpha=0), None),
        (lambda m, x: F.max_pool2d(torch.where(x > 2, torch.nan, x), 2), None),
        (lambda m, x: F.glu(x, 1), None),
        (lambda m, x: x.max(1)[1].double(), "only the first output is explained"),
        (
            lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1].double(),
            "only the first output is explained",
        ),
        (lambda m, x: F.rrelu(x, training=True), "no explanation"),
        (lambda m, x: F.fold(F.unfold(x, 3, padding=1), (9, 11), 3, padding=1), "no explanation"),
        (lambda m, x: torch.fft.fft2(x), "complex numbers"),
    ],
)
def test_no_wrong_explanation_is_given(function, expected):
    torch.manual_seed(0)
    found = trace(Calls(function), torch.randn(MAPS))
    for at in places(found.tensors[found.outputs[0]].shape):
        if expected is None:
            assert explain(found, "output", at).agrees
        else:
            with pytest.raises(UsageError, match=expected):
                explain(found, "output", at)


def test_the_way_down_goes_round_constants_and_ends_at_what_is_not_explained():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            y = self.conv(torch.linalg.pinv(x))
            return y + 1000 * torch.arange(y.shape[-1], dtype=y.dtype)

    found = trace(Mixed(), torch.randn(1, 1, 6, 6))
    steps = explain(found, "output", (0, 0, 3), down="input").path_down
    assert [step.operator for step in steps][:2] == ["aten.add", "aten.convolution"]
    assert steps[-1].formula.startswith("not explained")
    assert "not explained" in str(steps[0])

    class Pastes(nn.Module):
        def forward(self, x):
            out = x.new_zeros(1, 1, 8, 8)
            out[:, :, 1:7, 1:7] = x
            return out

    untouched = explain(trace(Pastes(), torch.randn(1, 1, 6, 6)), "output", (0, 0, 0))
    assert untouched.operator == "constant"


def test_a_disagreement_would_be_told():
    value = explain(trace(nn.ReLU(), torch.ones(1, 2)), "output", (0, 1))
    assert value.agrees
    assert "DO NOT AGREE" not in str(value)
    wrong = replace(value, total=2.0)
    assert not wrong.agrees
    assert "THESE DO NOT AGREE" in str(wrong)


def test_the_text_of_an_activation_has_its_input():
    assert "[input = -2]" in str(explain(trace(nn.ReLU(), torch.full((1, 2), -2.0)), "output", (0, 1)))
