"""The linear probe against ridge regression in numpy."""

import numpy as np
import pytest
import torch

from convscope.errors import ShapeError
from convscope.experiments import linear_probe


def clusters(count, seed, features=6, classes=3, noise=2.0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, features)) * 2
    labels = rng.integers(0, classes, count)
    values = centres[labels] + rng.normal(size=(count, features)) * noise
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


def ridge(features, labels, test_features, strength):
    """Least squares with rows appended for the penalty: another way to the same weights."""
    values, test_values = features.double().numpy(), test_features.double().numpy()
    mean, deviation = values.mean(0), values.std(0)
    values, test_values = (values - mean) / deviation, (test_values - mean) / deviation
    targets = np.eye(int(labels.max()) + 1)[labels.numpy()]
    width = values.shape[1]
    rows = np.vstack([values, np.sqrt(strength * len(values)) * np.eye(width)])
    aims = np.vstack([targets - targets.mean(0), np.zeros((width, targets.shape[1]))])
    weights = np.linalg.lstsq(rows, aims, rcond=None)[0]
    return (test_values @ weights + targets.mean(0)).argmax(1)


@pytest.mark.parametrize("strength", [1e-4, 0.1, 10.0])
def test_against_least_squares_in_numpy(strength):
    features, labels = clusters(200, 0)
    test_features, test_labels = clusters(300, 1)
    expected = (ridge(features, labels, test_features, strength) == test_labels.numpy()).mean()
    found = linear_probe(features, labels, test_features, test_labels, strengths=(strength,))
    assert (found.accuracy, found.strength) == (pytest.approx(expected, abs=1e-9), strength)
    assert found.accuracy > 0.6


def test_the_strength_is_chosen_on_the_last_training_rows_alone():
    features, labels = clusters(60, 0, features=40, noise=6.0)
    test_features, test_labels = clusters(300, 1, features=40, noise=6.0)
    strengths = (1e-6, 1e-2, 1.0, 30.0)
    right = [
        (ridge(features[:45], labels[:45], features[45:], each) == labels[45:].numpy()).sum()
        for each in strengths
    ]
    assert len(set(right)) > 1
    found = linear_probe(features, labels, test_features, test_labels, strengths=strengths, held_out=0.25)
    assert found.strength == strengths[int(np.argmax(right))]
    other = linear_probe(features, labels, test_features, 2 - test_labels, strengths=strengths, held_out=0.25)
    assert other.strength == found.strength


def test_scale_and_constant_features_do_not_matter():
    (features, labels), (test_features, test_labels) = clusters(100, 0), clusters(100, 1)
    scale = torch.tensor([1e-3, 1.0, 50.0, 2.0, 1.0, 1.0])
    padded = [
        torch.cat([each * scale + 7, torch.full((100, 1), 3.0)], 1) for each in (features, test_features)
    ]
    plain = linear_probe(features, labels, test_features, test_labels)
    assert linear_probe(padded[0], labels, padded[1], test_labels) == plain


def test_refusals():
    features, labels = clusters(10, 0)
    with pytest.raises(ShapeError, match=r"linear_probe: features are \(10, 6\) and \(10, 5\)"):
        linear_probe(features, labels, features[:, :5], labels)
    with pytest.raises(ShapeError, match=r"labels \(9,\) and \(10,\)"):
        linear_probe(features, labels[:9], features, labels)
