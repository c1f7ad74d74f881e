"""Damage is found, named and worked around; what a forger made whole again is refused all the same."""

import hashlib
import json
import random
import shutil
import struct
import time

import pytest
import safetensors.torch
import torch

from convscope.cli.main import main
from convscope.errors import RunError
from convscope.training import Run, Warned, train
from convscope.training import folder as files
from convscope.training.checkpoint import BEST, LATEST, Checkpoints, _text


@pytest.fixture
def tmp_path(memory_folder):
    return memory_folder


WEIGHTS, TRAINING, POSITION = "weights.safetensors", "training.safetensors", "position.json"


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A finished run of three epochs with momentum, an average, and a checkpoint each other step."""
    from convscope.training import Recipe

    torch.set_num_threads(1)
    recipe = Recipe(
        model="lenet5", epochs=3, batch_size=8, lr=0.01, optimizer="sgd", average="ema", checkpoint_every=2
    )
    return train(recipe, data=folder, output=tmp_path_factory.mktemp("whole") / "run").path


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "run")


def newest(run):
    return run / "checkpoints" / (run / LATEST).read_text().strip()


def came_to(run):
    place = newest(run)
    paths = [place / WEIGHTS, place / TRAINING, run / files.METRICS, run / LATEST, run / BEST]
    return [path.read_bytes() for path in paths]


def resumed(run):
    """Resume a run and return the warnings."""
    warnings = []
    finished = train(
        output=run,
        resume=True,
        listener=lambda event: warnings.append(event.message) if isinstance(event, Warned) else None,
    )
    assert finished.status == "finished"
    return warnings


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, POSITION])
def test_every_cut_and_every_flipped_bit_is_found(run, name):
    """64 offsets and 256 bits over the files of the newest checkpoint, a third each, and the last are resumed."""
    checkpoints, place = Checkpoints(run), newest(run)
    content, draw = (place / name).read_bytes(), random.Random(name)
    cuts = [content[: draw.randrange(len(content))] for _ in range(22)]
    flips = []
    for _ in range(86):
        bit = draw.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(flipped))
    for damaged in (*cuts, *flips):
        (place / name).write_bytes(damaged)
        warnings = []
        assert checkpoints.latest(warnings.append).path < place
        assert len(warnings) == 1
        assert repr(str(place / name)) in warnings[0]


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, POSITION])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "a folder"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(whole, run, name, how):
    path = newest(run) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "gone":
        path.write_bytes(content[:100] if how == "cut" else content)
    (warning,) = resumed(run)
    assert warning.startswith(f"train: {str(path)!r} cannot be used: ")
    assert warning.endswith("The run goes on from step-000014.")
    assert came_to(run) == came_to(whole)


@pytest.mark.parametrize(
    "content", [None, b"", b"step-000014\n", b"step-999999\n", b"../../etc\n", b"\xff" * 1000]
)
def test_garbled_pointers_are_mended(whole, run, content):
    """LATEST and BEST are only pointers: the newest checkpoint knows which is the best."""
    best = Run.open(run).weights("best").read_bytes()
    for name in (LATEST, BEST):
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
    if content not in (b"step-000014\n", b"step-999999\n"):
        assert Run.open(run).weights("best").read_bytes() == best
    assert resumed(run) == []
    assert came_to(run) == came_to(whole)
    assert Run.open(run).weights("best").read_bytes() == best


def test_the_best_checkpoint_is_not_pruned_when_its_pointer_is_lost(run, whole):
    position = Checkpoints(run).latest().position
    shutil.rmtree(newest(run))
    (run / BEST).unlink()
    resumed(run)
    assert Checkpoints(run).best().position.epoch * 5 == position.best_step


@pytest.mark.parametrize(
    "lost", ["an epoch", "its last line", "part of its last line", "a byte in the middle"]
)
def test_lost_metrics_are_written_again_from_an_earlier_checkpoint(whole, run, lost):
    path = run / files.METRICS
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    path.write_bytes(
        {
            "an epoch": b"".join(lines[:-4]),
            "its last line": b"".join(lines[:-1]),
            "part of its last line": content[:-9],
            "a byte in the middle": b"".join([*lines[:-2], b"\0", lines[-2][1:], lines[-1]]),
        }[lost]
    )
    warnings = resumed(run)
    assert repr(str(path)) in warnings[0]
    assert "whole bytes of the" in warnings[0]
    assert came_to(run) == came_to(whole)


def test_metrics_that_are_gone_do_not_cost_the_weights(whole, run):
    (run / files.METRICS).unlink()
    shutil.rmtree(newest(run))
    warnings = resumed(run)
    assert "figures of steps before step-000014 are lost" in warnings[0]
    assert came_to(run)[:2] == came_to(whole)[:2]
    assert [row["step"] for row in Run.open(run).steps] == [15]
    assert b"\0" not in (run / files.METRICS).read_bytes()


def test_lost_times_cost_nothing(whole, run):
    (run / files.TIMES).write_bytes(b'{"torn')
    assert resumed(run) == []
    assert came_to(run) == came_to(whole)
    Run.open(run)


def test_the_only_checkpoint_damaged(run):
    for place in (run / "checkpoints").iterdir():
        (place / WEIGHTS).write_bytes(b"")
    before = (run / files.METRICS).read_bytes()
    with pytest.raises(
        RunError, match=r"weights.safetensors' cannot be used: .* There is no other checkpoint"
    ):
        train(output=run, resume=True)
    assert (run / files.METRICS).read_bytes() == before


# What somebody made who can compute checksums too ----------------------------------------------------------


def forge(run, name=None, content=None, change=None):
    """Put content into the newest checkpoint, the only one then, with checksums that are right."""
    place = newest(run)
    for other in (run / "checkpoints").iterdir():
        if other != place:
            shutil.rmtree(other)
    if name is not None:
        (place / name).write_bytes(content)
    facts = json.loads((place / POSITION).read_text())
    del facts["own_sha256"]
    facts["sha256"] = {
        each: hashlib.sha256((place / each).read_bytes()).hexdigest() for each in (WEIGHTS, TRAINING)
    }
    if change is not None:
        change(facts)
    (place / POSITION).write_bytes(_text(facts))


def is_refused(run, words):
    began = time.process_time()
    with pytest.raises(RunError, match=words) as caught:
        train(output=run, resume=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return time.process_time() - began


def with_header(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(shape=(1,), first=0, last=4, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}


HEADERS = {
    "a size beyond the file": (struct.pack("<Q", 2**40) + b"{}", "claims 1,099,511,627,776 bytes"),
    "a header of 100 MB": (with_header(b'{"a":' + b" " * 100_000_000 + b"1}"), "claims 100,000,007 bytes"),
    "an empty file": (b"", "no safetensors header"),
    "no JSON": (with_header(b"[" * 50), "cannot be used|are damaged"),
    "a list": (with_header([]), "header is no object"),
    "depth 10,000": (
        with_header(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
        "nested too deep|no dtype",
    ),
    "an entry twice": (
        with_header(
            b'{"a":%s,"a":%s}' % (json.dumps(entry()).encode(), json.dumps(entry((2, 2))).encode()), b"1234"
        ),
        "names an entry twice",
    ),
    "a million tensors": (
        with_header(b"{" + b",".join(b'"%d":1' % each for each in range(1_000_000)) + b"}"),
        "more entries than 20,000 tensors need",
    ),
    "an unknown type": (
        with_header({"a": entry(dtype="F8_E4M3", last=1)}, b"1"),
        "no dense tensor of plain numbers",
    ),
    "a negative size": (with_header({"a": entry((-1,))}, b"1234"), "no sizes as shape"),
    "a size that overflows": (with_header({"a": entry((2**62, 4))}, b"1234"), "no sizes as shape"),
    "a truth as size": (with_header({"a": entry((True,))}, b"1234"), "no sizes as shape"),
    "another length": (with_header({"a": entry((2,))}, b"1234"), "place of another length"),
    "a hole": (with_header({"a": entry(first=4, last=8)}, b"12345678"), "overlap or leave holes"),
    "an overlap": (with_header({"a": entry(), "b": entry()}, b"1234"), "overlap or leave holes"),
    "a tail": (with_header({"a": entry()}, b"12345"), "describes 4 bytes of numbers, it has 5"),
    "a field too many": (
        with_header({"a": {**entry(), "b": 1}}, b"1234"),
        "no dtype, shape and data_offsets",
    ),
    "metadata that are no texts": (with_header({"__metadata__": {"a": 1}}), "metadata are no texts"),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "claims"),
}


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING])
@pytest.mark.parametrize("kind", HEADERS)
def test_forged_headers_are_refused(run, name, kind):
    content, words = HEADERS[kind]
    forge(run, name, content)
    before = (run / files.METRICS).read_bytes()
    assert is_refused(run, words) < 5  # of the processor, with starting; seconds would be a bomb
    assert (run / files.METRICS).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            WEIGHTS,
            lambda state: state.update({"conv1.weight": state["conv1.weight"][:1]}),
            "belongs to another rec",
        ),
        (WEIGHTS, lambda state: state.pop("conv1.weight"), "belongs to another recipe: .*1 missing"),
        (WEIGHTS, lambda state: state.update({"conv1.bias": state["conv1.bias"].long()}), "of another type"),
        (WEIGHTS, lambda state: state["conv1.bias"].fill_(torch.nan), "NaN or infinity in conv1.bias"),
        (TRAINING, lambda state: state["network.conv1.bias"].fill_(torch.inf), "NaN or infinity"),
        (
            TRAINING,
            lambda state: state.pop("network.conv1.bias"),
            "tensors of training are of another network",
        ),
        (
            TRAINING,
            lambda state: state.update({"network.conv1.bias": state["network.conv1.bias"].double()}),
            "tensors of training are of another network",
        ),
        (TRAINING, lambda state: state.update({"other.a": torch.zeros(1)}), "of another network"),
        (
            TRAINING,
            lambda state: state.update({"optimizer.0.0.momentum_buffer": torch.zeros(1)}),
            r"momentum_buffer has the shape \(1,\)",
        ),
        (
            TRAINING,
            lambda state: state.update({"optimizer.0.99.momentum_buffer": torch.zeros(1)}),
            "other parameters",
        ),
        (
            TRAINING,
            lambda state: state.update({"optimizer.-1.0.momentum_buffer": torch.zeros(1)}),
            "other parameters",
        ),
        (TRAINING, lambda state: state.update({"optimizer.x": torch.zeros(1)}), "other parameters"),
        (
            TRAINING,
            lambda state: state.update({"average.conv1.bias": torch.zeros(1)}),
            "averaged weights are of",
        ),
    ],
)
def test_forged_tensors_are_refused(run, name, change, words):
    path = newest(run) / name
    state = safetensors.torch.load(path.read_bytes())
    change(state)
    forge(run, name, safetensors.torch.save(state))
    is_refused(run, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["position"].update(epoch=True), "epoch is True"),
        (lambda facts: facts["position"].update(epoch=-1), "below 0"),
        (lambda facts: facts["position"].update(epoch=99), "stands at step 0 of epoch 100"),
        (lambda facts: facts["position"].update(step=5, epoch=0), "stands at step 5 of epoch 1"),
        (lambda facts: facts["position"].update(step=2**60), "step is 1152921504606846976"),
        (lambda facts: facts["position"].update(lr_scale=float("inf")), "lr_scale is inf"),
        (lambda facts: facts["position"].update(lr_scale=1e9), "rate's scale"),
        (lambda facts: facts["position"].update(loss_sum="x" * 10_000), "loss_sum is x"),
        (lambda facts: facts["position"].update(sizes={files.METRICS: -5}), "metrics.jsonl is -5"),
        (lambda facts: facts["position"].update(sizes=[]), "sizes are no table"),
        (lambda facts: facts["position"].update(more=1), "other fields"),
        (lambda facts: facts.update(position=[]), "other fields"),
        (lambda facts: facts.update(sha256={"/dev/zero": "0"}), "names other files"),
        (lambda facts: facts.update(sha256=[]), "cannot be used"),
        (
            lambda facts: facts.update(version=2),
            "is of version 2, this program reads version 1; use the program that",
        ),
        (lambda facts: facts.update(padding="x" * 2_000_000), "more than 1,000,000 bytes"),
    ],
)
def test_forged_positions_are_refused(run, change, words):
    forge(run, change=change)
    is_refused(run, words)


def test_a_newer_checkpoint_is_no_damage_to_work_around(run):
    """An earlier one of this program's version is there; going on from it would remove the newer."""
    place = newest(run)
    facts = json.loads((place / POSITION).read_text())
    del facts["own_sha256"]
    (place / POSITION).write_bytes(_text({**facts, "version": 2}))
    is_refused(run, "use the program that wrote the run")
    assert place.is_dir()


# Run folders of another version, model or data set ---------------------------------------------------------


def content_of(run):
    return {
        path.relative_to(run): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in (files.LOCK,)
    }


def state_of(run):
    return json.loads((run / files.STATE).read_text())


def other_state(run, **changes):
    (run / files.STATE).write_text(json.dumps({**state_of(run), **changes}))


def other_recipe(run, old, new):
    path = run / files.RECIPE
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: other_state(run, version=2), "is of version 2, this program reads version 1"),
        (
            lambda run: other_recipe(run, "version = 1", "version = 2"),
            "the recipe is of version 2, this program reads",
        ),
        (lambda run: other_recipe(run, "version = 1", ""), "does not say its version"),
        (lambda run: other_recipe(run, '"lenet5"', '"perceptron"'), "belongs to another recipe"),
        (lambda run: other_recipe(run, '"sgd"', '"adamw"'), "belongs to another recipe"),
        (lambda run: other_recipe(run, '"ema"', '"none"'), "belongs to another recipe"),
        (lambda run: other_recipe(run, "epochs = 3", "epochs = 2"), "belongs to another recipe"),
        (
            lambda run: other_state(run, data={**state_of(run)["data"], "classes": ["cat", "dog"]}),
            "was trained on other images than",
        ),
        (lambda run: (run / files.STATE).write_text("[" * 100_000), "cannot be read"),
        (lambda run: (run / files.STATE).unlink(), "is no run folder: it has no state.json"),
    ],
)
def test_a_run_that_cannot_be_gone_on_with_is_left_as_it_is(capsys, run, change, words):
    change(run)
    before = content_of(run)
    assert main(["train", "--resume", str(run)]) in (1, 2)
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert content_of(run) == before


def test_a_data_set_whose_classes_changed(capsys, folder, quick, tmp_path):
    data = shutil.copytree(folder, tmp_path / "data")
    run = train(quick, data=data, output=tmp_path / "run", epochs=1).path
    for split in ("train", "test"):
        (data / split / "bag").rename(data / split / "sack")
    before = content_of(run)
    assert main(["train", "--resume", str(run)]) == 1
    said = capsys.readouterr().err
    assert "was trained on other images than" in said
    assert len(said.splitlines()) == 1
    assert content_of(run) == before
