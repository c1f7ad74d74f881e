"""Figures of networks: what they tell, and the pictures read back: to scale, nothing clipped, nothing overlaid."""

import importlib.util
import io
import itertools
import math
import random
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import convscope.nn as cnn
from convscope.cli import draw as draw_command
from convscope.errors import OutputError, UnknownNameError, UsageError
from convscope.models import create_model, model_entry
from convscope.report.drawing import Drawing, Group, Shape, Text, write_drawing
from convscope.report.network.painter import LEAST, OBLIQUE, THINNEST, draw_network
from convscope.report.network.story import MOST_STAGES, tell_network
from convscope.trace import trace

_spec = importlib.util.spec_from_file_location(
    "traced_networks", Path(__file__).parents[1] / "trace" / "networks.py"
)
networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(networks)

STYLES = ("volumes", "blocks")
ZOO = (
    "lenet5",
    "small_vgg",
    "mlp",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "alexnet_paper",
    "resnet50_dcn",
)


class Layer(nn.Module):
    """A transformer's layer, normalised first."""

    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, layers=5):
        super().__init__()
        self.enter = nn.Linear(6, 8)
        self.layers = nn.Sequential(*(Layer(8) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(self.layers(self.enter(x))))


class PreActivation(nn.Module):
    """The normalisation stands before the convolution, and its input is also the shortcut."""

    def __init__(self):
        super().__init__()
        self.enter, self.norm, self.conv = (
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )

    def forward(self, x):
        x = self.enter(x)
        return x + self.conv(F.relu(self.norm(x)))


class Random(nn.Module):
    """A graph of convolutions, joins, pools and upsampling that nobody drew by hand."""

    def __init__(self, seed, count):
        super().__init__()
        draw = random.Random(seed)
        kinds = ("conv", "conv", "relu", "add", "cat", "pool", "up")
        back = [[draw.randrange(max(0, n - 4), n + 1) for _ in range(2)] for n in range(count)]
        self.plan = [(draw.choice(kinds), *pair) for pair in back]
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, draw.choice((1, 3)), padding="same") for _ in range(count))

    def forward(self, x):
        values = [x]
        for (kind, a, b), conv in zip(self.plan, self.convs, strict=True):
            a, b = values[a], values[b]
            whole = [
                F.interpolate(value, size=(16, 16)) if value.shape[-1] != 16 else value for value in (a, b)
            ]
            match kind:
                case "conv":
                    value = conv(a)
                case "relu":
                    value = F.relu(a)
                case "add":
                    value = whole[0] + whole[1]
                case "cat":
                    value = conv(torch.cat(whole, 1)[:, ::2])
                case "pool":
                    value = F.max_pool2d(a, 2) if a.shape[-1] > 4 else a
                case "up":
                    value = F.interpolate(a, scale_factor=2) if a.shape[-1] < 16 else a
            values.append(value)
        return values[-1], values[len(values) // 2]


def repeated(count):
    """Convolutions of two kinds that alternate, without any module around a pair."""
    pairs = ((nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(count))
    return nn.Sequential(*itertools.chain.from_iterable(pairs))


def different(count):
    """Convolutions of which no two in a row are equal, nor any group of them."""
    return nn.Sequential(*(nn.Conv2d(4 + n, 5 + n, 1) for n in range(count)))


class Hostile(nn.Module):
    NAMES = ('<script>alert("x")</script>', "a'&\"b\n$x$", "\x1b[31m卷积", "l" * 90)

    def __init__(self):
        super().__init__()
        for name, module in zip(
            self.NAMES,
            (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 5, 1), nn.MaxPool2d(2)),
            strict=True,
        ):
            self.add_module(name, module)

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


MORE = {
    "transformer": (Transformer, (1, 7, 6)),
    "pre-activation": (PreActivation, (1, 3, 10, 10)),
    "repeated": (lambda: repeated(6), (1, 4, 8, 8)),
    "different": (lambda: different(40), (1, 4, 8, 8)),
    "wide": (lambda: nn.Sequential(nn.Conv2d(3, 2048, 1), nn.Flatten(), nn.Linear(2048, 5)), (1, 3, 1, 1)),
    "hostile": (Hostile, (1, 3, 16, 16)),
    "audio": (
        lambda: nn.Sequential(nn.Conv1d(1, 16, 9, 4), nn.ReLU(), nn.AdaptiveAvgPool1d(1)),
        (1, 1, 16000),
    ),
    "modulated": (
        lambda: nn.Sequential(cnn.DeformableConv2d(3, 4, 3, 2, 1, modulated=True), nn.ReLU()),
        (1, 3, 9, 9),
    ),
    "nothing": (nn.Flatten, (1, 3, 8, 8)),
    # Chosen for what they need: walls in the right order, ways that keep clear of each other.
    **{
        f"random {seed}": (lambda seed=seed, count=count: Random(seed, count), (1, 4, 16, 16))
        for seed, count in ((1, 15), (3, 17), (5, 19), (7, 21), (8, 26), (34, 14), (49, 20), (52, 14))
    },
}


_traces = {}


def traced(name):
    if name not in _traces:
        if name in ZOO:
            network, shape = create_model(name).eval().to("meta"), (1, *model_entry(name).input_shape)
        elif name in MORE:
            torch.manual_seed(0)
            network, shape = MORE[name][0]().eval(), MORE[name][1]
        else:
            network, shape = networks.made(name)
        _traces[name] = trace(network, shape)
    return _traces[name]


def told(name, depth=None):
    return tell_network(traced(name), depth)


def rows(story):
    return [(s.name, s.words, ", ".join(s.after), str(s.volume)) for s in story.stages]


def edges(story):
    return {(story.stages[a].name, story.stages[b].name) for a, b in story.edges}


# What is told ------------------------------------------------------------------------------------------------


def test_lenet():
    assert rows(told("lenet5")) == [
        ("input", "input", "", "1×28×28"),
        ("conv1", "conv 5×5", "tanh", "6×28×28"),
        ("pool", "avg pool 2×2 /2", "", "6×14×14"),
        ("conv2", "conv 5×5", "tanh", "16×10×10"),
        ("pool#1", "avg pool 2×2 /2", "", "16×5×5"),
        ("classifier.hidden.0", "dense", "tanh", "120"),
        ("classifier.hidden.2", "dense", "tanh", "84"),
        ("classifier.fc", "dense", "", "10"),
    ]
    assert [s.num_params for s in told("lenet5").stages] == [0, 156, 0, 2416, 0, 48120, 10164, 850]


@pytest.mark.parametrize(
    ("name", "block", "counts"),
    [("resnet18", "BasicBlock", (2, 2, 2, 2)), ("resnet50", "Bottleneck", (3, 4, 6, 3))],
)
def test_the_blocks_of_a_residual_network_are_folded(name, block, counts):
    story = told(name)
    assert len(story.stages) == 9
    folded = [s for s in story.stages if s.count > 1]
    assert [(s.kind, s.count) for s in folded] == [(block, count) for count in counts]
    assert [s.name for s in folded] == [f"layer{n}.0–{count - 1}" for n, count in enumerate(counts, 1)]
    assert ["first /2" in s.detail for s in folded] == [False, True, True, True]
    assert story.edges == tuple((n, n + 1) for n in range(8))
    # Layer 1 of ResNet-18: 4 convolutions of 64*64*3*3 weights, a batch norm of 2*64 after each.
    if name == "resnet18":
        assert folded[0].num_params == 4 * (64 * 64 * 9 + 128)


def test_opened_deeper_a_residual_network_shows_its_shortcuts():
    story = told("resnet18", 3)
    assert ("maxpool", "layer1.0–1/add") in edges(story)
    assert {("layer1.0–1/add", "layer2.0.downsample"), ("layer2.0.downsample", "layer2.0/add")} <= edges(
        story
    )
    add = next(s for s in story.stages if s.name == "layer2.0/add")
    assert add.is_operator
    assert add.after == ("ReLU",)


def test_efficientnet():
    folded = {s.name: s.count for s in told("efficientnet_b0").stages if s.kind == "MBConv"}
    assert folded == {
        "features.1.0": 1, "features.2.0–1": 2, "features.3.0–1": 2, "features.4.0–2": 3, "features.5.0–2": 3,
        "features.6.0–3": 4, "features.7.0": 1,
    }  # fmt: skip


def test_a_local_response_norm_is_told_as_one():
    norms = [s for s in told("alexnet_paper").stages if "local response norm" in s.after]
    assert [(s.words, s.after) for s in norms] == [
        ("conv 11×11 /4", ("ReLU", "local response norm")),
        ("2-group conv 5×5", ("ReLU", "local response norm")),
    ]


def test_deformable_convolutions_are_told_without_what_predicts_their_offsets():
    last = next(s for s in told("resnet50_dcn").stages if s.name == "layer4.0–2")
    assert last.detail == "1×1, deformable 3×3, 1×1, first /2"
    layers = [s for s in told("modulated", 1).stages if s.kind == "DeformableConv2d"]
    assert [(s.words, s.before, s.after) for s in layers] == [("deformable 3×3 /2", (), ("ReLU",))]
    assert {s.words for s in told("modulated", 2).stages} >= {"conv 3×3 /2", "deformable 3×3 /2"}


def test_u_net():
    story = told("u-net")
    assert [s.words for s in story.stages if s.family == "join"] == ["concat", "concat"]
    assert {("enter", "cat_2"), ("down", "cat"), ("up2", "cat"), ("up1", "cat_2")} <= edges(story)
    assert [s.words for s in story.stages if s.name in ("up2", "up1")] == ["up-conv 2×2 ↑2"] * 2


def test_branches_of_an_inception_block():
    story = told("inception")
    assert {source for source, target in edges(story) if target == "cat"} == {
        "one",
        "three.1",
        "five.1",
        "pool.1",
    }
    assert {target for source, target in edges(story) if source == "input"} == {
        "one",
        "three.0",
        "five.0",
        "pool.0",
    }


def test_functional_networks_are_told_by_their_operators():
    assert rows(told("functional")) == [
        ("input", "input", "", "3×17×21"),
        ("convolution", "conv 3×3 /2", "ReLU", "4×9×11"),
        ("max_pool2d_with_indices", "max pool 2×2 /2", "", "4×4×5"),
        ("convolution_2", "conv 1×1", "", "5×4×5"),
    ]


@pytest.mark.parametrize(
    ("name", "volumes"),
    [
        ("signal", ["2×33", "6×17", "3×34", "3×34"]),
        ("volume", ["2×6×11×13", "4×6×6×7", "4×3×3×3"]),
        ("attention", ["3×16×20", "8×4×5", "21 tokens × 8", "21 tokens × 8", "21 tokens × 8", "5"]),
        ("4-D linear", ["8×14×17", "8×14×17", "32×14×17", "8×14×17", "8×14×17"]),
        ("two inputs", ["3×9×12", "1×9×12", "4×9×12", "4×9×12", "8×9×12"]),
        ("tied weights", ["6", "4", "4", "4", "6"]),
        ("windowed", ["3×16×24", "8×8×12", "1×6×16×16", "8×6×16", "8×6×16"]),
    ],
)
def test_channels_and_positions_are_told_apart(name, volumes):
    assert [str(s.volume) for s in told(name).stages] == volumes


def test_unbatched_images_and_tokens():
    whole = [str(s.volume) for s in tell_network(trace(nn.Conv2d(3, 2, 3), (3, 8, 9))).stages]
    assert whole == ["3×8×9", "2×6×7"]
    numbers = torch.zeros(1, 12, dtype=torch.long)
    assert [str(s.volume) for s in tell_network(trace(nn.Embedding(9, 4), numbers)).stages] == [
        "12 tokens",
        "12 tokens × 4",
    ]


def test_several_outputs_are_marked():
    assert [s.name for s in told("dict and list").stages if s.is_output] == ["left", "right", "add"]


def test_what_only_depends_on_weights_is_no_stage_but_is_counted():
    (_, conv) = told("normalised").stages
    assert conv.after == ("BN", "GN", "IN")
    assert conv.num_params == 8 * 3 * 9 + 4 * 8


@pytest.mark.parametrize("name", [*networks.CASES, *ZOO, *MORE])
def test_no_parameter_and_no_mac_is_lost(name):
    found = traced(name)
    unused = sum(found.parameter_names[key] for key in found.unused_parameters)
    for depth in (None, 1, 2, 3, 9):
        story = told(name, depth)
        assert sum(s.num_params for s in story.stages) == found.num_params - unused
        assert sum(s.macs for s in story.stages) == found.macs
        assert all(a < b for a, b in story.edges)


@pytest.mark.parametrize("name", [name for name in networks.CASES if name != "writes into"])
def test_a_volume_has_the_elements_of_its_tensor(name):
    found = traced(name)
    batch = found.tensors[found.inputs[0]].shape[0]
    for stage in told(name, 9).stages:
        facts = found.tensor_of(stage.members[-1] if stage.members else stage.name)
        assert math.prod(stage.volume.shape) * batch == facts.numel, stage.name


def test_a_normalisation_before_the_convolution_is_told_there():
    stages = told("pre-activation").stages
    assert [(s.before, s.words) for s in stages[1:]] == [
        ((), "conv 3×3"),
        (("BN", "ReLU"), "conv 3×3"),
        ((), "add"),
    ]


def test_groups_that_repeat_are_kept_once():
    story = told("transformer")
    (group,) = story.repeats
    assert group.times == 5
    inside = story.stages[group.first : group.last + 1]
    assert [s.words for s in inside] == ["attention", "add", "dense", "dense", "add"]
    assert inside[0].name == "layers.0–4.attention"
    assert story.stages[-1].before == ("LN",)
    assert [s.times for s in inside] == [5] * 5
    assert inside[2].macs == 5 * 7 * 8 * 24
    assert ("enter", "layers.0–4.attention") in edges(story)
    assert ("enter", inside[1].name) in edges(story)
    assert [(r.times, r.last - r.first) for r in told("repeated").repeats] == [(6, 1)]


def test_what_differs_or_is_read_elsewhere_is_not_folded():
    assert [s.count for s in told("dilated").stages] == [1, 1, 1, 1]
    convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)]

    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = convs

        def forward(self, x):
            first = self.a(x)
            return self.c(self.b(first)) + first

    assert [s.count for s in tell_network(trace(Read(), (1, 4, 8, 8))).stages] == [1, 1, 2, 1]
    assert [s.count for s in tell_network(trace(nn.Sequential(*convs), (1, 4, 8, 8))).stages] == [1, 3]
    assert not told("different").repeats


class Unlike(nn.Module):
    """The same steps twice, wired differently: the second time the shortcut begins one step later."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(4, 4, k, padding=k // 2) for k in (1, 3, 1, 3))

    def forward(self, x):
        x = x + self.b(self.a(x))
        y = self.c(x)
        return y + self.d(y)


def test_groups_of_different_wiring_are_not_folded():
    story = tell_network(trace(Unlike(), (1, 4, 8, 8)))
    assert story.repeats == ()
    assert [s.words for s in story.stages[1:]] == ["conv 1×1", "conv 3×3", "add"] * 2


def test_the_automatic_depth_keeps_the_figure_small():
    for name in ZOO:
        assert len(told(name).stages) <= MOST_STAGES + 1
    assert told("resnet18").depth == 2
    assert len(told("resnet18", 1).stages) == 9
    assert len(told("resnet18", 3).stages) > MOST_STAGES


# What is drawn -----------------------------------------------------------------------------------------------


def stage_groups(drawing):
    return [group for group in drawing.groups if group.role == "stage"]


def shapes(group, *roles):
    return [item for item in group.items if isinstance(item, Shape) and item.role in roles]


def texts(drawing):
    return [(group, item) for group in drawing.groups for item in group.items if isinstance(item, Text)]


def meet(a, b, by=0.3):
    return a[0] < b[2] - by and b[0] < a[2] - by and a[1] < b[3] - by and b[1] < a[3] - by


def line_boxes(shape):
    for (x0, y0), (x1, y1) in itertools.pairwise(shape.points):
        yield min(x0, x1) - 0.3, min(y0, y1) - 0.3, max(x0, x1) + 0.3, max(y0, y1) + 0.3


SOLID = ("front", "top", "side", "block", "card", "sign")


def faults(drawing):
    """What is clipped, and what lies on what it should not lie on."""
    found = set()
    written = texts(drawing)
    for group in drawing.groups:
        for item in group.items:
            left, top, right, bottom = item.box
            if left < 0 or top < 0 or right > drawing.width or bottom > drawing.height:
                found.add(("clipped", getattr(item, "text", group.title)))
    for (_, one), (_, other) in itertools.combinations(written, 2):
        if meet(one.box, other.box):
            found.add(("text on text", one.text, other.text))
    solids = [(group, shape.box) for group in stage_groups(drawing) for shape in shapes(group, *SOLID)]
    for group, box in solids:
        for other, text in written:
            if other is not group and meet(box, text.box):
                found.add(("text on stage", text.text, group.title))
    for (one, a), (other, b) in itertools.combinations(solids, 2):
        if one is not other and meet(a, b):
            found.add(("stage on stage", one.title, other.title))
    for group in drawing.groups:
        for line in shapes(group, "edge", "leader", "bracket"):
            for box in line_boxes(line):
                for other, text in written:
                    if not (other is group or other.role == "edge") and meet(box, text.box, 0.2):
                        found.add(("line on text", group.title, text.text))
                if line.role == "edge":
                    ends = tuple(f"{name}:" for name in group.title.split(" → "))
                    for other, solid in solids:
                        if not other.title.startswith(ends) and meet(box, solid, 0.2):
                            found.add(("line on stage", group.title, other.title))
    return sorted(found)


def shared_lines(drawing):
    """Edges without a common end that run along each other, so that none can tell them apart."""
    lines = [(group.title.split(" → "), line) for group in drawing.groups for line in shapes(group, "edge")]
    found = []
    for (one, a), (other, b) in itertools.combinations(lines, 2):
        if one[0] == other[0] or one[1] == other[1]:
            continue
        for (p, q), (r, s) in itertools.product(itertools.pairwise(a.points), itertools.pairwise(b.points)):
            for along in (0, 1):
                across = 1 - along
                flat = max(p[across], q[across], r[across], s[across]) - min(
                    p[across], q[across], r[across], s[across]
                )
                common = min(max(p[along], q[along]), max(r[along], s[along])) - max(
                    min(p[along], q[along]), min(r[along], s[along])
                )
                if flat < 1.5 and common > 2:
                    found.append((one, other))
    return found


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", [*networks.CASES, *ZOO, *MORE])
def test_nothing_is_clipped_and_nothing_lies_on_another(name, style):
    for depth in (None, 3) if name != "resnet50" else (None,):
        drawing = draw_network(traced(name), style=style, depth=depth)
        assert faults(drawing) == []
        assert shared_lines(drawing) == []


def test_faults_are_found():
    drawing = draw_network(traced("lenet5"))
    groups = list(drawing.groups)
    place = groups.index(stage_groups(drawing)[2])
    moved = [replace(item, x=item.x - 60) if isinstance(item, Text) else item for item in groups[place].items]
    groups[place] = replace(groups[place], items=tuple(moved))
    kinds = {fault[0] for fault in faults(replace(drawing, groups=tuple(groups)))}
    assert "text on text" in kinds
    assert "clipped" in {fault[0] for fault in faults(replace(drawing, width=drawing.width - 40))}
    line = Shape(((0, 0), (drawing.width, drawing.height)), stroke="#000000", closed=False, role="edge")
    crossed = faults(replace(drawing, groups=(*drawing.groups, Group((line,), "a → b", "edge"))))
    assert {"line on text", "line on stage"} <= {fault[0] for fault in crossed}


def sides(group):
    """Thickness, height and the oblique width of a stage's first box."""
    front, side = shapes(group, "front")[0].box, shapes(group, "side")[0].points
    across = side[1][0] - side[0][0]
    return front[2] - front[0], front[3] - front[1], across


@pytest.mark.parametrize(
    "name", ["lenet5", "small_vgg", "resnet18", "resnet50", "efficientnet_b0", "u-net", "random 3"]
)
def test_volumes_are_to_one_scale(name):
    story, drawing = told(name), draw_network(traced(name))
    (key,) = [group for group in drawing.groups if group.role == "scale"]
    words = " ".join(item.text for item in key.items if isinstance(item, Text))
    channels, height, width = [int(word) for word in words.split() if word.isdigit()][:3]
    unit = sides(key)
    per_channel, per_row, per_column = unit[0] / channels, unit[1] / height, unit[2] / width
    assert per_column == pytest.approx(per_row * OBLIQUE)
    drawn = [s for s in story.stages if not s.is_operator]
    boxes = [group for group in stage_groups(drawing) if shapes(group, "front")]
    assert len(boxes) == len(drawn)
    exact = 0
    for stage, group in zip(drawn, boxes, strict=True):
        thickness, high, across = sides(group)
        rows_, columns = stage.volume.positions or (1, 1)
        assert thickness == pytest.approx(max(stage.volume.channels * per_channel, THINNEST))
        assert high == pytest.approx(max(rows_ * per_row, LEAST))
        assert across == pytest.approx(max(columns * per_row, LEAST) * OBLIQUE)
        exact += thickness > THINNEST and high > LEAST
    assert exact >= 2


def test_vectors_and_single_pixels_stay_visible():
    for group in stage_groups(draw_network(traced("wide"))):
        thickness, high, across = sides(group)
        assert thickness >= THINNEST - 1e-9
        assert high >= LEAST - 1e-9
        assert across > 1


def test_a_folded_run_is_drawn_as_plates_and_told():
    drawing = draw_network(traced("resnet50"))
    plates = [len(shapes(group, "front")) for group in stage_groups(drawing)]
    assert plates == [1, 1, 1, 3, 3, 3, 3, 1, 1]
    words = [item.text for _, item in texts(drawing)]
    assert [f"Bottleneck ×{count}" in words for count in (3, 4, 6)] == [True] * 3
    blocks = draw_network(traced("resnet50"), style="blocks")
    assert [len(shapes(group, "card")) for group in stage_groups(blocks)] == [0, 0, 0, 2, 2, 2, 2, 0, 0]


def test_brackets_tell_of_groups_that_repeat():
    for style in STYLES:
        drawing = draw_network(traced("transformer"), style=style)
        (bracket,) = [group for group in drawing.groups if group.role == "bracket"]
        assert [item.text for item in bracket.items if isinstance(item, Text)] == ["×5"]
        along = 0 if style == "volumes" else 1
        start, stop = bracket.items[0].box[along], bracket.items[0].box[along + 2]
        inside = [
            "repeated 5 times" in group.title
            for group in stage_groups(drawing)
            if start < shapes(group, *SOLID)[0].box[along] < stop
        ]
        assert inside == [True] * 5


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["u-net", "inception", "resnet18", "two inputs", "random 5"])
def test_every_edge_goes_from_its_source_to_its_target(name, style):
    story, drawing = told(name), draw_network(traced(name), style=style)
    boxes = {}
    for stage, group in zip(story.stages, stage_groups(drawing), strict=True):
        solid = [shape.box for shape in shapes(group, *SOLID)]
        boxes[stage.name] = [f(box[n] for box in solid) for n, f in enumerate((min, min, max, max))]
    drawn = {}
    for group in drawing.groups:
        for line in shapes(group, "edge"):
            drawn[tuple(group.title.split(" → "))] = line.points
    tags = {name for pair in drawn for name in pair if name not in boxes}
    assert len(drawn) == len(story.edges) or tags
    for source, target in edges(story):
        if (source, target) not in drawn:
            assert tags
            continue
        start, end = drawn[source, target][0], drawn[source, target][-1]
        left, top, right, bottom = boxes[target]
        assert left - 7 <= end[0] <= right + 7
        assert top - 7 <= end[1] <= bottom + 7
        left, top, right, bottom = boxes[source]
        begins = left - 1 <= start[0] <= right + 1 and top - 1 <= start[1] <= bottom + 1
        assert begins or start[0] < 40 or start[1] < 100  # one that branches off the line between two rows


def test_shortcuts_of_a_u_net_are_arcs_above_it():
    drawing = draw_network(traced("u-net"))
    arcs = {group.title: shapes(group, "edge")[0].box for group in drawing.groups if group.role == "edge"}
    outer, inner = arcs["enter → cat_2"], arcs["down → cat"]
    assert outer[0] < inner[0] < inner[2] < outer[2]
    tops = [shapes(group, "top")[0].box[1] for group in stage_groups(drawing)]
    assert outer[1] < min(tops)


def test_u_nets_are_indented_as_blocks_and_others_are_not():
    lefts = [
        shapes(group, "block")[0].box[0]
        for group in stage_groups(draw_network(traced("u-net"), style="blocks"))
    ]
    levels = [round((left - lefts[0]) / 22) for left in lefts]
    assert levels == [0, 0, 1, 1, 2, 2, 1, 1, 1, 0, 0, 0]
    plain = stage_groups(draw_network(traced("lenet5"), style="blocks"))
    assert len({shapes(group, "block")[0].box[0] for group in plain}) == 1


def test_long_networks_wrap_and_keep_their_size():
    for style, widest in (("volumes", 760), ("blocks", 900)):
        drawing = draw_network(traced("different"), style=style)
        assert drawing.width < widest
        assert drawing.height < 1500
        assert min(text.size for _, text in texts(drawing)) >= 7.5
        assert len(stage_groups(drawing)) == 41


# SVG and PNG -------------------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("style", STYLES)
def test_svg_is_whole_and_names_are_only_text(style):
    drawing = draw_network(traced("hostile"), style=style)
    source = drawing.svg()
    root = ET.fromstring(source)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "title", "desc", "rect", "g", "polygon", "polyline", "text",
    }  # fmt: skip
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on") or "href" in name]
    titles = " ".join(element.text for element in root.iter(f"{SVG}title"))
    for shown in ('<script>alert("x")</script>: Conv2d', "a'&\"b?$x$: Conv2d", "?[31m卷积: Conv2d", "l" * 90):
        assert shown in titles
    assert root.find(f"{SVG}title").text == drawing.title
    assert root.get("role") == "img"
    assert "".join(source.split()).isprintable()


@pytest.mark.parametrize("name", ["resnet18", "u-net", "hostile", "random 7"])
def test_every_label_of_the_svg_is_inside_its_view(name):
    root = ET.fromstring(draw_network(traced(name)).svg())
    _, _, width, height = map(float, root.get("viewBox").split())
    labels = list(root.iter(f"{SVG}text"))
    assert len(labels) > 10
    for label in labels:
        length, x, y = (float(label.get(key)) for key in ("textLength", "x", "y"))
        left = x - length * {None: 0, "middle": 0.5, "end": 1}[label.get("text-anchor")]
        assert left >= 0
        assert left + length <= width
        assert float(label.get("font-size")) * 0.7 <= y <= height


def test_long_class_names_are_cut_in_the_picture_only():
    block = type("Block" + "Of" * 40, (nn.Sequential,), {})(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    drawing = draw_network(trace(nn.Sequential(block), (1, 3, 9, 9)), depth=1)
    assert faults(drawing) == []
    assert max(text.box[2] - text.box[0] for group, text in texts(drawing) if group.role == "stage") < 100
    assert type(block).__name__ in drawing.svg()


def test_what_is_cut_short_is_whole_in_a_title():
    drawing = draw_network(traced("hostile"), style="blocks")
    short = [text for _, text in texts(drawing) if text.text.startswith("…")]
    assert [text.full for text in short] == ["l" * 90]
    assert f"<title>{'l' * 90}</title>" in drawing.svg()


@pytest.mark.parametrize("style", STYLES)
def test_png_shows_the_same_as_the_drawing(style):
    drawing = draw_network(traced("small_vgg"), style=style)
    image = np.asarray(Image.open(io.BytesIO(drawing.png())).convert("RGB"))
    assert image.shape[:2] == (int(drawing.height * 2), int(drawing.width * 2))
    assert 0.03 < (image < 250).any(-1).mean() < 0.6
    role = "front" if style == "volumes" else "stripe"
    for group in stage_groups(drawing):
        for shape in shapes(group, role):
            left, top, right, bottom = shape.box
            pixel = image[int((0.75 * top + 0.25 * bottom) * 2), int(left + right)].astype(int)
            assert np.abs(pixel - list(bytes.fromhex(shape.fill[1:]))).max() < 12


def test_a_huge_drawing_is_a_png_all_the_same():
    image = Image.open(io.BytesIO(Drawing(100, 40_000, "long", "", ()).png()))
    assert image.size == (50, 20_000)


def test_notebooks_show_the_svg():
    drawing = draw_network(traced("nothing"))
    assert drawing._repr_svg_() == drawing.svg()
    assert [group.title for group in stage_groups(drawing)] == ["input: 3×8×8"]


def test_files_by_their_ending(tmp_path):
    drawing = draw_network(traced("functional"))
    assert ET.parse(write_drawing(drawing, tmp_path / "net.svg")).getroot().tag == f"{SVG}svg"
    assert write_drawing(drawing, tmp_path / "net.PNG").read_bytes()[:4] == b"\x89PNG"
    for name in ("net.pdf", "net"):
        with pytest.raises(UsageError, match=rf"write_drawing: '.*{name}' ends in neither .svg nor .png"):
            write_drawing(drawing, tmp_path / name)
    with pytest.raises(OutputError, match="does not exist"):
        write_drawing(drawing, tmp_path / "none" / "net.svg")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["net.PNG", "net.svg"]


def test_refusals():
    found = traced("functional")
    with pytest.raises(
        UnknownNameError, match=r"draw_network: unknown style 'volume': did you mean 'volumes'"
    ):
        draw_network(found, style="volume")
    with pytest.raises(UsageError, match="draw_network: depth is 0; it must be at least 1"):
        draw_network(found, depth=0)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_command.run("lenet5")
    assert capsys.readouterr().err == "wrote lenet5.svg\n"
    assert "<title>lenet5 on 1×28×28: 61,706 parameters" in (tmp_path / "lenet5.svg").read_text("utf-8")
    draw_command.run("lenet5", input="1x1x28x28", style="blocks", depth=1, output=Path("net.png"), train=True)
    with Image.open("net.png") as image:
        assert image.size[0] > 500
    with pytest.raises(UsageError, match=r"draw: 'net\.gif' ends in neither"):
        draw_command.run("lenet5", output=Path("net.gif"))
    with pytest.raises(UsageError, match="draw: depth is -1"):
        draw_command.run("lenet5", depth=-1)
