"""Sampled signals against closed forms, and how fast the error falls with the time step."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from convscope.errors import ShapeError, UsageError
from convscope.signal import Sampled, exponential_decay, gaussian, ramp, rect, triangle


def normal_density(t, mean, variance):
    return np.exp(-((t - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def tent_squared(t):
    u = abs(t)
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.clip(2 - u, 0, None) ** 3 / 6)


CLOSED_FORMS = {
    # name: (sampled result for a step dt, closed form, order of the error in dt)
    "rect * rect = triangle": (
        lambda dt: rect(2, center=1, dt=dt).convolve(rect(2, dt=dt)),
        lambda t: np.clip(2 - abs(t - 1), 0, None),
        1,
    ),
    "exp * exp = t exp(-t)": (
        lambda dt: exponential_decay(dt=dt).convolve(exponential_decay(dt=dt)),
        lambda t: t * np.exp(-t) * (t <= 37),
        1,
    ),
    "exp(-t) * exp(-3t)": (
        lambda dt: exponential_decay(1, dt=dt).convolve(exponential_decay(3, dt=dt)),
        lambda t: (np.exp(-t) - np.exp(-3 * t)) / 2,
        1,
    ),
    "triangle * triangle": (
        lambda dt: triangle(dt=dt).convolve(triangle(dt=dt)),
        tent_squared,
        2,
    ),
    "autocorrelation of ramp": (
        lambda dt: ramp(start=3, dt=dt).autocorrelate(),
        lambda t: (1 - abs(t)) ** 2 * (2 + abs(t)) / 6,
        1,
    ),
    "rect against ramp, correlated": (
        lambda dt: ramp(dt=dt).correlate(rect(1, center=0.5, dt=dt)),
        lambda t: np.where(t > 0, (1 - t**2) / 2, (1 + t) ** 2 / 2),
        1,
    ),
}


def largest_error(make, closed_form, dt):
    result = make(dt)
    return float(np.max(np.abs(result.values - closed_form(result.times))))


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_error_falls_with_the_step_at_the_expected_order(name):
    make, closed_form, order = CLOSED_FORMS[name]
    errors = [largest_error(make, closed_form, dt) for dt in (1 / 16, 1 / 32, 1 / 64, 1 / 128)]
    assert errors[0] < 0.06
    measured = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert measured == pytest.approx([order] * 3, abs=0.1)


def test_jumps_cost_accuracy_only_where_they_meet():
    # rect * rect is exact except at its three corners, where two jumps coincide.
    result = rect(2, dt=0.1).convolve(rect(2, dt=0.1))
    error = np.abs(result.values - np.clip(2 - abs(result.times), 0, None))
    assert np.flatnonzero(error > 1e-12).tolist() == [0, 20, 40]


def test_gaussians_convolve_to_the_gaussian_of_summed_variances_faster_than_any_power_of_the_step():
    errors = []
    for dt in (1.0, 0.5, 0.25):
        result = gaussian(1.0, mean=2.0, dt=dt).convolve(gaussian(2.0, mean=-0.5, dt=dt))
        errors.append(np.abs(result.values - normal_density(result.times, 1.5, 1.0 + 4.0)).max())
    assert errors[0] < 1e-6
    assert errors[1] < 1e-14
    assert errors[2] < 1e-15


def test_correlation_of_gaussians_peaks_at_the_difference_of_their_means():
    result = gaussian(1, mean=3, dt=0.25).correlate(gaussian(1, mean=1, dt=0.25))
    np.testing.assert_allclose(result.values, normal_density(result.times, 2, 2), atol=1e-14)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("lengths", [(9, 4), (4, 9), (5, 5)])
def test_every_mode_keeps_the_times(lengths, mode):
    rng = np.random.default_rng(0)
    f = Sampled(rng.standard_normal(lengths[0]), 0.5, 3.0)
    g = Sampled(rng.standard_normal(lengths[1]), 0.5, -1.25)
    for call in (f.convolve, f.correlate):
        whole = dict(zip(call(g).times.round(9), call(g).values, strict=True))
        part = call(g, mode)
        np.testing.assert_allclose([whole[t] for t in part.times.round(9)], part.values, rtol=1e-12)


def test_an_impulse_of_area_one_moves_a_signal():
    f = ramp(dt=0.25)
    moved = f.convolve(Sampled([1 / 0.25], 0.25, start=2.0))
    np.testing.assert_allclose(moved.values, f.values)
    assert moved.start == 2.0
    assert f.correlate(Sampled([4.0], 0.25, start=2.0)).start == -2.0


def test_tensors_stay_tensors_with_gradients():
    values = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    energy = Sampled(values, 0.5).autocorrelate()
    energy.values[2].backward()
    assert values.grad.tolist() == [1.0, 2.0, 3.0]  # d/dv of 0.5 sum v^2


def test_complex_signals_correlate_with_the_conjugate():
    f = Sampled([1j, 2.0], 1.0)
    assert f.autocorrelate().values.tolist() == [2j, 5, -2j]
    assert json.loads(json.dumps(f.to_dict())) == {
        "values": [[0.0, 1.0], [2.0, 0.0]],
        "dt": 1.0,
        "start": 0.0,
    }


def test_samples_lie_on_multiples_of_the_step_and_jumps_take_the_mean():
    box = rect(1, center=0.3, dt=0.1)
    assert box.start == pytest.approx(-0.2)
    assert box.values[[0, -1]].tolist() == [0.5, 0.5]
    off_grid = rect(1, center=0.05, dt=0.1)
    assert (len(off_grid), off_grid.values.min()) == (10, 1.0)
    assert ramp(dt=0.5).values.tolist() == [0, 0.5, 0.5]
    assert exponential_decay(2, duration=1, dt=0.5).values[0] == 0.5
    assert gaussian(dt=0.1).values.sum() * 0.1 == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: rect(dt=0.1).convolve(rect(dt=0.2)),
            UsageError,
            "convolve: f has time step dt=0.1 and g dt=0.2",
        ),
        (
            lambda: rect(dt=0.1).correlate(rect(dt=0.2)),
            UsageError,
            "correlate: f has time step dt=0.1 and g dt=0.2",
        ),
        (
            lambda: Sampled([[1.0]], 1.0),
            ShapeError,
            "Sampled: values have shape (1, 1), but a sampled signal has one",
        ),
        (lambda: Sampled([], 1.0), ShapeError, "Sampled: values have shape (0,)"),
        (
            lambda: Sampled([1.0], 0.0),
            UsageError,
            "Sampled: dt=0.0 and start=0.0: both must be finite and dt larger",
        ),
        (lambda: Sampled([1.0], 1.0, math.nan), UsageError, "Sampled: dt=1.0 and start=nan"),
        (
            lambda: rect(0.5, dt=1),
            UsageError,
            "rect: width=0.5, center=0.0 and dt=1 must be finite with 0 < dt <= width",
        ),
        (lambda: triangle(-1), UsageError, "triangle: half_width=-1, center=0.0 and dt=0.01 must be finite"),
        (lambda: ramp(start=math.inf), UsageError, "ramp: width=1.0, start=inf"),
        (
            lambda: exponential_decay(0),
            UsageError,
            "exponential_decay: rate=0 must be finite and larger than 0",
        ),
        (lambda: exponential_decay(duration=0), UsageError, "exponential_decay: duration=0, start=0.0"),
        (lambda: gaussian(sigma=0), UsageError, "gaussian: sigma=0, mean=0.0"),
        (lambda: gaussian(reach=0), UsageError, "gaussian: reach=0 must be finite and larger than 0"),
    ],
)
def test_refusal(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
