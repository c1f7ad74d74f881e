"""Every result shows itself in a notebook, escaped."""

import re

import pytest
import torch
from torch import nn

import convscope as cs
from convscope.report.notebook import html_of


class Hostile(nn.Module):
    """Its layer has a name that would be markup."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"<script>alert(1)</script>": nn.Conv2d(3, 4, 3)})

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x)
        return x


@pytest.fixture(scope="module")
def found():
    torch.manual_seed(0)
    return cs.trace(Hostile(), torch.randn(1, 3, 9, 9))


def results(found):
    layer = next(name for name in found.layers if "script" in name)
    yield found
    yield found.receptive_field(layer)
    yield cs.inspection.summary(found)
    yield cs.explain(found, layer, (0, 1, 1), down=1)
    yield cs.inspection.audit(found.network, found)
    yield cs.feature_maps(found.network, found.given[0])[0]
    yield cs.inspection.filter_banks(found.network, [layer])[0]
    yield cs.inspection.confusion_matrix(torch.tensor([0, 1]), torch.tensor([1, 1]), ("<b>", "dog"))
    yield cs.geometry.Window(3).derivation(9)
    yield cs.geometry.window_facts(cs.geometry.Windows.of(1, 3), input_size=(9,))
    yield cs.explain_convolution(torch.ones(1, 3, 3), torch.ones(1, 1, 2, 2), at=(0, 0, 0))


def test_results_render_themselves(found):
    texts = [result._repr_html_() for result in results(found)]
    for text in texts:
        assert re.match(r"<(pre|img|svg)", text)
        assert "<script" not in text
        assert len(text) > 40
    assert any("data:image/png;base64," in text for text in texts)
    assert "108" not in texts[0]
    assert "112" in texts[0]  # 4 * 3 * 9 weights and 4 biases


def test_anything_else_is_text():
    assert html_of("<b>") == "<pre>&lt;b&gt;</pre>"
