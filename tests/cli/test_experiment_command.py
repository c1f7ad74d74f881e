"""`convscope experiment`: the list, a run, its report, refusals; each experiment says what it is."""

import json
import re

import pytest

from convscope.cli.main import main
from convscope.errors import DataError
from convscope.experiments import Effort, get_experiment, list_experiments


def answer(capsys, *arguments, code=0):
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_the_list(capsys):
    text = answer(capsys, "experiment", "list")
    found = json.loads(answer(capsys, "experiment", "list", "--json"))["experiments"]
    assert [each["name"] for each in found] == list_experiments()
    for name in list_experiments():
        assert re.search(rf"^{re.escape(name)} ", text, re.MULTILINE)


@pytest.mark.parametrize("name", list_experiments())
def test_each_says_what_it_is(name):
    experiment = get_experiment(name)
    assert experiment.name == name
    for text, least in ((experiment.title, 10), (experiment.claim, 60), (experiment.setup, 100)):
        assert len(text) >= least
        assert "  " not in text
        assert text == text.strip()
    assert experiment.claim.endswith(".")
    assert experiment.setup.endswith(".")


def test_a_run_and_its_report(capsys, tmp_path):
    path = tmp_path / "report.html"
    text = answer(capsys, "experiment", "parameters", "--output", path)
    assert "verdict: holds." in text
    assert "MLP at 224x224  150,528  77,3" in text
    page = path.read_text()
    assert "Verdict: holds" in page
    assert "<script" not in page
    assert page.count("<svg") == 1
    found = json.loads(answer(capsys, "experiment", "parameters", "--seeds", "4", "--json"))
    assert found["seeds"] == [4]
    assert found["figures"]["cnn_growth"] == 1.0
    assert found["table"][0]["inputs"] == 3072


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("paramters",), "unknown experiment 'paramters': did you mean 'parameters'?"),
        (("parameters", "--quick", "--full"), "give --quick or --full, not both"),
        (("parameters", "--seeds", "1,1"), r"seeds \[1, 1\]: give at least one, each once"),
        (("parameters", "--seeds", "a"), "--seeds 'a' is no whole number"),
        (("parameters", "--seeds=-1"), "seed is -1"),
    ],
)
def test_refusals(capsys, arguments, message):
    text = answer(capsys, "experiment", *arguments, code=2)
    assert re.search(message, text)
    assert len(text.splitlines()) == 1


def test_a_full_run_needs_its_data(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="convscope data fetch cifar10"):
        Effort(full=True).images("train")
