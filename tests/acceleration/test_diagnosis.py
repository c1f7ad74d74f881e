"""What `diagnose`, `compare` and the reading of oneDNN's log say: numbers that add up, and no traces left behind."""

import copy
import ctypes
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from convscope import acceleration, kernels
from convscope.acceleration import (
    Limits,
    OneDnnCall,
    TunedRoute,
    Variant,
    compare,
    diagnose,
    onednn_calls,
    onednn_log,
    random_images,
)
from convscope.acceleration.comparison import Contest
from convscope.acceleration.diagnosis import size_bytes
from convscope.acceleration.machine import Machine, describe_machine
from convscope.acceleration.onednn import slow_calls
from convscope.acceleration.steps import loss_of
from convscope.errors import UsageError
from convscope.kernels.cases import Case
from convscope.kernels.routes import forget
from convscope.kernels.tuned import tuned
from convscope.report.bench_text import bench_text
from convscope.report.doctor_text import case_label, doctor_text

LIMITS = Limits(fp32_flops=50e9, bf16_flops=100e9, bytes_per_second=5e9, threads=1)
IMAGES = random_images((2, 3, 16, 16))


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8 * 16 * 16, 5),
    )


# Of oneDNN 3.12, as it prints them; the last four are not counted: another primitive, a template, a cut line, noise.
LOG = """\
onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:1
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,forward_training,src:f32:a:blocked:abcd::f0 wei:f32:a:blocked:Acdb8a::f0 bia:f32:a:blocked:a::f0 dst:f32:a:blocked:aBcd8b::f0,attr-scratchpad:user,alg:convolution_direct,mb2_ic3oc8_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1,0.0180664
onednn_verbose,v1,primitive,exec,cpu,convolution,x64:gemm:jit,backward_weights,src:f32:a:blocked:abcd::f0 wei:f32:a:blocked:abcde::f0 bia:undef::undef::: dst:f32:a:blocked:abcd::f0,attr-scratchpad:user,alg:convolution_direct,g8mb2_ic8oc8_ih16oh16kh5sh1dh0ph2_iw16ow16kw5sw1dw0pw2,1.5
onednn_verbose,v1,primitive,exec,cpu,convolution,x64:gemm:jit,backward_weights,src:f32:a:blocked:abcd::f0 wei:f32:a:blocked:abcde::f0 bia:undef::undef::: dst:f32:a:blocked:abcd::f0,attr-scratchpad:user,alg:convolution_direct,g8mb2_ic8oc8_ih16oh16kh5sh1dh0ph2_iw16ow16kw5sw1dw0pw2,2.5
onednn_verbose,v1,1723.5,primitive,exec,cpu,convolution,ref:any,backward_data,src:f16:a:blocked:abcd::f0 wei:f16:a:blocked:abcd::f0 bia:undef::undef::: dst:f16:a:blocked:abcd::f0,attr-scratchpad:user,alg:convolution_direct,mb1_ic4oc4_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,30
onednn_verbose,v1,primitive,exec,cpu,convolution,brgconv:avx512_core_bf16,forward_inference,src:bf16:a:blocked:acdb::f0 wei:bf16:a:blocked:Acdb16a2b::f0 bia:undef::undef::: dst:bf16:a:blocked:acdb::f0,attr-scratchpad:user,alg:convolution_direct,mb2_ic16oc16_ih8oh8kh3sh1dh0ph1_iw8ow8kw3sw1dw0pw1,0.5
onednn_verbose,v1,primitive,exec,cpu,reorder,ref:any,undef,src:f32:a:blocked:abcd::f0 dst:f32:a:blocked:aBcd8b::f0,attr-scratchpad:user,,2x3x16x16,0.00512695
onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation,prop_kind,memory_descriptors,attributes,auxiliary,problem_desc,exec_time
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx2,forward_training,src:f32
a line of somebody else, with convolution,exec,in it
"""  # noqa: E501


def test_the_log_is_read():
    calls = onednn_calls(LOG)
    assert [(c.implementation, c.passing, c.dtype, c.count) for c in calls] == [
        ("ref:any", "backward_input", "f16", 1),
        ("x64:gemm:jit", "backward_weight", "f32", 2),
        ("brgconv:avx512_core_bf16", "forward", "bf16", 1),
        ("jit:avx2", "forward", "f32", 1),
    ]
    assert calls[1].seconds == pytest.approx(4e-3)
    assert calls[1].shape == "g8mb2_ic8oc8_ih16oh16kh5sh1dh0ph2_iw16ow16kw5sw1dw0pw2"
    assert [c.implementation for c in slow_calls(calls)] == ["ref:any", "x64:gemm:jit"]


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("ref:any", True),
        ("gemm:jit", True),
        ("x64:gemm_s8u8s32:jit", True),
        ("brgemm:avx2", False),
        ("jit:avx2", False),
    ],
)
def test_slow_implementations(name, slow):
    assert OneDnnCall(name, "forward", "f32", "mb1", 1, 0.1).slow is slow


def put(text):
    """Print from C, as oneDNN does."""
    library = ctypes.CDLL(None)
    library.puts(text.encode())
    library.fflush(None)


def test_a_log_of_a_convolution_is_caught(capfd):
    layer = nn.Conv2d(16, 16, 3, padding=1)
    with onednn_log() as calls, torch.no_grad():
        layer(torch.zeros(2, 16, 8, 8))
    layer(torch.zeros(2, 16, 8, 8))
    put("after")
    if torch.backends.mkldnn.is_available():
        assert [(call.passing, call.count) for call in calls] == [("forward", 1)]
    assert capfd.readouterr().out == "after\n"  # and the log is off again


def test_standard_output_is_back_after_an_error(capfd):
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ZeroDivisionError), onednn_log():
        put(f"into the log {1 / 0 if open_before else ''}")
    put("after")
    print("and Python")
    assert len(os.listdir("/proc/self/fd")) == open_before
    nn.Conv2d(16, 16, 3)(torch.zeros(1, 16, 8, 8))
    assert capfd.readouterr().out == "after\nand Python\n"


def test_what_was_printed_before_stays_before():
    """Also what C holds back, which it does only where Python is not told to be unbuffered: hence another process."""
    code = (
        "import ctypes; from convscope.acceleration import onednn_log; library = ctypes.CDLL(None)\n"
        "print('Python', end=' '); library.printf(b'C ')\n"
        "with onednn_log(): pass\n"
        "print('after')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == "Python C after\n"


def test_limits_take_the_longer_of_arithmetic_and_traffic():
    assert LIMITS.seconds(25_000_000_000, 8, "float32") == pytest.approx(1.0)
    assert LIMITS.seconds(25_000_000_000, 8, "bfloat16") == pytest.approx(0.5)
    assert LIMITS.seconds(1, 5_000_000_000, "float32") == pytest.approx(1.0)
    assert Limits(50e9, None, 5e9, 1).seconds(25_000_000_000, 8, "bfloat16") == pytest.approx(1.0)


@pytest.mark.parametrize("passing", kernels.PASSES)
def test_bytes_of_a_pass(passing):
    case = Case(passing, (2, 4, 8, 6), (10, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1, "float32", 1)
    assert size_bytes(case) == 4 * (2 * 4 * 8 * 6 + 10 * 4 * 3 * 3 + 2 * 10 * 4 * 3)
    assert size_bytes(case._replace(dtype="bfloat16")) * 2 == size_bytes(case)


def test_recordings_count():
    layer = nn.Conv2d(8, 8, 3, padding=1)
    with kernels.recording() as outer, kernels.recording() as inner:
        maps = torch.zeros(1, 8, 5, 5)
        for _ in range(3):
            maps = kernels.conv2d(maps, layer.weight.detach(), None, (1, 1), (1, 1), (1, 1), 1)
    kernels.conv2d(maps, layer.weight.detach(), None, (1, 1), (1, 1), (1, 1), 1)
    assert list(inner.counts.values()) == list(outer.counts.values()) == [3]
    assert inner.keys() == inner.counts.keys()


@pytest.mark.parametrize("train", [True, False])
def test_a_network_adds_up(train):
    network = small().eval()
    before = copy.deepcopy(network.state_dict())
    random = torch.random.get_rng_state()
    found = diagnose(network, IMAGES, train=train, limits=LIMITS, rounds=1)
    part = found.network
    counts = {}
    for row in part.rows:
        counts[row.case.passing] = counts.get(row.case.passing, 0) + row.count
    # The first layer's input wants no gradient.
    assert counts == ({"forward": 3, "backward_weight": 3, "backward_input": 2} if train else {"forward": 3})
    assert {row.count for row in part.rows if row.case.input[1] == 8} >= ({2} if train else set())
    positions = 2 * 16 * 16
    forward = positions * 9 * (3 * 8 + 8 * 8 + 8 * 8)
    assert part.macs == (3 * forward - positions * 9 * 3 * 8 if train else forward)
    assert part.seconds == pytest.approx(sum(row.count * row.seconds for row in part.rows))
    assert part.limit_seconds <= part.seconds * 2
    totals = [row.total_seconds for row in part.rows]
    assert totals == sorted(totals, reverse=True)
    for row in part.rows:
        assert row.share == pytest.approx(row.limit_seconds / row.seconds)
        assert row.flops == pytest.approx(2 * row.case.macs / row.seconds)
        assert row.limit_seconds == pytest.approx(
            LIMITS.seconds(row.case.macs, size_bytes(row.case), row.case.dtype)
        )
    assert part.accelerated_parts == 1
    facts = json.loads(json.dumps(found.to_dict()))
    assert sum(row["total_seconds"] for row in facts["network"]["rows"]) == pytest.approx(
        facts["network"]["seconds"]
    )
    assert f"{sum(counts.values())} convolutions" in doctor_text(found)
    # The network is left as it was.
    assert acceleration.acceleration_of(network) is None
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(each.grad is None for each in network.parameters())
    assert torch.equal(random, torch.random.get_rng_state())


@pytest.mark.parametrize("call", [diagnose, compare])
def test_modes_stay(call):
    network = small().train()
    network[1].eval()
    call(network, IMAGES, train=False, rounds=1, **({"limits": LIMITS} if call is diagnose else {}))
    assert [module.training for module in network] == [number != 1 for number in range(len(network))]


def test_gains_of_tuning():
    case = Case("forward", (2, 4, 8, 6), (10, 4, 3, 3), (2, 2), (1, 1), (1, 1), 1, "float32", 1)
    row = TunedRoute(kernels.Timing(case, {"channels_last": 3.0, "contiguous": 1.0}), 2)
    assert (row.rule, row.timing.best, row.gain_seconds) == ("channels_last", "contiguous", 4.0)
    assert row.to_dict()["gain_seconds"] == 4.0


def test_an_accelerated_network_is_diagnosed_and_stays_accelerated():
    network = acceleration.accelerate(small(), "fp32")
    with torch.no_grad():
        expected = network.eval()(IMAGES)
    found = diagnose(network, IMAGES, limits=LIMITS, rounds=1)
    assert found.network.accelerated_parts == 1
    assert acceleration.acceleration_of(network) is not None
    with torch.no_grad():
        assert torch.equal(network(IMAGES), expected)


def test_an_accelerated_network_can_be_copied():
    network = acceleration.accelerate(small(), "fp32").eval()
    with torch.no_grad():
        expected = network(IMAGES)
        twin = copy.deepcopy(network)
        assert torch.equal(twin(IMAGES), expected)
        twin[0].weight.zero_()
        assert not torch.equal(twin(IMAGES), expected)
        assert torch.equal(network(IMAGES), expected)


class OnValues(nn.Module):
    """Its forward is no graph, and it has no parts that are."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, input):
        return self.layer(input) if input.sum() > -1e9 else input


def test_a_network_that_cannot_be_fused():
    text = doctor_text(diagnose(OnValues(), IMAGES, limits=LIMITS, rounds=1))
    assert "no part of it could be fused" in text
    assert "no convolution of it goes through a route" in text


def test_fallbacks_are_listed(monkeypatch):
    logs = iter([LOG, ""])

    class Log:
        def __enter__(self):
            return onednn_calls(next(logs))

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(acceleration.diagnosis, "onednn_log", Log)
    found = diagnose(small(), IMAGES, limits=LIMITS, rounds=1)
    assert [call.implementation for call in found.network.plain_fallbacks] == ["ref:any", "x64:gemm:jit"]
    assert found.network.fallbacks == ()
    text = doctor_text(found)
    assert "PyTorch alone: slow implementations of oneDNN" in text
    assert "accelerated: no convolution fell" in text
    assert "g8mb2_ic8oc8_ih16oh16kh5sh1dh0ph2_iw16ow16kw5sw1dw0pw2" in text


def machine(**changes):
    return Machine(**{**vars(describe_machine()), **changes})


def test_problems_of_a_machine():
    assert machine(openmp=("libgomp.so.1",)).problems == ()
    (problem,) = machine(openmp=("libgomp.so.1", "libiomp5.so")).problems
    assert "2 OpenMP runtimes in one process, libgomp.so.1 and libiomp5.so" in problem
    wrong = kernels.Verdict("dense", False, 6, "weight gradient", float("nan"), 1e-4)
    absent = kernels.Verdict("dense", False, 0, "not built", 0.0, 0.0)
    assert machine(verdicts=(wrong,)).wrong == (wrong,)
    assert machine(verdicts=(absent,)).wrong == ()


def test_a_machine_as_plain_values():
    facts = machine().to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["processor"]["native_bf16"] == kernels.processor().native_bf16


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((small(), None), "images are NoneType; give a tensor"),
        ((small(), torch.zeros(2, 3, 16)), r"images are \(2, 3, 16\); give a tensor \(N, C, H, W\)"),
        ((small(), IMAGES.double()), "images are torch.float64 on cpu; give float32"),
        ((small(), torch.zeros(2, 4, 16, 16)), r"does not run on images \(2, 4, 16, 16\): RuntimeError: "),
        ((3, IMAGES), "network is a int; give a torch.nn.Module"),
        ((nn.ReLU(), IMAGES), "no parameters to train"),
    ],
)
@pytest.mark.parametrize("call", [diagnose, compare])
def test_refusals(call, arguments, text):
    with pytest.raises(UsageError, match=text) as caught:
        call(*arguments, **({"limits": LIMITS} if call is diagnose else {}))
    assert "\n" not in str(caught.value)


def test_more_refusals():
    with pytest.raises(UsageError, match="images are given without a network"):
        diagnose(images=IMAGES)
    for call in (diagnose, compare):
        with pytest.raises(UsageError, match="rounds is 0; it must be at least 1"):
            call(small(), IMAGES, rounds=0)
    with pytest.raises(UsageError, match="compare: unknown precision 'fp8'"):
        compare(small(), IMAGES, precision="fp8")


def test_losses():
    scores, maps = torch.zeros(4, 10), torch.full((2, 3, 4, 4), 2.0)
    assert loss_of(maps).item() == 2.0
    assert loss_of({"out": maps, "aux": scores}).item() == pytest.approx(
        2.0 + torch.tensor(10.0).log().item()
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_comparison_adds_up(precision):
    network = small().eval()
    before = copy.deepcopy(network.state_dict())
    found = compare(network, IMAGES, rounds=3, precision=precision)
    assert [contest.mode for contest in found.contests] == ["training", "inference"]
    for contest in found.contests:
        plain, last, accelerated = contest.variants
        assert (plain.difference, contest.ratio(plain)) == (0.0, 1.0)
        assert 0 < last.difference < 1e-5 or last.difference == 0
        assert accelerated.difference < (1e-5 if precision == "fp32" else 0.1)
        assert contest.ratio(accelerated) == plain.median / accelerated.median
        assert contest.images_per_second(plain) == 2 / plain.median
        if contest.mode == "training":
            assert accelerated.gradient_difference < (1e-5 if precision == "fp32" else 0.1)
        else:
            assert accelerated.gradient_difference is None
        for each in contest.variants:
            lower, upper = each.quartiles
            assert min(each.seconds) <= lower <= each.median <= upper <= max(each.seconds)
    if precision == "bf16":
        assert found.contests[1].variants[2].difference > 1e-5
    assert found.problems == ()
    facts = found.to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["contests"][0]["variants"][2]["ratio"] == found.contests[0].ratio(
        found.contests[0].variants[2]
    )
    assert "accelerated in " + found.dtype in bench_text(found)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module.training for module in network.modules())


def test_a_wrong_result_is_a_problem():
    variants = (Variant("PyTorch", (1.0,), 0.0, None, 1.0), Variant("accelerated", (1.0,), 0.5, None, 1.0))
    found = compare(small(), IMAGES, rounds=1, train=False, precision="fp32")
    wrong = type(found)(**{**vars(found), "contests": (Contest("inference", 2, variants),)})
    assert wrong.problems == (
        "accelerated, inference: the results are 5.0e-01 off, at most 1e-03 is rounding",
    )
    rounding = Variant("PyTorch, channels-last", (1.0,), 0.1, None, 1.0)  # PyTorch itself differs as much
    assert not type(found)(
        **{**vars(found), "contests": (Contest("inference", 2, (*variants, rounding)),)}
    ).problems
    nan = Variant("accelerated", (1.0,), float("nan"), None, 1.0)
    assert type(found)(**{**vars(found), "contests": (Contest("inference", 2, (nan,)),)}).problems


def test_tuning(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    tuned.cache_clear()
    try:
        found = compare(small(), IMAGES, rounds=1, tune=True, precision="fp32")
        kept = json.loads((tmp_path / "kernels" / os.path.basename(found.tuned_path)).read_text())
        assert len(kept) == len(found.tuned)
        assert sum(each.count for each in found.tuned) == 8
        for each in found.tuned:
            seconds = each.timing.seconds
            assert each.gain_seconds == each.count * (seconds[each.rule] - min(seconds.values()))
        assert {each.timing.case for each in found.changed} == {
            each.timing.case for each in found.tuned if each.gain_seconds > 0
        }
        assert describe_machine().tuned == len(kept)
        text = bench_text(found)
        assert f"{len(kept)} cases timed, {len(found.changed)} of them faster" in text
        assert compare(nn.Flatten(), IMAGES, rounds=1, train=False, tune=True).tuned == ()
    finally:
        tuned.cache_clear()
        forget()


def test_labels():
    case = Case("forward", (2, 8, 9, 7), (8, 1, 5, 3), (2, 1), (1, 1), (2, 2), 8, "float32", 1)
    assert case_label(case) == "8 > 8, 5x3 /2x1, dilation 2, depthwise, on 9x7"
