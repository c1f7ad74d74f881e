"""The linear probe against softmax regression by scipy."""

import numpy as np
import pytest
import torch
from scipy import optimize, special

from convscope.errors import ShapeError
from convscope.experiments import linear_probe


def clusters(count, seed, features=6, classes=3, noise=2.0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, features)) * 2
    labels = rng.integers(0, classes, count)
    values = centres[labels] + rng.normal(size=(count, features)) * noise
    return torch.from_numpy(values).float(), torch.from_numpy(labels)


def regression(features, labels, test_features, strength):
    """What scipy's minimum of the same function says of the test rows."""
    values, test_values = features.double().numpy(), test_features.double().numpy()
    mean, deviation = values.mean(0), values.std(0)
    values, test_values = (values - mean) / deviation, (test_values - mean) / deviation
    classes, width = int(labels.max()) + 1, values.shape[1]

    def penalised(flat):
        weights, biases = flat[: width * classes].reshape(width, classes), flat[width * classes :]
        said = special.log_softmax(values @ weights + biases, axis=1)
        excess = (np.exp(said) - np.eye(classes)[labels.numpy()]) / len(values)
        slope = np.concatenate([(values.T @ excess + strength * weights).ravel(), excess.sum(0)])
        return -said[np.arange(len(values)), labels.numpy()].mean() + strength / 2 * (weights**2).sum(), slope

    flat = optimize.minimize(penalised, np.zeros((width + 1) * classes), jac=True, method="L-BFGS-B").x
    weights, biases = flat[: width * classes].reshape(width, classes), flat[width * classes :]
    return (test_values @ weights + biases).argmax(1)


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_against_scipys_minimum(strength):
    features, labels = clusters(200, 0)
    test_features, test_labels = clusters(300, 1)
    expected = (regression(features, labels, test_features, strength) == test_labels.numpy()).mean()
    found = linear_probe(features, labels, test_features, test_labels, strengths=(strength,))
    assert (found.accuracy, found.strength) == (pytest.approx(expected, abs=1.1 / 300), strength)
    assert found.accuracy > (0.6 if strength < 1 else 0.3)


def test_the_strength_is_chosen_on_the_last_training_rows_alone():
    features, labels = clusters(60, 0, features=20, noise=5.0)
    test_features, test_labels = clusters(300, 1, features=20, noise=5.0)
    strengths = (10.0, 0.3, 1e-3)
    right = [
        (regression(features[:45], labels[:45], features[45:], each) == labels[45:].numpy()).sum()
        for each in strengths
    ]
    assert right[0] < max(right)
    found = linear_probe(features, labels, test_features, test_labels, strengths=strengths, held_out=0.25)
    assert found.strength == strengths[int(np.argmax(right))]
    other = linear_probe(features, labels, test_features, 2 - test_labels, strengths=strengths, held_out=0.25)
    assert other.strength == found.strength
    expected = (regression(features, labels, test_features, found.strength) == test_labels.numpy()).mean()
    assert found.accuracy == pytest.approx(expected, abs=1.1 / 300)


def test_scale_and_constant_features_do_not_matter():
    (features, labels), (test_features, test_labels) = clusters(100, 0), clusters(100, 1)
    scale = torch.tensor([1e-3, 1.0, 50.0, 2.0, 1.0, 1.0])
    padded = [
        torch.cat([each * scale + 7, torch.full((100, 1), 3.0)], 1) for each in (features, test_features)
    ]
    plain = linear_probe(features, labels, test_features, test_labels)
    found = linear_probe(padded[0], labels, padded[1], test_labels)
    assert found.accuracy == pytest.approx(plain.accuracy, abs=0.011)
    assert found.strength == plain.strength


def test_refusals():
    features, labels = clusters(10, 0)
    with pytest.raises(ShapeError, match=r"linear_probe: features are \(10, 6\) and \(10, 5\)"):
        linear_probe(features, labels, features[:, :5], labels)
    with pytest.raises(ShapeError, match=r"labels \(9,\) and \(10,\)"):
        linear_probe(features, labels[:9], features, labels)
