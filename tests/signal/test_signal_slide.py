"""The facts of the flip-and-slide picture, against the definitions."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from convscope.errors import UsageError
from convscope.signal import (
    Sampled,
    exponential_decay,
    ramp,
    rect,
    slide_autocorrelation,
    slide_convolution,
    slide_cross_correlation,
    triangle,
)

F, G = rect(1.5, center=0.2, dt=0.05), ramp(1.0, start=-0.4, dt=0.05)
SLIDES = {
    "convolution": slide_convolution(F, G),
    "cross-correlation": slide_cross_correlation(F, G),
    "autocorrelation": slide_autocorrelation(G),
}


@pytest.mark.parametrize("slide", SLIDES.values(), ids=SLIDES)
def test_the_area_under_the_product_is_the_result_at_every_shift(slide):
    for t, value in zip(slide.result.times, slide.result.values, strict=True):
        stopped = slide.at(t)
        assert stopped.t == pytest.approx(t)
        assert stopped.integral == pytest.approx(value, abs=1e-12)
        assert stopped.product == pytest.approx(stopped.f_values * stopped.moved)


@pytest.mark.parametrize("slide", SLIDES.values(), ids=SLIDES)
def test_the_moved_copy_is_g_at_t_minus_tau_or_t_plus_tau(slide):
    g_at = dict(zip(np.rint(slide.g.times / 0.05), slide.g.values, strict=True))
    for t in slide.shifts(5):
        stopped = slide.at(t)
        argument = stopped.t - stopped.tau if slide.operation == "convolution" else stopped.t + stopped.tau
        assert stopped.moved.tolist() == [g_at.get(step, 0.0) for step in np.rint(argument / 0.05)]
        np.testing.assert_array_equal(stopped.tau, slide.tau)  # the time axis stands still


def test_the_moved_copy_goes_right_in_convolution_and_left_in_correlation():
    for slide in SLIDES.values():
        early, late = (np.average(at.tau, weights=at.moved) for at in (slide.at(0.1), slide.at(0.2)))
        assert np.sign(late - early) == slide.direction


def test_only_cross_correlation_does_not_commute():
    assert SLIDES["convolution"].commutativity_error < 1e-15
    assert SLIDES["autocorrelation"].commutativity_error == 0
    assert [slide.commutes for slide in SLIDES.values()] == [True, False, True]


def test_the_commutativity_error_of_a_case_on_paper():
    # f = 1 at 0; g = 1, 2 at 0, 1. f ⋆ g (t) = g(t) lives at 0, 1 and g ⋆ f (t) = g(-t) at 0, -1: largest gap 2 of 2.
    f, g = Sampled([1.0], 1.0), Sampled([1.0, 2.0], 1.0)
    assert slide_cross_correlation(f, g).commutativity_error == 1
    assert slide_convolution(f, g).commutativity_error == 0
    even = triangle(dt=0.5)
    assert slide_cross_correlation(even, rect(dt=0.5)).commutes  # two even signals do commute
    assert slide_convolution(Sampled([0.0], 1.0), g).commutativity_error == 0


def test_the_error_is_measured_and_not_assumed(monkeypatch):
    monkeypatch.setattr(
        Sampled, "convolve", lambda self, other: dataclasses.replace(self, values=2 * self.values)
    )
    assert not slide_convolution(F, G).commutes


def test_without_a_shift_the_result_is_halfway_up():
    for slide in SLIDES.values():
        assert slide.integral == pytest.approx(slide.result.values.max() / 2, abs=0.06)
        assert slide.t < slide.result.times[np.argmax(slide.result.values)]


def test_shifts_are_rounded_to_the_grid_and_may_lie_outside():
    slide = slide_convolution(F, G, t=0.12)
    assert slide.t == pytest.approx(0.1)
    assert slide.at(50.0).integral == 0


def test_ranges_hold_everything_that_is_drawn():
    slide = slide_cross_correlation(Sampled([-3.0, 2.0], 1.0), Sampled([1.0, 4.0, -2.0], 1.0))
    low, high = slide.value_range
    for t in slide.result.times:
        assert low <= slide.at(t).product.min()
        assert slide.at(t).product.max() <= high
    assert (low, high) == (-12, 8)
    assert slide.result_range == (slide.result.values.min(), slide.result.values.max())


def test_facts_are_plain_data():
    facts = json.loads(json.dumps(SLIDES["convolution"].to_dict()))
    assert facts["operation"] == "convolution"
    assert len(facts["tau"]) == len(facts["moved"]) == len(facts["product"])
    assert facts["commutes"] is True


def test_integers_and_tensors_with_gradients_are_read():
    values = torch.tensor([1, 2, 3]).double().requires_grad_()
    slide = slide_convolution(Sampled(values, 1.0), Sampled([1, 2], 1.0), t=1)
    assert slide.integral == 1 * 2 + 2 * 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: slide_convolution(F, rect(dt=0.1)), "convolve: f has time step dt=0.05 and g dt=0.1"),
        (
            lambda: slide_autocorrelation(Sampled([1j], 1.0)),
            "slide_autocorrelation: a signal of dtype complex128 has two",
        ),
        (
            lambda: slide_cross_correlation(Sampled([1.0], 0.5), Sampled([1.0], 0.5, 0.2)),
            "slide_cross_correlation: f starts at 0.0 and g at 0.2, which is 0.4 steps of dt=0.5 apart",
        ),
    ],
)
def test_refusal(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert text in str(caught.value)


def test_the_copy_is_flipped_in_convolution_only():
    decay = exponential_decay(2, duration=2, dt=0.05)
    flipped, upright = (
        slide_convolution(F, decay, t=0.5).moved,
        slide_cross_correlation(F, decay, t=0.5).moved,
    )
    assert np.all(np.diff(flipped[flipped > 0])[:-1] > 0)
    assert np.all(np.diff(upright[upright > 0])[1:] < 0)
