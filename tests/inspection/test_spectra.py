"""Spectra against NumPy's Fourier transform, down-samplings of known networks, a hand-made case of aliasing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.inspection import down_samplings, spectrum
from convscope.models import create_seeded_model
from convscope.nn import BlurPool2d


def test_the_spectrum_is_numpys():
    maps = torch.randn(3, 12, 10, generator=torch.Generator().manual_seed(0))
    found = spectrum(maps)
    rows, columns = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) for n in (12, 10))
    window = rows[:, None] * columns
    powers = []
    for plane in maps.double().numpy():
        level = (plane * window).sum() / window.sum()
        powers.append(np.abs(np.fft.fftshift(np.fft.fft2((plane - level) * window))) ** 2)
    expected = np.mean(powers, 0) / (window**2).sum()
    np.testing.assert_allclose(found.power.numpy(), expected, rtol=1e-10, atol=1e-18)
    for ours, theirs in zip(found.frequencies, (12, 10), strict=True):
        np.testing.assert_allclose(ours.numpy(), np.fft.fftshift(np.fft.fftfreq(theirs)))


def test_noise_spreads_evenly():
    found = spectrum(torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert float(found.power.mean()) == pytest.approx(1, rel=0.02)
    assert found.share_above((2, 2)) == pytest.approx(0.75, abs=0.06)  # three quarters of the square
    assert found.share_above((1, 1)) == 0
    assert all(power == pytest.approx(1, rel=0.1) for _, power in found.rings()[1:])
    assert found.rings()[-1][0] <= 0.5


def wave(frequency, size=64):
    """Stripes of so many cycles a pixel along the width."""
    return torch.cos(2 * torch.pi * frequency * torch.arange(size)).expand(1, 1, size, size)


@pytest.mark.parametrize(("frequency", "above"), [(0.125, 0), (0.375, 1)])
def test_stripes_fold_where_they_must(frequency, above):
    """Stripes of 3/8 cycles a pixel, one pixel in two kept, look like stripes of 1/4: 2 * (1/2 - 3/8)."""
    (step,) = down_samplings(nn.Sequential(nn.Conv2d(1, 1, 1, stride=2, bias=False)), wave(frequency)).steps
    assert step.stride == (2, 2)
    assert step.share_before == pytest.approx(above, abs=0.02)
    assert step.share_folded == pytest.approx(above, abs=0.02)
    rows, columns = step.after.frequencies
    row, column = divmod(int(step.after.power.argmax()), len(columns))
    assert abs(float(rows[row])) < 1e-6
    assert abs(float(columns[column])) == pytest.approx(0.25, abs=1e-6)


def test_the_operator_at_every_place_is_its_stride_of_one():
    network = nn.Sequential(nn.Conv2d(2, 3, 5, stride=(2, 3), padding=1, groups=1), nn.ReLU(inplace=True))
    image = torch.randn(1, 2, 40, 42)
    (step,) = down_samplings(network, image).steps
    with torch.no_grad():
        whole = F.conv2d(image, network[0].weight, network[0].bias, 1, 1)
        after = network[0](image)
    torch.testing.assert_close(step.whole.power, spectrum(whole[0]).power)
    torch.testing.assert_close(step.after.power, spectrum(after[0]).power)
    torch.testing.assert_close(step.before.power, spectrum(image[0]).power)
    assert (step.layer, step.stride) == ("0", (2.0, 3.0))


@pytest.mark.parametrize(
    "layer",
    [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, 2, 1), BlurPool2d(3)],
    ids=lambda layer: type(layer).__name__,
)
def test_every_kind_of_down_sampling_is_found(layer):
    (step,) = down_samplings(nn.Sequential(layer, nn.ReLU()), torch.rand(1, 1, 32, 32)).steps
    assert step.stride == (2.0, 2.0)
    assert tuple(step.before.power.shape) == (32, 32) or type(layer).__name__ == "BlurPool2d"
    assert tuple(step.after.power.shape) == (16, 16)
    assert step.whole is not None


class Sliced(nn.Module):
    """Down-sampling without a module: slices, and an interpolation."""

    def forward(self, image):
        return F.interpolate(image[:, :, ::2, ::2], scale_factor=0.5, mode="bilinear")


def test_slices_and_interpolations():
    found = down_samplings(Sliced(), torch.rand(1, 1, 32, 32)).steps
    assert [(step.operator, step.stride) for step in found] == [
        ("slice", (2.0, 1.0)),
        ("slice", (1.0, 2.0)),
        ("upsample_bilinear2d", (2.0, 2.0)),
    ]
    assert [step.whole is None for step in found] == [False, False, True]


def test_blur_pooling_folds_less():
    """Zhang's remedy: max at every place, then a low-pass before the stride."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = down_samplings(nn.Sequential(nn.MaxPool2d(2, 2)), image).steps[-1]
    blurred = down_samplings(nn.Sequential(nn.MaxPool2d(2, 1), BlurPool2d(3)), image).steps[-1]
    wide = down_samplings(nn.Sequential(nn.MaxPool2d(2, 1), BlurPool2d(5)), image).steps[-1]
    assert plain.share_folded > 2 * blurred.share_folded > 2 * wide.share_folded > 0


def test_resnet_and_what_it_is_left_with():
    network = create_seeded_model("resnet18", 0)
    network.train()
    before = [module.training for module in network.modules()]
    found = down_samplings(network, torch.rand(1, 3, 64, 64))
    assert before == [module.training for module in network.modules()]
    assert not any(module._forward_hooks for module in network.modules())
    names = [step.layer for step in found.steps]
    assert names[:2] == ["conv1", "maxpool"]
    assert {"layer2.0.conv1", "layer2.0.downsample.0"} <= set(names)
    assert all(0 <= step.share_before <= 1 for step in found.steps)
    facts = found.to_dict()["down_samplings"][0]
    assert (facts["size_before"], facts["size_after"]) == ([64, 64], [32, 32])
    assert set(facts["curves"]) == {"before", "after, at every place", "after"}
    limit = max(frequency for frequency, _ in facts["curves"]["after"])
    assert limit <= 0.25


def test_refusals():
    with pytest.raises(UsageError, match="down_samplings: no operator of the network has a larger stride"):
        down_samplings(nn.Sequential(nn.Conv2d(1, 1, 3)), torch.rand(1, 1, 8, 8))
    with pytest.raises(ShapeError, match="down_samplings: input"):
        down_samplings(nn.Sequential(nn.Conv2d(3, 1, 3, 2)), torch.rand(1, 1, 8, 8))
    with pytest.raises(ShapeError, match="spectrum: maps have the shape"):
        spectrum(torch.zeros(3, 3))
