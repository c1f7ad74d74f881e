"""Sweeps: how a search is written, and what is refused before Ray starts. Ray itself is the extra `tune`."""

import sys

import pytest

from convscope.errors import UnknownNameError, UsageError
from convscope.training import Recipe
from convscope.training.sweep import parse_search, sweep

RECIPE = Recipe(model="perceptron", epochs=1, batch_size=500)


def test_how_a_search_is_written():
    assert parse_search("batch_size=64,128") == ("batch_size", [64, 128])
    assert parse_search("accelerate=true,false") == ("accelerate", [True, False])
    assert parse_search("epochs=integers:2:8") == ("epochs", ("integers", 2.0, 8.0))
    assert parse_search("lr=uniform:0:1") == ("lr", ("uniform", 0.0, 1.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr", "must be field=a,b,c"),
        ("lr=", "must be field=a,b,c"),
        ("lr=log:1", "needs two numbers, lr=log:low:high"),
        ("lr=log:0:1", "above 0 for log"),
        ("lr=uniform:2:1", "from a lower to a higher number"),
    ],
)
def test_bad_searches(text, words):
    with pytest.raises(UsageError, match=words):
        parse_search(text)


def test_refused_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="unknown field 'lrr': did you mean 'lr'"):
        sweep(RECIPE, {"lrr": [1.0]}, tmp_path / "sweep")
    with pytest.raises(UsageError, match="lr is -1"):
        sweep(RECIPE, {"lr": [-1]}, tmp_path / "sweep")
    with pytest.raises(UsageError, match="lr has no value"):
        sweep(RECIPE, {"lr": []}, tmp_path / "sweep")
    with pytest.raises(UsageError, match="trials is 0"):
        sweep(RECIPE, {"lr": [0.1]}, tmp_path / "sweep", trials=0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError, match=r'sweeps need Ray Tune; install it with pip install "convscope\[tune\]"'
    ):
        sweep(RECIPE, {"lr": [0.1]}, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
