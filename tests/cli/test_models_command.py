"""`convscope models`, and `predict --model`: the zoo and its weights on the command line."""

import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from convscope.cli.main import main
from convscope.data import cat, cat_path, preprocess
from convscope.models import (
    Preprocessing,
    WeightsInfo,
    create_seeded_model,
    list_models,
    save_weights,
)


def answer(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refusal(capsys, code, *arguments):
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert not captured.out
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("convscope: ")
    return captured.err


def test_list(capsys):
    lines = answer(capsys, "models", "list").splitlines()
    assert [line.split()[0] for line in lines[1 : len(list_models()) + 1]] == list_models()
    assert "resnet50" in answer(capsys, "models", "list", "*res*")
    facts = json.loads(answer(capsys, "models", "list", "mobile*", "--json"))
    assert facts["models"][0]["weights"] == ["imagenet1k_v1", "imagenet1k_v2"]
    assert "unknown model 'nothing*'" in refusal(capsys, 2, "models", "list", "nothing*")


def test_show(capsys):
    text = answer(capsys, "models", "show", "mobilenet_v2")
    assert "parameters: 3,504,872; MACs for one image: 300,774,272" in text
    assert "weights imagenet1k_v1: https://" in text
    assert "mobilenet_v2-b0353104.pth, 14 MB, top-1 71.878 %" in text
    assert "mean 0.485 0.456 0.406" in text
    assert "head: classifier.1" in text
    assert json.loads(answer(capsys, "models", "show", "lenet5", "--json"))["num_params"] == 61_706
    assert "did you mean" in refusal(capsys, 2, "models", "show", "resnet5")


def test_fetch_takes_what_is_there_and_refuses_the_rest(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("convscope.models.published._ADDRESS", "http://127.0.0.1:9/")
    assert "no network given" in refusal(capsys, 2, "models", "fetch")
    assert "no weights are published for 'lenet5'" in refusal(capsys, 2, "models", "fetch", "lenet5")
    assert "weights of 'resnet18'" in refusal(capsys, 2, "models", "fetch", "resnet18", "--weights", "v9")
    text = refusal(capsys, 1, "models", "fetch", "resnet18", "--folder", tmp_path)
    assert "cannot be reached" in text
    assert f"Offline, put the file itself at '{tmp_path}/resnet18-f37072fd.pth'" in text


@pytest.fixture
def weights(tmp_path):
    """A small network's weights under the name of published ones, in an otherwise empty cache."""
    network = create_seeded_model("resnet18", 0)
    path = tmp_path / "resnet18.pth"
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(tmp_path / f"resnet18-{digest}.pth")


def test_predict_of_a_published_network(capsys, tmp_path, weights, monkeypatch):
    from convscope.models import published

    rows = [row._replace(file=weights.name) if row.model == "resnet18" else row for row in published._ROWS]
    monkeypatch.setattr(published, "_ROWS", rows)
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    weights.rename(tmp_path / "weights" / weights.name)
    picture = tmp_path / "cat.png"
    text = answer(capsys, "predict", "cat", cat_path(), "--model", "resnet18", "--output", picture)
    lines = text.splitlines()
    assert lines[0] == f"resnet18 imagenet1k_v1 ({weights.name})"
    assert len([line for line in lines if line.endswith("%")]) == 10
    assert picture.read_bytes().startswith(b"\x89PNG")
    facts = json.loads(answer(capsys, "predict", "cat", "--model", "resnet18", "--top", 2, "--json"))
    (entry,) = facts["predictions"]
    assert entry["image"] == "cat"
    assert len(entry["top"]) == 2
    assert entry["top"][0]["class"] in lines[2] + lines[3]


def test_predict_takes_the_number_of_classes_from_the_file(capsys, tmp_path):
    network = create_seeded_model("resnet18", 0, num_classes=2)
    facts = Preprocessing(64, 64, "bilinear", (0.5,) * 3, (0.5,) * 3)
    network.weights_info = WeightsInfo("here", ("cat", "dog"), facts)
    save_weights(network, tmp_path / "w.safetensors")
    arguments = ("predict", "cat", "--model", "resnet18", "--weights", tmp_path / "w.safetensors", "--json")
    (entry,) = json.loads(answer(capsys, *arguments))["predictions"]
    assert {row["class"] for row in entry["top"]} == {"cat", "dog"}
    assert sum(row["probability"] for row in entry["top"]) == pytest.approx(1)
    assert "top is 0" in refusal(capsys, 2, *arguments, "--top", 0)


def test_predict_refusals(capsys, tmp_path):
    assert "no run and no picture given" in refusal(capsys, 2, "predict")
    assert "no picture given" in refusal(capsys, 2, "predict", "--model", "resnet18")
    assert "--weights is for --model" in refusal(capsys, 2, "predict", tmp_path, "--weights", "default")
    assert "unknown model 'resnet'" in refusal(capsys, 2, "predict", "cat", "--model", "resnet")
    assert "no weights are published" in refusal(capsys, 2, "predict", "cat", "--model", "lenet5")
    save_weights(create_seeded_model("resnet18", 0), tmp_path / "w.safetensors")
    arguments = ("predict", "cat", "--model", "resnet18", "--weights", tmp_path / "w.safetensors")
    assert "do not say how images are prepared" in refusal(capsys, 2, *arguments)
    strip = tmp_path / "strip.png"
    Image.fromarray(np.zeros((1, 20_000), np.uint8)).save(strip)
    network = create_seeded_model("resnet18", 0)
    network.weights_info = WeightsInfo("x", (), Preprocessing(256, 224, "bilinear", (0.5,) * 3, (0.5,) * 3))
    save_weights(network, tmp_path / "w.safetensors")
    arguments = ("predict", strip, "--model", "resnet18", "--weights", tmp_path / "w.safetensors")
    assert "becomes 256x5120000 when its shorter side is resized" in refusal(capsys, 2, *arguments)
    missing = ("predict", "cat", "--model", "resnet18", "--weights", tmp_path / "none.pth")
    assert "do not exist" in refusal(capsys, 2, *missing)


def test_published_weights_in_explain_look_and_audit(capsys, tmp_path):
    network = create_seeded_model("resnet18", 5)
    facts = Preprocessing(64, 64, "bilinear", (0.5,) * 3, (0.25,) * 3)
    network.weights_info = WeightsInfo("here", (), facts)
    path = tmp_path / "w.safetensors"
    save_weights(network, path)
    arguments = ("explain", "resnet18", "--layer", "conv1", "--at", "3,5,6", "--json")
    value = json.loads(answer(capsys, *arguments, "--weights", path))
    with torch.no_grad():
        maps = network.eval().conv1(preprocess(cat(), facts))
    assert value["engine_value"] == pytest.approx(float(maps[0, 3, 5, 6]), rel=1e-5)
    assert json.loads(answer(capsys, *arguments))["engine_value"] != value["engine_value"]
    look = ("look", "--model", "resnet18", "--layers", "conv1", "--json")
    (layer,) = json.loads(answer(capsys, *look, "--weights", path))["layers"]
    assert layer["max"] == pytest.approx(float(maps.max()), rel=1e-5)
    assert "ResNet on 1x3x64x64" in answer(
        capsys, "audit", "resnet18", "--image", "cat", "--weights", path, "--fail-on", "never"
    )
    assert "is for networks of the zoo" in refusal(capsys, 2, "audit", "my:net", "--weights", path)
    assert "--weights is for --model" in refusal(capsys, 2, "look", "--run", tmp_path, "--weights", path)
