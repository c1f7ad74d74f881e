"""Text for terminals: columns, hostile names, progress with and without a terminal."""

import io

from rich.console import Console

from convscope.errors import printable
from convscope.report.progress import training_progress
from convscope.report.terminal import table
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
STEP = StepDone(1, 2, 3, 10, 0.5, 0.8, 0.1, 4000.0)


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


def test_a_bar_in_a_terminal():
    output = io.StringIO()
    with training_progress(Console(file=output, width=120, force_terminal=True, highlight=False)) as listener:
        listener("cnn", STEP)
        listener("cnn", EpochDone(1, 2, ROW))
    assert "\x1b[" in output.getvalue()
    assert "loss 0.500 acc 80.0%" in output.getvalue()
    assert "test loss 0.4000 acc 85.00%" in output.getvalue()
