"""Text for terminals: columns, hostile names, progress with and without a terminal."""

import io

import pytest
from rich.console import Console

from convscope.errors import printable
from convscope.report.columns import table
from convscope.report.progress import progress_table, training_progress
from convscope.training import EpochDone, StepDone

ROW = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_acc@1": 0.8,
    "val_loss": 0.4,
    "acc@1": 0.85,
    "seconds": 3.0,
    "images_per_second": 4000.0,
}
STEP = StepDone(1, 2, 3, 10, 0.5, 0.8, 0.1, 4000.0, 0.25, 75.0)


def test_columns_line_up():
    assert table(("a", "b"), [("long name", "1"), ("x", "1000")]).splitlines() == [
        "a             b",
        "long name     1",
        "x          1000",
    ]


def test_names_cannot_steer_the_terminal():
    assert printable("<b>\x1b]0;owned\x07\r\n\u202e") == "<b>?]0;owned????"


def test_plain_lines_when_not_a_terminal():
    output = io.StringIO()
    with training_progress(Console(file=output, width=40, soft_wrap=True)) as listener:
        listener("cnn", STEP)
        listener("cnn", EpochDone(1, 2, ROW))
    assert output.getvalue() == (
        "cnn epoch 1/2  train loss 0.5000 acc 80.00%  test loss 0.4000 acc 85.00%  3.0 s, 4,000 images/s\n"
    )


def test_a_live_table_in_a_terminal():
    output = io.StringIO()
    with training_progress(Console(file=output, width=120, force_terminal=True, highlight=False)) as listener:
        listener("cnn", STEP)
        listener("cnn", EpochDone(1, 2, ROW))
    assert "\x1b[" in output.getvalue()
    for shown in ("1/2", "3/10", "0.500", "80.0%", "1.0e-01", "4,000", "25%", "1:15"):
        assert shown in output.getvalue()
    assert "test loss 0.4000 acc 85.00%" in output.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_of_the_table_is_cut(width):
    output = io.StringIO()
    console = Console(file=output, width=width)
    console.print(
        progress_table(
            {"small_vgg": StepDone(12, 20, 391, 391, 0.5, 0.8, 3e-5, 14_000.0, 0.25, 7275.0)}, width
        )
    )
    assert "…" not in output.getvalue()
    assert "images/s of limit" in output.getvalue()
    assert "2:01:15" in output.getvalue()
