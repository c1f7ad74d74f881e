"""The trained network in the package: its file, its card, and that it sees what it says."""

import json

import pytest
import torch

from convscope.cli.main import main
from convscope.data import fetch_dataset, fetching, load_dataset
from convscope.models import create_model, fetch_weights, list_weights, published_weights, weights_info
from convscope.training import evaluate


def test_it_needs_no_network_and_is_small():
    entry = published_weights("speed_cnn")
    assert list_weights("speed_cnn") == ["cifar10_v1"]
    path = fetch_weights(entry)
    assert path.parent.name == "packaged"
    assert path.stat().st_size <= 8_000_000
    assert entry.url == ""
    assert entry.sha256_prefix in path.name
    assert path.with_name("speed_cnn-cifar10_v1.md").read_text().count(path.name) == 1


def test_what_it_knows(capsys):
    network = create_model("speed_cnn", weights="default")
    info = weights_info(network)
    assert info.classes[:4] == ("airplane", "automobile", "bird", "cat")
    assert info.preprocessing.crop == 32
    assert all(each.dtype == torch.float32 for each in network.parameters())
    assert main(["models", "show", "speed_cnn"]) == 0
    text = capsys.readouterr().out
    assert "weights cifar10_v1: in the package" in text
    assert "trained by: convscope" in text
    assert main(["predict", "cat", "--model", "speed_cnn", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"][0]
    assert found["top"][0]["class"] == "cat"


@pytest.mark.data
@pytest.mark.timeout(900)
def test_it_is_as_good_as_its_card_says(monkeypatch):
    monkeypatch.setitem(fetching._ORIGINS, "cifar10", fetching._ORIGINS["cifar10"][-1:])
    fetch_dataset("cifar10")
    entry = published_weights("speed_cnn")
    facts = entry.preprocessing
    network = create_model("speed_cnn", weights="default").eval()
    found = evaluate(network, load_dataset("cifar10", "test"), mean=facts.mean, std=facts.std)
    assert 100 * found.accuracy == pytest.approx(entry.accuracy, abs=0.05)
    assert entry.accuracy > 93
