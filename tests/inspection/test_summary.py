"""The table of layers: sums, sharing, folding; and its text at every width."""

import json

import pytest
import torch
from torch import nn

from convscope.errors import UnknownNameError, UsageError
from convscope.inspection import summary
from convscope.models import create_model
from convscope.report.summary_text import COLUMNS, quantity, summary_text
from convscope.trace import trace


def row_of(table, path):
    return next(row for row in table.rows if row.path == path)


def test_lenet5_by_hand():
    table = summary(trace(create_model("lenet5"), (1, 1, 28, 28)))
    conv = row_of(table, "conv2")
    assert (conv.output_shape, conv.num_params, conv.macs) == ((1, 16, 10, 10), 2416, 240_000)
    assert (conv.kernel, conv.receptive_field, conv.bytes_moved) == ("5x5", "14", 4 * (1176 + 2416 + 1600))
    assert [row.name for row in table.rows if row.level == 1][:4] == ["conv1", "activation", "pool", "conv2"]
    assert table.root.num_params == 61_706
    assert table.root.macs == 416_520


def sums_up(row):
    if not row.children:
        return
    assert sum(child.macs for child in row.children) == row.macs
    assert sum(child.element_ops for child in row.children) <= row.element_ops
    assert sum(child.num_params for child in row.children) <= row.num_params
    for child in row.children:
        assert child.level == row.level + 1
        sums_up(child)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_rows_add_up(name):
    found = trace(create_model(name).eval(), (1, 3, 224, 224))
    table = summary(found, depth=9)
    sums_up(table.root)
    assert sum(row.num_params for row in table.root.children) == found.num_params


def test_repeats_fold():
    table = summary(trace(create_model("resnet50").eval(), (1, 3, 224, 224)), depth=2)
    layer3 = row_of(table, "layer3")
    assert [(row.name, row.repeats) for row in layer3.children] == [("0", 1), ("1 to 5", 5)]
    assert (
        layer3.children[1].macs == 5 * 218_365_952
    )  # 1x1, 3x3 and 1x1 of a block without stride, at 14 x 14
    assert layer3.children[1].receptive_field == "267"
    assert [child.repeats for child in layer3.children[1].children][:2] == [5, 5]


def test_shared_and_unused_parameters():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unused = nn.Conv2d(3, 3, 1, bias=False), nn.Linear(5, 5)

        def forward(self, x):
            return self.conv(self.conv(x) + 1)

    table = summary(trace(Shared(), (1, 3, 4, 4)))
    first, second = [row for row in table.rows if row.kind == "Conv2d"]
    assert (first.num_params, first.shared) == (9, False)
    assert (second.num_params, second.shared) == (0, True)
    assert table.root.num_params == 39
    assert "(shared)" in summary_text(table)
    assert "never used: unused.weight, unused.bias" in summary_text(table)


def test_functional_operators_have_rows():
    class Plain(nn.Module):
        def forward(self, x):
            return torch.relu(x) + x.mean((2, 3), keepdim=True)

    table = summary(trace(Plain(), (1, 3, 4, 4)))
    assert [row.name for row in table.rows] == ["Plain", "relu", "mean", "add"]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("name", ["resnet18", "lenet5"])
def test_the_text_fits(name, width):
    shape = (1, 1, 28, 28) if name == "lenet5" else (1, 3, 64, 64)
    table = summary(trace(create_model(name).eval(), shape), depth=3)
    text = summary_text(table, tuple(COLUMNS), width)
    assert max(map(len, text.splitlines())) <= width
    assert ("columns left out" in text) == (width < 150)
    assert text.splitlines()[0].startswith("layer")


def test_the_columns_asked_for_come_in_order():
    table = summary(trace(create_model("lenet5"), (1, 1, 28, 28)))
    head = summary_text(table, ("macs", "output", "time"), 100).splitlines()[0]
    assert head.split() == ["layer", "MACs", "output", "time"]
    with pytest.raises(UnknownNameError, match="unknown column 'mac': did you mean 'macs'"):
        summary_text(table, ("mac",))


def test_times_are_those_of_a_real_run():
    table = summary(trace(create_model("lenet5"), torch.randn(1, 1, 28, 28)))
    assert table.root.seconds == pytest.approx(sum(row.seconds for row in table.root.children))
    assert "time in operators" in summary_text(table)
    assert summary(trace(create_model("lenet5"), (1, 1, 28, 28))).root.seconds is None


def test_json():
    facts = json.loads(json.dumps(summary(trace(create_model("lenet5"), (1, 1, 28, 28))).to_dict()))
    assert facts["macs"] == 416_520
    assert facts["rows"][1]["kernel"] == "5x5"


def test_refusals():
    with pytest.raises(UsageError, match="got a LeNet5; give what `trace` returned"):
        summary(create_model("lenet5"))
    with pytest.raises(UsageError, match="depth"):
        summary(trace(nn.ReLU(), (1, 2)), depth=-1)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0, "", "0"), (999, "", "999"), (1000, "", "1.000 k"), (2.5e7, "B", "25.00 MB"), (1.2e-5, "s", "12.00 us"),
     (3.0, "s", "3.000 s")],
)  # fmt: skip
def test_quantities(value, unit, text):
    assert quantity(value, unit) == text


def test_what_a_list_of_modules_holds_is_named_with_the_list():
    table = summary(trace(create_model("unet", width=4, depth=2), (1, 3, 16, 16)))
    names = [row.name for row in table.rows if row.level == 1]
    assert [name for name in names if "." in name] == ["encoder.0", "encoder.1", "upsample.0", "decoder.0"]
    assert [row.name for row in table.rows if row.level == 2][:2] == ["conv1", "bn1"]
