"""summary, trace, explain: what they print for zoo names, run folders and the user's own code, and refuse."""

import json
import sys

import pytest
from PIL import Image

from convscope.cli.main import main


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    """A module of the user's own in the current folder."""
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "class Small(nn.Sequential):\n"
        "    def __init__(self, width=4):\n"
        "        super().__init__(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))\n"
        "def build():\n"
        "    return Small(8)\n"
        "ready = Small(2)\n"
        "def breaks():\n"
        "    raise RuntimeError('no\\n weights')\n"
        "def needs(width):\n"
        "    return Small(width)\n"
        "def wrong():\n"
        "    return 3\n"
        "number = 5\n"
        "def quits():\n"
        "    raise SystemExit(3)\n"
        "def lazy():\n"
        "    import warnings\n"
        "    warnings.simplefilter('ignore')\n"
        "    return nn.LazyConv2d(4, 3)\n"
        "class NaN(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x * float('nan')\n"
    )
    (tmp_path / "broken.py").write_text("import no_such_package_at_all\n")
    (tmp_path / "sick.py").write_text("1/0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("my_networks", "broken", "sick"):
        sys.modules.pop(name, None)


def answer(capsys, command):
    code = main(command.split())
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refusal(capsys, command):
    assert main(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.count("\n") == 1
    return captured.err


def test_summary_of_the_zoo(capsys):
    text = answer(capsys, "summary resnet50 --depth 1 --width 100")
    assert "25,557,032" in text
    assert "4,089,184,256" in text
    assert [line.split()[0] for line in text.splitlines()[2:6]] == ["ResNet", "conv1", "bn1", "relu"]
    facts = json.loads(answer(capsys, "summary lenet5 --json"))
    assert (facts["num_params"], facts["macs"]) == (61_706, 416_520)


def test_summary_takes_shapes_and_columns(capsys):
    text = answer(capsys, "summary resnet18 --input 2x1x64x64 --columns output,bytes --depth 0")
    assert "2x1000" in text
    assert "MACs" not in text.splitlines()[0]
    assert "time" in answer(capsys, "summary lenet5 --time").splitlines()[0]


@pytest.mark.parametrize(("name", "params"), [("build", "224"), ("Small", "112"), ("ready", "56")])
def test_own_code(own_code, capsys, name, params):
    text = answer(capsys, f"summary my_networks:{name} --input 1x3x8x8")
    assert f"parameters: {params} " in text


def test_run_folders(tmp_path, capsys):
    assert main(["train", "--model", "perceptron", "--epochs", "1", "--output", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert "7,850" in answer(capsys, f"summary {tmp_path / 'run'}")
    text = answer(capsys, f"explain {tmp_path / 'run'} --layer 1 --at 3")
    assert "aten.addmm" in text
    assert "torch computed" in text


def test_trace_lists_every_operator(capsys):
    text = answer(capsys, "trace lenet5")
    assert len(text.splitlines()) == 13  # a head, 11 operators, the totals
    assert text.splitlines()[2].split() == ["1", "activation", "tanh", "1x6x28x28", "-", "5", "0"]
    facts = json.loads(answer(capsys, "trace lenet5 --json"))
    assert facts["records"][0]["receptive_field"]["axes"][0]["size"] == 5
    assert [-1, facts["records"][0]["index"]] in facts["edges"]
    assert len(facts["edges"]) == len(facts["records"])  # a chain


def test_trace_of_one_layer(capsys):
    assert answer(capsys, "trace resnet18 --layer layer4") == (
        "layer4: 435 pixels along height and width, stride 32, padding 217\n"
    )
    assert json.loads(answer(capsys, "trace resnet18 --layer layer4 --json"))["axes"][1]["stride"] == 32


def test_trace_draws_the_graph(tmp_path, capsys):
    answer(capsys, f"trace lenet5 --output {tmp_path / 'graph.svg'}")
    assert (tmp_path / "graph.svg").read_text().count("conv1") >= 1


def test_explain(tmp_path, capsys):
    text = answer(capsys, "explain random_filters --layer hidden1 --at 1,20,30 --down 1")
    assert text.startswith("hidden1[0, 1, 20, 30] = ")
    assert "a value of the input" in text
    facts = json.loads(answer(capsys, "explain lenet5 --layer conv1 --at 2,10,10 --json"))
    assert len(facts["terms"]) == 26
    assert facts["difference"] < 1e-5
    picture = tmp_path / "value.png"
    answer(
        capsys,
        f"explain resnet18 --input 3x64x64 --layer layer1.0 --at 5,3,4 --down input --output {picture}",
    )
    with Image.open(picture) as image:
        assert image.width > 1000
        assert len(set(image.convert("L").resize((200, 200)).tobytes())) > 50


def test_json_knows_no_nan(own_code, capsys):
    text = answer(capsys, "explain my_networks:NaN --input 1x2x9x9 --layer mul --at 1,3,3 --json")
    facts = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert facts["total"] is None


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_trace_fits_the_terminal(capsys, width):
    lines = answer(capsys, f"trace resnet18 --width {width}").splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.split()[:2] == ["10", "layer1.0.relu#1"] for line in lines)  # whole, to be typed again


def test_explain_own_code_on_random_numbers(own_code, capsys):
    text = answer(capsys, "explain my_networks:build --input 2x3x8x8 --layer 2 --at 7,3,3")
    assert "the largest, at height" in text
    signal = answer(capsys, "explain torch.nn:Identity --input 1x2x9 --layer input --at 1,3")
    assert "a value of the input" in signal


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("summary resnet5", "unknown model 'resnet5': did you mean 'resnet56' or 'resnet50'"),
        ("summary my_networks:bulid --input 1x3x8x8", "did you mean 'build'"),
        ("summary my_networks:number --input 1x3x8x8", "is a int, no module and no callable"),
        ("summary my_networks:wrong --input 1x3x8x8", "returned a int, no torch.nn.Module"),
        ("summary my_networks:breaks --input 1x3x8x8", "raised RuntimeError: no weights"),
        ("summary my_networks:needs --input 1x3x8x8", "it must work without arguments"),
        ("summary my_networks:build", "does not say what it takes; give --input"),
        ("summary my_networks: --input 1x3x8x8", "is no module:callable"),
        ("summary no_such_module:build", "there is no Python module 'no_such_module'"),
        ("summary broken:build", "module 'broken' needs 'no_such_package_at_all'"),
        ("summary sick:build", "cannot be imported: ZeroDivisionError"),
        ("summary lenet5 --input 1x1xa", "--input '1x1xa' is no whole number"),
        ("summary lenet5 --columns output,mac", "unknown column 'mac'"),
        ("summary lenet5 --depth -1", "depth"),
        ("summary my_networks:build --input 1x4x8x8", "It takes (1, 3, 8, 8): 3 channels"),
        ("trace lenet5 --layer conv9", "unknown layer 'conv9': did you mean 'conv2'"),
        (
            "explain lenet5 --layer conv1 --at 9,1,1",
            "is outside 'conv1', whose output has the shape (1, 6, 28, 28)",
        ),
        ("explain lenet5 --layer conv1 --at 1,1,1 --down much", "--down 'much' is no whole number"),
        ("explain lenet5 --layer conv1 --at 1,1,1 --follow 0", "follow is 0"),
        ("explain lenet5 --layer conv1 --at 1,1,1 --output x.jpg", "would hold a PNG picture"),
        ("explain lenet5 --layer conv1 --at 1,1,1 --image nowhere.png", "nowhere.png"),
        ("explain lenet5 --at 1,1,1", "--layer"),
        ("explain lenet5 --layer conv1 --at 1,1,1 --down ²", "--down '²' is no whole number"),
        ("summary my_networks:quits --input 1x3x8x8", "raised SystemExit"),
        ("summary my_networks:build --input 1x3x99999999999999999999x8", "too large for torch"),
        ("summary my_networks:lazy --input 1x3x8x8", "lazy layers"),
    ],
)
def test_refusals(own_code, capsys, command, text):
    assert text in refusal(capsys, command)
