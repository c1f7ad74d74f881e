"""Foreign files: whatever a pickle or an archive holds, nothing in it runs and nothing of it is loaded."""

import builtins
import collections
import importlib
import io
import os
import pickle
import runpy
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from convscope.errors import ConvscopeError
from convscope.models import create_model, load_weights
from convscope.training import Recipe, train


class Calls:
    """A pickle that calls a function of the standard library, or of torch or numpy, when it is read."""

    def __init__(self, function, *given, state=None):
        self.parts = (function, given) if state is None else (function, given, state)

    def __reduce__(self):
        return self.parts


class Layer(nn.Module):
    """A whole network, as people save it who do not know better."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, images):
        return self.fc(images)


def pickled(payload):
    return lambda canary: pickle.dumps(payload(canary))


def saved(content, **named):
    def write(canary):
        file = io.BytesIO()
        torch.save(content(canary), file, **named)
        return file.getvalue()

    return write


def archive(entries, compression=zipfile.ZIP_STORED):
    def write(canary):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as target:
            for name, content in entries(canary):
                target.writestr(name, content)
        return file.getvalue()

    return write


def tarred(canary):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as target:
        for name in ("pickle", "tensors", "../escaped"):
            content = pickle.dumps(Calls(os.mkdir, canary))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def scripted(canary):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Layer()), file)
    return file.getvalue()


def objects(canary):
    file = io.BytesIO()
    np.save(file, np.array([Calls(os.mkdir, canary)], dtype=object), allow_pickle=True)
    return file.getvalue()


def setting(canary):
    """BUILD with a state: sets attributes of what an allowed class made."""
    return pickle.dumps(Calls(collections.OrderedDict, state={"hook": Calls(os.mkdir, canary)}))


HOSTILE = {
    "os.mkdir": pickled(lambda canary: Calls(os.mkdir, canary)),
    "os.system": pickled(lambda canary: Calls(os.system, f"mkdir {canary}")),
    "builtins.eval": pickled(lambda canary: Calls(builtins.eval, f"__import__('os').mkdir({canary!r})")),
    "builtins.exec": pickled(lambda canary: Calls(builtins.exec, f"import os; os.mkdir({canary!r})")),
    "builtins.open": pickled(lambda canary: Calls(builtins.open, canary, "w")),
    "subprocess": pickled(lambda canary: Calls(subprocess.call, ["mkdir", canary])),
    "runpy": pickled(lambda canary: Calls(runpy.run_path, canary)),
    "getattr": pickled(lambda canary: Calls(getattr, Calls(importlib.import_module, "os"), "mkdir")),
    "numpy.fromfile": pickled(lambda canary: Calls(np.fromfile, "/dev/zero", "u1", 10)),
    "torch.load within": pickled(lambda canary: Calls(torch.load, canary)),
    "torch.hub": pickled(lambda canary: Calls(torch.hub.load, canary, "net")),
    "protocol 0": lambda canary: b"cos\nmkdir\n(V%s\ntR." % canary.encode(),
    "the INST operation": lambda canary: b"(V%s\nios\nmkdir\n." % canary.encode(),
    "in a state dict": saved(lambda canary: {"a.weight": torch.zeros(2), "b": Calls(os.mkdir, canary)}),
    "in a key": saved(lambda canary: {("a", Calls(os.mkdir, canary)): torch.zeros(2)}),
    "in an attribute": setting,
    "legacy format": saved(lambda canary: Calls(os.mkdir, canary), _use_new_zipfile_serialization=False),
    "legacy tar": tarred,
    "a whole network": saved(lambda canary: Layer()),
    "a numpy array": saved(lambda canary: {"a": np.array([Calls(os.mkdir, canary)], dtype=object)}),
    "numpy's own file": objects,
    "TorchScript": scripted,
    "an archive within": archive(lambda canary: [("net/data.pkl", archive(lambda c: [("x", b"")])(canary))]),
    "a compressed pickle": archive(
        lambda canary: [("net/data.pkl", pickle.dumps(Calls(os.mkdir, canary)))], zipfile.ZIP_DEFLATED
    ),
    "names that leave": archive(lambda canary: [("net/data.pkl", b"\x80\x02}."), (f"net/../..{canary}", b"x")]),
    "an absolute name": archive(lambda canary: [("net/data.pkl", b"\x80\x02}."), (canary, b"x")]),
    "two pickles": archive(
        lambda canary: [("net/data.pkl", b"\x80\x02}."), ("other/data.pkl", pickle.dumps(Calls(os.mkdir, canary)))]
    ),
    "a bomb": archive(lambda canary: [("net/data.pkl", bytes(50_000_000))], zipfile.ZIP_DEFLATED),
    "a deep pickle": lambda canary: b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "a pickle that never ends": lambda canary: b"\x80\x02" + b"}" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nothing_runs_and_nothing_is_loaded(tmp_path, kind, suffix):
    canary, path = tmp_path / "ran", tmp_path / f"net{suffix}"
    path.write_bytes(HOSTILE[kind](str(canary)))
    network = create_model("perceptron")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ConvscopeError) as caught:
        load_weights(network, path)
    said = str(caught.value)
    assert "net" in said
    assert "\n" not in said
    assert len(said) < 1_000
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("kind", ["os.mkdir", "builtins.exec", "protocol 0", "legacy format"])
def test_the_witness_would_have_run(tmp_path, kind):
    """Python's own reader does what these files say; so the canary above can sing."""
    canary = tmp_path / "ran"
    (tmp_path / "net.pth").write_bytes(HOSTILE[kind](str(canary)))
    if kind == "legacy format":
        torch.load(tmp_path / "net.pth", weights_only=False)
    else:
        pickle.loads((tmp_path / "net.pth").read_bytes())
    assert canary.exists()


@pytest.mark.parametrize("kind", ["os.system", "in a state dict", "TorchScript", "names that leave"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_nor_when_a_recipe_names_them(tmp_path, kind):
    canary, path = tmp_path / "ran", tmp_path / "net.pth"
    path.write_bytes(HOSTILE[kind](str(canary)))
    with pytest.raises(ConvscopeError):
        train(Recipe(model="perceptron", weights=str(path), epochs=1), output=tmp_path / "run")
    with pytest.raises(ConvscopeError):
        create_model("perceptron", weights=path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
