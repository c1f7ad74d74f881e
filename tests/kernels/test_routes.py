"""Routes: every candidate computes the same, the fastest is kept on disk, damaged answers are forgotten."""

import random

import pytest
import torch
from random_convolutions import BOUNDS, check_operator, error_of, lay_out, random_convolution

from convscope import kernels
from convscope.kernels import Operands, conv2d, dense, recording, routes, tuned
from convscope.kernels.library import Library


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """Answers kept in a folder of the test's own."""
    monkeypatch.setenv("CONVSCOPE_HOME", str(tmp_path))
    tuned.tuned.cache_clear()
    routes.forget()
    yield tmp_path
    monkeypatch.undo()
    tuned.tuned.cache_clear()
    routes.forget()


@pytest.mark.parametrize("batch", range(8))
def test_random_convolutions_equal_float64(batch):
    for seed in range(batch * 25, (batch + 1) * 25):
        rng = random.Random(seed)
        groups = rng.choice((1, 1, 1, 2, 6))
        ins, outs = rng.choice(((1, 1), (3, 8), (5, 2), (16, 24), (40, 70)))
        check_operator(conv2d, seed, torch.bfloat16 if seed % 3 == 0 else torch.float32, groups, ins, outs)


def random_operands(seed, dtype, groups=1):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    ins, outs = rng.choice(((4, 8), (5, 2), (16, 24), (40, 70), (9, 33)))
    shape, weight_shape, settings = random_convolution(rng, groups, ins, outs)
    input = lay_out(torch.randn(shape).to(dtype), rng.choice(("contiguous", "channels_last", "sliced")))
    return input, torch.randn(weight_shape).to(dtype), (*map(tuple, settings[:3]), groups)


@pytest.mark.parametrize("seed", range(60))
def test_every_route_computes_the_same(seed):
    dtype = torch.bfloat16 if seed % 3 == 0 else torch.float32
    input, weight, settings = random_operands(seed, dtype)
    with recording() as found:
        output = conv2d(input, weight.requires_grad_(), None, *settings)
    truth = torch.nn.functional.conv2d(input.double(), weight.double(), None, *settings)
    grad = torch.randn(output.shape).to(dtype)
    stride, padding, dilation, groups = settings
    true_input, true_weight, _ = torch.ops.aten.convolution_backward(
        grad.double(), input.double(), weight.detach().double(), None, stride, padding, dilation, False, (0, 0),
        groups, [True, True, False],
    )  # fmt: skip
    assert [case.passing for case in found] == ["forward"]
    for passing, true in zip(kernels.PASSES, (truth, true_input, true_weight), strict=True):
        operands = Operands(input, weight.detach(), None, None if passing == "forward" else grad, settings)
        case = kernels.Case.of(passing, operands)
        names = routes.candidates(case, operands)
        assert {"channels_last", "contiguous"} <= set(names)
        for name in names:
            result = routes.run(case, operands, name)
            assert error_of(result, true.detach()) < BOUNDS[dtype], (name, case)


@pytest.mark.parametrize("seed", range(300))
def test_dense_weight_gradient_equals_float64(seed):
    library = kernels.load()
    if library.handle is None:
        pytest.skip(library.reason)
    dtype = torch.bfloat16 if seed % 3 == 0 else torch.float32
    input, weight, settings = random_operands(seed, dtype)
    truth = torch.nn.functional.conv2d(input.double(), weight.double(), None, *settings)
    grad = torch.randn(truth.shape).to(dtype)
    _, true, _ = torch.ops.aten.convolution_backward(
        grad.double(),
        input.double(),
        weight.double(),
        None,
        *settings[:3],
        False,
        (0, 0),
        1,
        [False, True, False],
    )
    result = dense.backward(library, grad, input, weight, settings, [False, True, False])[1]
    assert error_of(result, true) < BOUNDS[dtype]


def test_tuned_routes_are_kept_and_used(own_home):
    input, weight = torch.randn(2, 8, 9, 9), torch.randn(16, 8, 1, 1, requires_grad=True)
    settings = [1, 1], [0, 0], [1, 1], 1
    with recording() as found:
        conv2d(input, weight, None, *settings).sum().backward()
    assert [case.passing for case in found] == ["forward", "backward_weight"]
    timings = kernels.tune(found, rounds=2)
    assert all(timing.best in timing.seconds and not timing.wrong for timing in timings)
    case = timings[0].case
    for name in timings[0].seconds:
        tuned.keep({case: name})
        routes.forget()
        assert routes.choose(case, found[case]) == name
    # Another number of threads is another case.
    assert routes.choose(case._replace(threads=case.threads + 1), found[case]) == "channels_last"


def test_a_route_that_is_wrong_is_left_out(own_home, monkeypatch):
    broken = routes.Route(lambda case, o: True, lambda o: torch.zeros(2, 16, 9, 9))
    monkeypatch.setitem(routes._ROUTES["forward"], "broken", broken)
    input, weight = torch.randn(2, 8, 9, 9), torch.randn(16, 8, 1, 1)
    with recording() as found:
        conv2d(input, weight, None, [1, 1], [0, 0], [1, 1], 1)
    (timing,) = kernels.tune(found, rounds=1)
    assert timing.wrong == ("broken",)
    assert "broken" not in timing.seconds


def test_answers_of_another_build_are_not_used(own_home, monkeypatch, tmp_path):
    operands = Operands(
        torch.ones(1, 8, 5, 5), torch.ones(4, 8, 3, 3), None, None, ([1, 1], [1, 1], [1, 1], 1)
    )
    case = kernels.Case.of("forward", operands)
    tuned.keep({case: "contiguous"})
    assert tuned.tuned() == {case: "contiguous"}
    other = tmp_path / "other.so"
    other.write_bytes(b"another build of the kernels")
    monkeypatch.setattr(tuned, "load", lambda: Library("baseline", other, ""))
    tuned.tuned.cache_clear()
    assert tuned.tuned() == {}


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", '[{"case": {}, "route": 3}]'])
def test_damaged_answers_are_forgotten(own_home, text):
    tuned.path().parent.mkdir(parents=True)
    tuned.path().write_text(text)
    tuned.tuned.cache_clear()
    assert tuned.tuned() == {}
