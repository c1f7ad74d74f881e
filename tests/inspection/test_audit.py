"""Every kind of finding: a network that raises it, with place and numbers, and a similar one that does not."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from audited_networks import CASES, Calls, filled, fixed_blur
from torch import nn

from convscope.errors import UsageError
from convscope.inspection import audit
from convscope.inspection.audit.checks import CHECKS
from convscope.models import create_model
from convscope.trace import trace


def of_trace(name):
    """Return a module of the trace's tests: its networks, its check of what must stay as it is."""
    path = Path(__file__).parents[1] / "trace" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"trace_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NETWORKS = of_trace("networks")


KINDS = {kind for group, _ in CHECKS for kind in group} | {"input-refused"}
IDS = [f"{case.kind}-{place}" for place, case in enumerate(CASES)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_network_that_raises_it(case):
    torch.manual_seed(0)
    found = audit(case.network(), case.input, **case.options)
    first = found.of_kind(case.kind)[0]
    assert (first.severity, first.place) == (case.severity, case.place)
    assert {name: first.numbers[name] for name in case.numbers} == pytest.approx(case.numbers)
    assert first.fact
    assert first.reason.endswith(".")
    assert first.remedy.endswith(".")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_similar_network_that_does_not(case):
    torch.manual_seed(0)
    network = (case.fine or case.network)()
    found = audit(network, case.input if case.fine_input is None else case.fine_input, **case.fine_options)
    assert found.of_kind(case.kind) == []
    assert case.kind in found.checked


def test_every_kind_is_in_the_table():
    assert {case.kind for case in CASES} == KINDS
    assert len(KINDS) >= 16


def test_padded_channels_follow_the_lanes():
    (first,) = audit(
        nn.Sequential(nn.Conv2d(64, 66, 3), nn.Conv2d(66, 10, 3)), (1, 64, 56, 56), gradients=False
    ).of_kind("odd-channels")
    numbers = first.numbers
    assert numbers["padded_channels"] % numbers["lanes"] == 0
    assert 0 < numbers["padded_channels"] - 66 < numbers["lanes"]
    assert numbers["wasted_macs"] == 54 * 54 * 64 * 9 * (numbers["padded_channels"] - 66)


def test_a_sharpening_kernel_is_no_low_pass():
    found = audit(nn.Sequential(fixed_blur([[2.0, -1.0], [-1.0, 1.0]]), nn.MaxPool2d(2)), (1, 3, 9, 9))
    assert [finding.place for finding in found.of_kind("aliasing")] == ["0.conv", "1"]
    blurred = Calls(lambda m, x: F.max_pool2d(F.conv2d(x, m.taps, groups=3), 2))
    blurred.register_buffer("taps", torch.full((3, 1, 2, 2), 0.25))
    assert audit(blurred, (1, 3, 9, 9)).of_kind("aliasing") == []
    blurred.taps.neg_()
    assert len(audit(blurred, (1, 3, 9, 9)).of_kind("aliasing")) == 1


def test_what_cuts_a_gradient_and_what_makes_it_zero_is_named():
    cut = Calls(lambda m, x: m.b(m.a(x).detach()), a=nn.Linear(6, 4), b=nn.Linear(4, 2))
    assert audit(cut, (2, 6)).of_kind("no-gradient")[0].fact.endswith("cut off by detach")
    zero = audit(nn.Sequential(nn.Linear(6, 4), filled(nn.Linear(4, 2), 0)), (2, 6)).of_kind("zero-gradient")
    assert [finding.place for finding in zero] == ["0.weight", "0.bias"]
    assert zero[0].fact.endswith("behind it are zeros: 1.weight")


def test_a_map_that_a_branch_reads_as_well():
    block = Calls(
        lambda m, x: m.main(x) + m.short(x), main=nn.Conv2d(3, 4, 3, 2, 1), short=nn.Conv2d(3, 4, 1, 2)
    )
    (first,) = audit(nn.Sequential(nn.Conv2d(3, 3, 1), block), (1, 3, 8, 8)).of_kind("dropped-pixels")
    assert first.numbers["other_readers"] == 1
    assert first.fact.endswith("1.main reads it too")


@pytest.mark.parametrize(
    ("name", "warnings", "notes"),
    [
        ("resnet18", {"dropped-pixels": 3}, {"aliasing": 5}),
        ("resnet50", {"dropped-pixels": 3}, {"aliasing": 5}),
        ("efficientnet_b0", {}, {"aliasing": 5, "slow-operator": 16}),
    ],
)
def test_known_networks_get_short_reports(name, warnings, notes):
    with torch.device("meta"):  # no need of weights
        network = create_model(name).eval()
    found = audit(network, (1, 3, 224, 224))
    counts = {
        severity: {f.kind: len(found.of_kind(f.kind)) for f in found.of(severity)}
        for severity in ("error", "warning", "note")
    }
    assert counts == {"error": {}, "warning": warnings, "note": notes}
    assert len(str(found).splitlines()) < 40
    assert found.skipped["no-gradient"] == "the parameters have no values"


def test_imagenet_networks_on_tiny_pictures():
    found = audit(create_model("resnet18"), (2, 3, 32, 32))
    shrunk = [finding.place for finding in found.of_kind("input-too-small")]
    assert shrunk == ["layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]
    assert not found.of("error")
    assert "no-gradient" in found.checked


@pytest.mark.parametrize("name", NETWORKS.CASES)
@pytest.mark.parametrize("real", [False, True], ids=["shape", "values"])
def test_every_network_of_the_trace(name, real):
    network, shape = NETWORKS.made(name)
    found = audit(network, NETWORKS.filled(shape) if real else shape, object_size=9, memory_limit=10)
    assert found.of("error")[0].kind == "memory-peak"
    assert {finding.kind for finding in found.findings} <= set(found.checked)
    assert set(found.checked) | set(found.skipped) == KINDS
    assert not set(found.checked) & set(found.skipped)
    assert json.loads(json.dumps(found.to_dict()))["findings"][0]["kind"] == "memory-peak"
    assert not {"no-gradient", "zero-gradient"} & {finding.kind for finding in found.findings}


@pytest.mark.parametrize("fails", [False, True], ids=["runs", "raises"])
@pytest.mark.parametrize("real", [False, True], ids=["shape", "values"])
@pytest.mark.parametrize("mode", ["same", "train", "eval"])
def test_everything_is_as_before(fails, real, mode):
    state = of_trace("test_state")
    torch.manual_seed(0)
    network = state.Busy(fails)
    network.conv.eval()
    network.conv.weight.grad = torch.ones_like(network.conv.weight)
    given = torch.randn(2, 3, 8, 8)
    kept = given.clone()
    before = state.state_of(network)
    found = audit(network, given if real else (2, 3, 8, 8), mode=mode)
    assert bool(found.of("error")) == fails
    assert ("no-gradient" in found.checked) != fails
    state.assert_same(before, state.state_of(network))
    assert torch.equal(given, kept)


def test_inside_no_grad_and_inference_mode():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        assert "no-gradient" in audit(network, (1, 3, 8, 8)).checked
    with torch.inference_mode():
        assert "no-gradient" in audit(network, (1, 3, 8, 8)).checked
        assert audit(network, (1, 3, 8, 8)).of_kind("no-gradient") == []


def test_the_text_folds_repeats():
    layers = [layer for _ in range(6) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))]
    found = audit(nn.Sequential(*layers), (2, 4, 15, 15), memory_limit=1)
    assert len(found.of_kind("bias-before-norm")) == 6
    lines = str(found).splitlines()
    assert lines[0] == "Sequential on 2x4x15x15: 1 error, 1 note"
    assert "note: bias-before-norm at 6 places" in lines
    assert "  0: 4 parameters, 0.bias, subtracted again by 1" in lines
    assert "  and 3 more" in lines
    assert lines[2] == "error: memory-peak"
    assert sum(line.startswith("  Why: Batch norm") for line in lines) == 1
    assert max(map(len, lines)) <= 100


def test_nothing_found():
    found = audit(nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()), (1, 3, 9, 9))
    assert found.findings == ()
    assert str(found).startswith("Sequential on 1x3x9x9: nothing found\n")
    assert found.skipped["memory-peak"] == "needs a memory_limit"
    assert found.skipped["dead-units"].startswith("needs values")


def test_a_refused_input_is_told():
    found = audit(nn.Sequential(nn.Conv2d(3, 4, 7), nn.Conv2d(4, 4, 7)), (1, 3, 10, 10))
    assert found.trace is None
    text = " ".join(str(found).split())
    assert (
        "error: input-too-small 1: operator aten.convolution in 1 (Conv2d) cannot take (1, 4, 4, 4)" in text
    )
    assert "Remedy: The nearest input sizes that fit: (1, 3, 13, 13)." in text
    assert text.endswith("Nothing else was looked for: the network did not run.")


def test_of_a_trace():
    network = nn.Sequential(nn.Conv2d(3, 8, 1, 2))
    found = trace(network, (1, 3, 8, 8))
    assert audit(network, found).trace is found
    with pytest.raises(UsageError, match="audit: the trace is of another network"):
        audit(nn.ReLU(), found)
    with pytest.raises(UsageError, match="audit: the trace was made in mode 'same'"):
        audit(network, found, mode="train")


@pytest.mark.parametrize(
    ("network", "given", "options", "text"),
    [
        ("resnet18", (1, 3, 8, 8), {}, "audit: got a str; give a torch.nn.Module"),
        (nn.ReLU(), "big", {}, "audit: the input holds no tensor"),
        (nn.ReLU(), (1, -3), {}, "audit: input shape .* negative"),
        (nn.ReLU(), (1, 3), {"object_size": 0}, "audit: object_size is 0; it must be at least 1"),
        (nn.ReLU(), (1, 3), {"memory_limit": 1.5}, "audit: memory_limit"),
        (nn.ReLU(), (1, 3), {"values": True}, "audit: values were asked for and the input is a shape"),
        (nn.ReLU(), (1, 3), {"mode": "test"}, "audit: unknown mode 'test'"),
    ],
)
def test_wrong_calls(network, given, options, text):
    with pytest.raises(UsageError, match=text):
        audit(network, given, **options)


def test_large_passes_back_are_left_out_unless_asked_for():
    network = nn.Sequential(nn.Conv2d(256, 256, 5, padding=2))
    found = audit(network, (1, 256, 96, 96))
    assert found.skipped["no-gradient"].startswith("a pass back would cost 45 GMACs")
    assert "no-gradient" in audit(network, (1, 256, 8, 8)).checked
    assert (
        audit(network, (1, 256, 8, 8), gradients=False).skipped["no-gradient"]
        == "gradients were not asked for"
    )
