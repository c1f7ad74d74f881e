"""`convscope runs` lists what lies below a folder, whatever its state; the report is written where it is asked for."""

import importlib
import json
import shutil

import pytest
from PIL import Image

from convscope.cli.main import main
from convscope.training import Recipe, train


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs of a perceptron, one of them deeper, and four folders that are no run or a damaged one."""
    root = tmp_path_factory.mktemp("runs")
    recipe = Recipe(model="perceptron", epochs=2, batch_size=1000)
    train(recipe, output=root / "short", epochs=1, lr=1e-3)
    train(recipe, output=root / "deeper" / "long")
    for name, file, text in (("cut", "state.json", "{"), ("old", "state.json", '{"version": 99}')):
        shutil.copytree(root / "short", root / name)
        (root / name / file).write_text(text)
    shutil.copytree(root / "short", root / "list")
    (root / "list" / "metrics.jsonl").write_text("[1]\n5\n[2]\n")
    shutil.copytree(root / "short", root / "deeper" / "long" / "inside")  # a run holds no other
    (root / "nothing").mkdir()
    (root / "evil\x1b[31m").mkdir()
    (root / "evil\x1b[31m" / "recipe.toml").write_text("epochs = 'many'")
    return root


def answer(capsys, *arguments, code=0):
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_listing(capsys, runs):
    found = json.loads(answer(capsys, "runs", runs, "--json"))["runs"]
    whole = [run for run in found if run["problem"] is None]
    assert {run["path"] for run in whole} == {str(runs / "short"), str(runs / "deeper" / "long")}
    assert [run["problem"] is None for run in found] == [True, True, False, False, False, False]
    (long,) = (run for run in whole if run["path"].endswith("long"))
    assert (long["model"], long["status"], long["epochs_done"], long["epochs"]) == (
        "perceptron",
        "finished",
        2,
        2,
    )
    assert 0.5 < long["last"] <= long["best"] < 1
    assert long["seconds"] > 0
    out = answer(capsys, "runs", runs)
    assert "fashion-mnist  finished     2/2" in out
    assert "cut: " in out
    assert "version 99" in out
    assert "\x1b" not in out
    assert all(len(line) < 300 for line in out.splitlines())


def test_listing_refusals(capsys, tmp_path):
    assert "does not exist" in answer(capsys, "runs", tmp_path / "none", code=2)
    assert answer(capsys, "runs", tmp_path) == "no run.\n"


def test_comparing(capsys, runs, tmp_path):
    picture = tmp_path / "curves.png"
    out = answer(capsys, "runs", "compare", runs / "short", runs / "deeper" / "long", "--output", picture)
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert lines["lr"] == ["0.001", "0.003"]
    assert lines["epochs"] == ["1/1", "2/2"]
    assert "model" not in lines
    with Image.open(picture) as image:
        assert min(image.size) > 300
    facts = json.loads(answer(capsys, "runs", "compare", runs / "short", runs / "deeper" / "long", "--json"))
    assert facts["fields"] == {"epochs": [1, 2], "lr": [0.001, 0.003]}
    same = answer(capsys, "runs", "compare", runs / "short", runs / "short")
    assert "The recipes are the same." in same
    assert "name two or more" in answer(capsys, "runs", "compare", runs / "short", code=2)
    assert "cannot be read" in answer(capsys, "runs", "compare", runs / "short", runs / "cut", code=1)


def test_train_leaves_a_report_and_eval_writes_one(capsys, tmp_path):
    flags = ("--model", "perceptron", "--epochs", 1, "--batch-size", 1000)
    answer(capsys, "train", *flags, "--output", tmp_path / "with")
    assert "Learning curves" in (tmp_path / "with" / "report.html").read_text("utf-8")
    answer(capsys, "train", *flags, "--output", tmp_path / "without", "--no-report")
    assert not (tmp_path / "without" / "report.html").exists()
    answer(capsys, "eval", tmp_path / "without", "--report", tmp_path / "seen.html")
    assert "Learning curves" in (tmp_path / "seen.html").read_text("utf-8")


def test_tensorboard(capsys, tmp_path, monkeypatch):
    flags = ("--model", "perceptron", "--epochs", 1, "--batch-size", 1000, "--tensorboard", "--no-report")
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    refusal = answer(capsys, "train", *flags, "--output", tmp_path / "none", code=2)
    assert 'pip install "convscope[track]"' in " ".join(refusal.split())
    assert not (tmp_path / "none").exists()
    monkeypatch.undo()
    importlib.import_module("tensorboard")  # of the extra dev: never left out
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    answer(capsys, "train", *flags, "--output", tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "step" in row]
    assert [event.step for event in events.Scalars("step/loss")] == [row["step"] for row in steps]
    assert [event.value for event in events.Scalars("step/loss")] == pytest.approx(
        [row["loss"] for row in steps], rel=1e-6
    )
    (measured,) = events.Scalars("epoch/acc@1")
    assert (measured.step, measured.value) == (len(steps), pytest.approx(rows[-1]["acc@1"]))
