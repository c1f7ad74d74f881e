"""GoogLeNet: figures, what it returns when, renormalised images, kernels."""

import pytest
import torch
from torch import nn

from convscope.errors import ShapeError, UsageError
from convscope.models import GoogLeNet, GoogLeNetOutputs, create_model, create_seeded_model, load_weights
from convscope.models.googlenet import Inception
from convscope.models.weights import save_weights
from convscope.trace import trace


@pytest.mark.parametrize(
    ("options", "num_params", "digest"),
    [
        ({}, 6_624_904, "1916c4319d7d4b1b"),
        ({"aux_logits": True}, 13_004_888, "36288e32499db2a7"),
        ({"true_5x5": True}, 7_005_832, None),
    ],
)
def test_figures_and_layout(measured, layout_digest, options, num_params, digest):
    found, macs = measured("googlenet", **options)
    assert found == num_params
    if digest:
        assert (layout_digest("googlenet", **options), macs) == (digest, 1_498_376_192)


def test_the_auxiliary_heads_cost_something_in_training_only(on_meta):
    network = on_meta("googlenet", aux_logits=True).train()
    assert trace(network, (2, 3, 224, 224)).macs == 2 * 1_506_748_416  # published: 1.507 G


def test_small_member(measured, on_meta):
    assert measured("googlenet_cifar") == (5_602_474, 452_175_872)
    maps = on_meta("googlenet_cifar").conv1(torch.empty(1, 3, 32, 32, device="meta"))
    assert maps.shape == (1, 64, 32, 32)


def test_outputs_in_training_and_in_evaluation():
    network, images = (
        create_seeded_model("googlenet", 0, num_classes=5, aux_logits=True),
        torch.randn(2, 3, 33, 40),
    )
    outputs = network(images)
    assert isinstance(outputs, GoogLeNetOutputs)
    assert [scores.shape for scores in outputs] == [(2, 5)] * 3
    sum(
        weight * scores.square().sum() for weight, scores in zip((1, 0.3, 0.3), outputs, strict=True)
    ).backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in network.parameters())
    with torch.no_grad():
        plain = create_model("googlenet", num_classes=5).eval()
        state = {key: value for key, value in network.state_dict().items() if not key.startswith("aux")}
        plain.load_state_dict(state, strict=True)
        torch.testing.assert_close(network.eval()(images), plain(images))
        assert isinstance(plain.train()(images), torch.Tensor)


def test_each_auxiliary_head_reads_its_own_maps():
    """The earlier head must not depend on what comes between the two."""
    network, images = (
        create_seeded_model("googlenet", 0, aux_logits=True, dropout_aux=0.0),
        torch.randn(2, 3, 33, 40),
    )
    before = network(images)
    with torch.no_grad():
        network.inception4b.branch1.bn.bias += 1
    after = network(images)
    assert before.aux_logits1.equal(after.aux_logits1)
    assert not before.aux_logits2.equal(after.aux_logits2)


def test_weights_with_auxiliary_heads_fit_a_network_without(tmp_path):
    one = create_seeded_model("googlenet", 1, num_classes=3, aux_logits=True)
    save_weights(one, tmp_path / "w.safetensors")
    other = create_model("googlenet", num_classes=3)
    load_weights(other, tmp_path / "w.safetensors", optional=("aux1", "aux2"))
    assert other.fc.weight.equal(one.fc.weight)


def test_transform_input_takes_imagenets_normalisation_back():
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    photo = torch.rand(2, 3, 40, 36)
    plain = create_seeded_model("googlenet", 0).eval()
    transformed = create_seeded_model("googlenet", 0, transform_input=True).eval()
    assert plain.state_dict().keys() == transformed.state_dict().keys()
    with torch.no_grad():
        normalised = (photo - mean[:, None, None]) / std[:, None, None]
        torch.testing.assert_close(transformed(normalised), plain(2 * photo - 1), rtol=1e-3, atol=1e-4)


def test_the_branch_called_5x5():
    for true_5x5, size in ((False, 3), (True, 5)):
        module = Inception(8, 1, 2, 3, 4, 5, 6, true_5x5)
        sizes = [conv.kernel_size[0] for conv in module.modules() if isinstance(conv, nn.Conv2d)]
        assert sizes == [1, 1, 3, 1, size, 1]
        assert module(torch.zeros(2, 8, 4, 3)).shape == (2, 15, 4, 3)


def test_smallest_image():
    network = create_model("googlenet").eval()
    with torch.no_grad():
        network(torch.zeros(1, 3, 15, 20))
        with pytest.raises(
            ShapeError, match=r"GoogLeNet: an image of 20x14 pixels is too small; give at least 15x15"
        ):
            network(torch.zeros(1, 3, 20, 14))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: GoogLeNet(dropout_aux=1), "GoogLeNet: dropout_aux is 1; it must be at least 0 and below 1."),
        (
            lambda: GoogLeNet(in_channels=1, transform_input=True),
            "GoogLeNet: transform_input renormalises red, green and blue; in_channels is 1.",
        ),
        (lambda: GoogLeNet(stem="imagnet"), "GoogLeNet: unknown stem 'imagnet': did you mean 'imagenet'?"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(text)
