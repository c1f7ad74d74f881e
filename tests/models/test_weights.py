"""Weights from elsewhere: what is read, what is refused, and that a refusal changes nothing."""

import hashlib
import os
import pickle
import struct
import warnings
import zipfile

import pytest
import torch

from convscope.errors import UnknownNameError, UsageError, WeightsError
from convscope.models import (
    HeadReplacedWarning,
    Preprocessing,
    WeightsInfo,
    create_model,
    create_seeded_model,
    list_models,
    list_weights,
    load_weights,
    published_weights,
    read_metadata,
    save_weights,
    weights_info,
)


def named_by_checksum(path, stem="net"):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(path.with_name(f"{stem}-{digest[:8]}{path.suffix}"))


@pytest.fixture
def trained():
    return create_seeded_model("resnet18", 1, num_classes=7).eval()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
def test_torchs_own_files_load_in_both_formats(tmp_path, trained, zipped, wrap):
    path = tmp_path / "net.pth"
    torch.save(wrap(trained.state_dict()), path, _use_new_zipfile_serialization=zipped)
    path = named_by_checksum(path)
    loaded = create_model("resnet18", num_classes=7, weights=path)
    assert all(
        a.equal(b) for a, b in zip(trained.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert weights_info(loaded) == WeightsInfo(str(path))


def test_parallel_prefix_and_uncounted_batches(tmp_path, trained):
    state = {f"_orig_mod.module.{k}": v for k, v in trained.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "net.pt")
    loaded = create_model("resnet18", num_classes=7, weights=str(tmp_path / "net.pt"))
    images = torch.randn(1, 3, 64, 64)
    assert loaded.eval()(images).equal(trained(images))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_another_number_of_classes_swaps_the_head_and_says_so(tmp_path, trained, suffix):
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(trained.state_dict(), path)
    else:
        save_weights(trained, path)
    torch.manual_seed(3)
    fresh = create_model("resnet18", num_classes=4)
    torch.manual_seed(3)
    with pytest.warns(
        HeadReplacedWarning, match=r"knows 7 classes, the network has 4: its head fc starts untrained"
    ):
        loaded = create_model("resnet18", num_classes=4, weights=path)
    assert loaded.fc.weight.equal(fresh.fc.weight)
    assert loaded.layer4[1].conv2.weight.equal(trained.layer4[1].conv2.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_model("resnet18", num_classes=7, weights=path)


def test_everything_that_does_not_match_is_listed_and_nothing_is_loaded(tmp_path):
    network = create_model("resnet18", num_classes=7)
    state = network.state_dict()
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(3)
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    state["bn1.weight"] = torch.zeros(64, dtype=torch.int64)
    state["fc.weight"] = torch.zeros(7, 9)  # not only the number of classes
    torch.save(state, tmp_path / "net.pth")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load_weights(network, tmp_path / "net.pth", head=("fc",))
    text = str(caught.value)
    assert "1 missing (layer1.0.conv1.weight)" in text
    assert "1 unexpected (extra.weight)" in text
    assert (
        "2 of another shape (conv1.weight (64, 1, 7, 7) for (64, 3, 7, 7), fc.weight (7, 9) for (7, 512))"
        in text
    )
    assert "1 of another type (bn1.weight torch.int64 for torch.float32)" in text
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_a_changed_file_is_refused_by_its_name(tmp_path, trained):
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    path = named_by_checksum(tmp_path / "net.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"were changed or damaged: the SHA-256 begins with"):
        load_weights(trained, path)


class Runs:
    """A pickle that creates a folder when it is read."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [lambda evil: evil, lambda evil: {"a.weight": torch.zeros(2), "b": evil}])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, zipped, inside):
    torch.save(inside(Runs(tmp_path / "ran")), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"hold code or objects that are no tensors .*not run"):
        load_weights(create_model("mlp"), tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "net.pth", weights_only=False)  # the witness: it would have run
    assert (tmp_path / "ran").exists()


def test_a_bare_pickle_that_runs_code_is_not_run(tmp_path):
    (tmp_path / "net.pth").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(WeightsError):
        load_weights(create_model("mlp"), tmp_path / "net.pth")
    assert not (tmp_path / "ran").exists()


def rezipped(source, target, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            change(new, entry, old.read(entry))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda z, e, data: z.writestr(e.filename, data, zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (lambda z, e, data: z.writestr(e.filename.replace("net/", "net/../../"), data), "points outside"),
        (lambda z, e, data: z.writestr("/" + e.filename, data), "points outside"),
        (
            lambda z, e, data: z.writestr(e.filename.replace("data.pkl", "other.pkl"), data),
            "no archive of one state",
        ),
        (
            lambda z, e, data: (
                [z.writestr(e.filename.replace("data.pkl", n), data) for n in ("data.pkl", "constants.pkl")]
                if "data.pkl" in e.filename
                else z.writestr(e.filename, data)
            ),
            "TorchScript",
        ),
    ],
)
def test_archives_that_torch_did_not_write(tmp_path, change, text):
    network = create_model("perceptron")
    torch.save(network.state_dict(), tmp_path / "net.pth")
    rezipped(tmp_path / "net.pth", tmp_path / "odd.pth", change)
    with pytest.raises(WeightsError, match=text):
        load_weights(network, tmp_path / "odd.pth")


def test_an_archive_that_claims_more_than_it_has(tmp_path):
    network = create_model("perceptron")
    torch.save(network.state_dict(), tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    place = content.rindex(b"PK\x01\x02")
    (tmp_path / "net.pth").write_bytes(
        content[: place + 20] + struct.pack("<II", 2**31, 2**31) + content[place + 28 :]
    )
    with pytest.raises(WeightsError, match=r"claim more bytes|are damaged"):
        load_weights(network, tmp_path / "net.pth")


@pytest.mark.parametrize("size", [0, 1, 3, 100, 2_000, 20_000])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(tmp_path, size, zipped):
    network = create_model("perceptron")
    torch.save(network.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    (tmp_path / "net.pth").write_bytes((tmp_path / "net.pth").read_bytes()[:size])
    before = network.state_dict()["1.weight"].clone()
    with pytest.raises(WeightsError, match=r"'.*net\.pth' "):
        load_weights(network, tmp_path / "net.pth")
    assert network.state_dict()["1.weight"].equal(before)


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {}, {"a": 1}, {1: torch.zeros(2)}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="hold no state dict"):
        load_weights(create_model("perceptron"), tmp_path / "net.pth")


def test_a_flipped_byte_is_found_though_torch_does_not_look(tmp_path, trained):
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "net.pth").write_bytes(content)
    torch.load(tmp_path / "net.pth", weights_only=True)  # the witness: it says nothing
    with pytest.raises(WeightsError, match=r"are damaged: the checksum of net/data/\d+ is wrong"):
        load_weights(trained, tmp_path / "net.pth")


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.eye(10).to_sparse(),
        lambda: torch.eye(10).to_sparse_csr(),
        lambda: torch.empty(10, device="meta"),
        lambda: torch.zeros(10).to(torch.float8_e4m3fn),
        lambda: torch.zeros(10, dtype=torch.complex64),
    ],
    ids=["sparse", "csr", "meta", "float8", "complex"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_tensors_that_are_no_plain_numbers(tmp_path, odd):
    network = create_model("perceptron")
    torch.save({**network.state_dict(), "1.bias": odd()}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"1\.bias, which is no dense tensor of plain numbers|are damaged"):
        load_weights(network, tmp_path / "net.pth")


def test_what_becomes_infinite_in_the_networks_type_is_refused(tmp_path):
    network = create_model("perceptron")
    state = {key: value.double() for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    load_weights(network, tmp_path / "net.pth")
    state["1.weight"][0, 0] = 1e300
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"hold NaN or infinity in 1\.weight, as torch\.float32"):
        load_weights(network, tmp_path / "net.pth")


@pytest.mark.parametrize("content", [b"<html>no</html>" * 50, b"\x1f\x8b\x08" + b"x" * 500])
def test_other_files_are_damaged_and_not_accused_of_code(tmp_path, content):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="are damaged"):
        load_weights(create_model("perceptron"), tmp_path / "net.pth")


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": "[" * 100_000},
        {"classes": '"abcdefghij"'},
        {"classes": '["a", null]'},
        {"preprocessing": '{"resize": 1e999, "crop": 3}'},
        {"preprocessing": "[1]"},
    ],
)
def test_odd_metadata_is_left_out(tmp_path, metadata):
    save_weights(create_model("perceptron"), tmp_path / "w.safetensors", metadata)
    info = weights_info(create_model("perceptron", weights=tmp_path / "w.safetensors"))
    assert (info.classes, info.preprocessing) == ((), None)


def test_the_number_of_classes_comes_from_the_file_unless_asked(tmp_path, trained):
    save_weights(trained, tmp_path / "w.safetensors")
    assert create_model("resnet18", weights=tmp_path / "w.safetensors").fc.out_features == 7


def test_published_weights_do_not_go_into_another_form():
    with pytest.raises(UsageError, match=r"are for its own stem, not for stem='cifar'"):
        create_model("mobilenet_v2", weights="IMAGENET1K_V1", stem="cifar")


@pytest.mark.parametrize("wrong", [{"depht": 3}, {"num_classes": 0}, {"image_size": 64}])
def test_wrong_arguments_are_refused_before_anything_is_fetched(wrong, monkeypatch):
    fetched = []
    monkeypatch.setattr("convscope.models.registry.fetch_weights", fetched.append)
    with pytest.raises(UsageError):
        create_model("vgg16", weights="default", **wrong)
    assert not fetched


def test_paths(tmp_path, monkeypatch, trained):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_weights(trained, tmp_path / "w.safetensors")
    load_weights(trained, "~/w.safetensors")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UsageError, match="are no regular file"):
        load_weights(trained, tmp_path / "folder.pth")
    with pytest.raises(UsageError, match="cannot be read"):
        load_weights(trained, "x" * 5000 + ".pth")
    with pytest.raises(UsageError, match="weights are a int"):
        load_weights(trained, 5)


def test_nan_is_refused(tmp_path):
    network = create_model("perceptron")
    state = network.state_dict()
    state["1.bias"] = state["1.bias"] * float("nan")
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"hold NaN or infinity in 1\.bias"):
        load_weights(network, tmp_path / "net.pth")


def test_preparation_travels_with_the_weights(tmp_path):
    facts = Preprocessing(40, 32, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    network = create_seeded_model("resnet18", 1, num_classes=2)
    network.weights_info = WeightsInfo("here", ("cat", "dög"), facts)
    save_weights(network, tmp_path / "net.safetensors", {"arch": "resnet18"})
    assert read_metadata(tmp_path / "net.safetensors")["arch"] == "resnet18"
    loaded = create_model("resnet18", num_classes=2, weights=tmp_path / "net.safetensors")
    assert (weights_info(loaded).preprocessing, weights_info(loaded).classes) == (facts, ("cat", "dög"))
    with pytest.warns(HeadReplacedWarning):
        other = create_model("resnet18", num_classes=3, weights=tmp_path / "net.safetensors")
    assert (weights_info(other).preprocessing, weights_info(other).classes) == (facts, ())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: create_model("resnet18", weights="defualt"), UnknownNameError, "weights of 'resnet18'"),
        (lambda: create_model("mlp", weights="default"), UsageError, "no weights are published for 'mlp'"),
        (lambda: published_weights("mlp"), UsageError, "no weights are published for 'mlp'"),
        (
            lambda: published_weights("resnet50", "imagenet1k_v3"),
            UnknownNameError,
            "did you mean 'imagenet1k_v",
        ),
        (lambda: weights_info(create_model("mlp")), UsageError, "not created with weights"),
        (
            lambda: Preprocessing(64, 65, "bilinear", (0.5,), (0.5,)),
            UsageError,
            "crop 65 is larger than resize 64",
        ),
        (lambda: Preprocessing(64, 64, "bilinear", (float("nan"),), (0.5,)), UsageError, "finite entry"),
        (lambda: Preprocessing(0, 224, "bilinear", (0.5,), (0.5,)), UsageError, "resize is 0"),
        (
            lambda: Preprocessing(256, 224, "nearest", (0.5,), (0.5,)),
            UsageError,
            "interpolation is 'nearest'",
        ),
        (lambda: Preprocessing(256, 224, "bilinear", (0.5,), (0.0,)), UsageError, "std above 0"),
    ],
)
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_published_weights_are_of_networks_that_exist():
    known = set(list_models())
    listed = [name for name in known if list_weights(name)]
    assert len(listed) >= 15
    for name in listed:
        for version in list_weights(name):
            entry = published_weights(name, version)
            assert len(entry.sha256_prefix) == 8
            assert len(entry.classes) in (1000, 21, 10)
