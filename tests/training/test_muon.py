"""Muon against torch's own, and its iteration against singular values in float64."""

import pytest
import torch
from torch import nn

from convscope.training.muon import Muon, orthogonalised

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(64, 216), (128, 1152), (300, 20), (1, 7), (7, 1)])
def test_the_iteration_moves_singular_values_alone(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values /= values.norm()
    for _ in range(5):
        values = COEFFICIENTS[0] * values + COEFFICIENTS[1] * values**3 + COEFFICIENTS[2] * values**5
    torch.testing.assert_close(orthogonalised(matrix), (left * values @ right).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_against_torch(nesterov):
    """bfloat16 has 8 bits: each of torch's updates is off by about a hundredth."""
    draw = torch.Generator().manual_seed(2)
    starts = [torch.randn(shape, generator=draw) for shape in ((32, 288), (64, 16))]
    ours, theirs = ([nn.Parameter(each.clone()) for each in starts] for _ in range(2))
    options = {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.01, "nesterov": nesterov}
    optimizers = Muon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(5):
        gradients = [torch.randn(each.shape, generator=draw) for each in starts]
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for own, other, start in zip(ours, theirs, starts, strict=True):
        assert (own - other).norm() < 0.02 * (own - start).norm()
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    torch.testing.assert_close(*states)


def test_no_gradient_no_move_and_a_closure_is_called():
    still, moved = nn.Parameter(torch.eye(3)), nn.Parameter(torch.eye(3))
    optimizer = Muon([still, moved], lr=0.1)

    def closure():
        loss = moved.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    assert still.equal(torch.eye(3))
    assert not moved.equal(torch.eye(3))


def test_other_scales_are_refused():
    with pytest.raises(ValueError, match="adjust_lr_fn is None or \"original\", not 'match_rms_adamw'"):
        Muon([{"params": [nn.Parameter(torch.eye(2))], "adjust_lr_fn": "match_rms_adamw"}])
