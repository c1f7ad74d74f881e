"""The HTML page escapes whatever it is given."""

import pytest

from convscope.report.html import Page

HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "</title><script>alert(1)</script>",
    "\"'><svg/onload=x>",
    "&lt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_every_slot_is_escaped(text):
    page = Page(text, text)
    page.section(text, text)
    page.paragraph(text)
    page.preformatted(text)
    page.picture(b"", text, text)
    page.table((text,), [(text,)])
    rendered = page.render()
    assert text not in rendered
    assert "<script" not in rendered
    assert "<svg" not in rendered
    assert rendered.count("<img") == 1


def test_the_policy_forbids_everything_else():
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in Page("t").render()
