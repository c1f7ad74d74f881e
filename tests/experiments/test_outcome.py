"""Intervals against scipy, and verdicts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convscope.errors import UsageError
from convscope.experiments import Chart, Curve, Interval, Outcome, Row, Verdict, verdict_of_all, verdict_on


@pytest.mark.parametrize("count", [2, 3, 5, 10, 31, 40])
def test_a_mean_has_students_interval(count):
    values = np.random.default_rng(count).normal(size=count)
    found = Interval.of_mean(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.high - found.low) / (high - low) == pytest.approx(1, abs=5e-4)
    assert (found.high + found.low) / 2 == pytest.approx(values.mean())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_a_share_has_wilsons_interval(counts):
    hits, total = counts
    found = Interval.of_share(hits, total)
    expected = stats.binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-4)
    assert found.high == pytest.approx(expected.high, abs=1e-4)
    assert found.value == hits / total


def test_one_seed_says_nothing_about_the_spread():
    found = Interval.of_mean([0.5])
    assert (found.value, found.low, found.high) == (0.5, -math.inf, math.inf)
    assert verdict_on(found) is Verdict.UNDECIDED


@pytest.mark.parametrize("wrong", [(3, 2), (-1, 2), (0, 0)])
def test_no_share(wrong):
    with pytest.raises(UsageError, match=rf"{wrong[0]} of {wrong[1]} is no share"):
        Interval.of_share(*wrong)
    with pytest.raises(UsageError, match="at least one value"):
        Interval.of_mean([])


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [
        (0.1, 0.3, 0.0, Verdict.HOLDS),
        (0.1, 0.3, 0.2, Verdict.UNDECIDED),
        (0.1, 0.3, 0.4, Verdict.FAILS),
        (-0.3, -0.1, 0.0, Verdict.FAILS),
        (-0.1, 0.1, 0.0, Verdict.UNDECIDED),
    ],
)
def test_verdicts(low, high, margin, verdict):
    assert verdict_on(Interval((low + high) / 2, low, high), margin) is verdict


def test_an_outcome_as_plain_values():
    interval = Interval.of_mean([1.0, 2.0, 3.0])
    outcome = Outcome(
        ("network", "parameters", "accuracy"),
        (Row("a", (5, interval)), Row("b", ("none", 0.5))),
        Verdict.HOLDS,
        "because",
        (Chart("t", "x", "y", (Curve("c", ((0.0, 1.0),)),)),),
        figures=(("gain", 0.25),),
    )
    found = outcome.to_dict()
    assert found["verdict"] == "holds"
    assert found["table"][0] == {"network": "a", "parameters": 5, "accuracy": interval.to_dict()}
    assert found["table"][1] == {"network": "b", "parameters": "none", "accuracy": 0.5}
    assert found["charts"][0]["curves"] == {"c": [[0.0, 1.0]]}
    assert found["figures"] == {"gain": 0.25}


def test_the_curve_of_means_has_the_intervals_as_its_band():
    values = {1.0: [1.0, 2.0, 3.0], 5.0: [4.0, 4.0, 5.0]}
    curve = Curve.of_means("c", values)
    for (x, each), point, bounds in zip(values.items(), curve.points, curve.band, strict=True):
        interval = Interval.of_mean(each)
        assert point == (x, interval.value)
        assert bounds == (x, interval.low, interval.high)
    assert Curve.of_means("c", {1.0: [1.0], 2.0: [3.0]}).band == ()  # of one seed there is none


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [("HH", "H"), ("HU", "U"), ("UH", "U"), ("FH", "F"), ("UF", "F"), ("FUH", "F"), ("H", "H")],
)
def test_a_claim_of_several_parts(parts, verdict):
    letters = {"H": Verdict.HOLDS, "U": Verdict.UNDECIDED, "F": Verdict.FAILS}
    assert verdict_of_all([letters[each] for each in parts]) is letters[verdict]
