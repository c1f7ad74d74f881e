"""Deformable convolution on warps: what a warp does, where taps read, the figures and the rule of the verdict."""

from functools import partial

import pytest
import torch

from convscope.data import load_dataset
from convscope.experiments import Verdict, num_params, seeded
from convscope.experiments.claims import deformable as claim
from convscope.trace import trace

TINY = claim._Size(2, steps=3, batch_size=8, test_images=40, lr=1e-3)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(claim, "_QUICK", TINY)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_runs_and_is_the_same_again(tiny):
    one, other = (claim.EXPERIMENT.run(seeds=[0, 1]).outcome for _ in range(2))
    assert one.to_dict() == other.to_dict()
    for row in one.rows:
        assert len(row.cells) == len(one.columns) - 1
    for first, second in zip(one.pictures, other.pictures, strict=True):
        assert first.planes.equal(second.planes)
        assert first.planes.shape == (8, 168, 168, 3)
        assert first.planes.dtype == torch.uint8


def test_no_strength_no_warp_and_half_of_it_lies_between():
    images = load_dataset("fashion-mnist", "test").images[:50] / 255
    assert claim._warp(images, 0.0, generator()).equal(images)
    differences = [
        float((claim._warp(images, strength, generator()) - images).abs().mean())
        for strength in (0.25, 0.5, 1.0)
    ]
    assert differences[0] < differences[1] < differences[2]
    assert claim._warp(images, 1.0, generator(1)).shape == images.shape
    assert not claim._warp(images, 1.0, generator(1)).equal(claim._warp(images, 1.0, generator(2)))


def test_draws_do_not_depend_on_the_strength():
    states = []
    for strength in (0.0, 0.5, 1.0):
        drawn = generator()
        claim._warp(torch.zeros(3, 1, 8, 8), strength, drawn)
        states.append(drawn.get_state())
    assert states[0].equal(states[1])
    assert states[1].equal(states[2])


def test_a_warp_turns_and_shrinks_as_much_as_it_says(monkeypatch):
    monkeypatch.setattr(claim, "_BEND", 0.0)
    monkeypatch.setattr(claim, "_SHEAR", 0.0)
    rows, columns = torch.meshgrid(torch.arange(63) - 31.0, torch.arange(63) - 31.0, indexing="ij")
    bar = ((rows.abs() <= 2) & (columns.abs() <= 20)).float().expand(200, 1, 63, 63)
    warped = claim._warp(bar, 1.0, generator())[:, 0]
    mass = warped.sum((1, 2))
    yy, xx, xy = ((warped * part).sum((1, 2)) / mass for part in (rows**2, columns**2, rows * columns))
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    assert 0.9 * claim._TURN < float(angle.abs().max()) <= 1.02 * claim._TURN
    assert abs(float(angle.mean())) < 0.15
    areas = mass / bar[0].sum()
    assert float(areas.max()) < 1.05
    assert 1 / 1.4**2 / 1.1 < float(areas.min()) < 0.65


def test_with_the_same_weights_it_starts_as_the_plain_network():
    plain, deformable = (
        seeded(partial(claim._Network, 4, kind), seed).eval()
        for seed, kind in enumerate(("plain", "deformable"))
    )
    missing, unexpected = deformable.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert sorted(missing) == [
        f"features.layer{number}.offset.{part}" for number in (3, 4, 5) for part in ("bias", "weight")
    ]
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(plain(images), deformable(images))


def test_fixed_taps_have_at_least_as_many_parameters_and_hardly_more():
    for size in (claim._QUICK, claim._FULL):
        width = claim._fixed_width(size)
        wanted = num_params(claim._Network(size.width, "deformable"))
        assert num_params(claim._Network(width - 1, "plain")) < wanted
        assert wanted <= num_params(claim._Network(width, "plain")) < 1.2 * wanted
        assert num_params(claim._Network(width, "dilated")) == num_params(claim._Network(width, "plain"))


def test_dilation_widens_the_field_and_keeps_the_maps():
    plain, dilated = (trace(claim._Network(2, kind), (1, 1, 28, 28)) for kind in ("plain", "dilated"))
    fields = [each.receptive_field("features.relu5").axes[-1].size for each in (plain, dilated)]
    assert fields == [30, 50]
    shapes = [each.tensor_of("features.relu5").shape for each in (plain, dilated)]
    assert shapes == [(1, 6, 7, 7)] * 2


def test_places_are_those_that_the_output_depends_on():
    """Taps moved by whole pixels: the gradient of a value says which places of its input it read."""
    network = claim._Network(2, "deformable").eval()
    layer = network.features.layer4
    offset = torch.tensor([(row, column) for row in (0, 1, -1) for column in (2, 0, -1)], dtype=torch.float32)
    with torch.no_grad():
        layer.offset.bias.copy_(offset.flatten())
    moved, fixed = claim._places(network, "layer4", torch.rand(1, 1, 28, 28))
    assert moved.shape == fixed.shape == (1, 7, 7, 9, 2)
    maps = torch.rand(1, 4, 7, 7, requires_grad=True)
    layer(maps)[0, :, 3, 3].sum().backward()
    read = {tuple(place) for place in torch.nonzero(maps.grad[0].abs().sum(0)).tolist()}
    # The map's pixel p is the mean place of image pixels 4p to 4p + 3.
    assert {tuple(place) for place in ((moved[0, 3, 3] - 1.5) / 4).long().tolist()} == read
    assert ((moved[0, 3, 3] - 1.5) / 4).frac().abs().max() < 1e-5
    assert fixed[0, 3, 3, 4].tolist() == [13.5, 13.5]
    assert (fixed[0, 3, 3, 8] - fixed[0, 3, 3, 0]).tolist() == [8, 8]


def test_dots_lie_where_they_say_and_not_outside():
    picture = torch.zeros(60, 60, 3, dtype=torch.uint8)
    claim._dot(picture, torch.tensor([[4.5, 2.0], [-3.0, 5.0], [40.0, 1.0], [9.9, 9.9]]), (0, 0, 9))
    rows, columns = torch.nonzero(picture[..., 2], as_tuple=True)
    assert (float(rows[rows < 40].float().mean()), float(columns[rows < 40].float().mean())) == (30, 15)
    assert int((picture > 0).sum()) == 25 + int((picture[50:, 50:] > 0).sum())


@pytest.mark.parametrize(
    ("gains", "dilated", "verdict"),
    [
        ((0.05, 0.06, 0.055), 0.0, Verdict.HOLDS),
        ((0.05, 0.06, 0.055), 0.055, Verdict.UNDECIDED),
        ((0.05, 0.06, 0.055), 0.1, Verdict.FAILS),
        ((-0.05, -0.06, -0.055), -0.2, Verdict.FAILS),
        ((0.05, -0.06, 0.01), 0.0, Verdict.UNDECIDED),
        ((0.05,), 0.0, Verdict.UNDECIDED),
    ],
)
def test_the_verdict_is_on_the_differences_at_the_strength_of_training(gains, dilated, verdict):
    runs = [
        claim._Run((0.9, 0.8, 0.7, 0.6), (0.1, 0.1, 0.7 + dilated, 0.1), (0.1, 0.1, 0.7 + gain, 0.1), 1.5)
        for gain in gains
    ]
    outcome = claim._outcome(runs, ((5, 100, 1000), (5, 100, 1000), (4, 90, 2000)))
    assert outcome.verdict is verdict
    assert dict(outcome.figures)["gain_over_plain"] == pytest.approx(sum(gains) / len(gains))
    assert outcome.rows[0].cells[:3] == (5, 100, 1000)
    assert outcome.rows[3].cells[3].value == pytest.approx(-0.8)
    assert outcome.charts[0].curves[2].points[1] == (0.5, pytest.approx(0.1))
