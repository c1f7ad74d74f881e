"""`convscope audit`: text, JSON, exit code."""

import json

import pytest

from convscope.cli import audit
from convscope.errors import ConvscopeError, UsageError


def test_text(capsys):
    audit.run("lenet5")
    out = capsys.readouterr().out
    assert out.startswith("LeNet5 on 1x1x28x28: 1 warning\n\nwarning: dense-concentration\n")


def test_json_and_picture(capsys, tmp_path):
    from PIL import Image

    path = tmp_path / "grey.png"
    Image.new("L", (40, 30), 128).save(path)
    audit.run("lenet5", image=path, object_size=99, json=True)
    facts = json.loads(capsys.readouterr().out)
    assert "dead-units" in facts["checked"]
    assert [entry["kind"] for entry in facts["findings"]] == ["small-receptive-field", "dense-concentration"]
    assert facts["counts"] == {"error": 0, "warning": 2, "note": 0}


@pytest.mark.parametrize(
    ("limit", "fail_on", "fails"),
    [("1kB", "error", True), ("1kB", "never", False), ("1GB", "error", False), ("1GB", "warning", True)],
)
def test_exit_code(capsys, limit, fail_on, fails):
    if fails:
        with pytest.raises(ConvscopeError, match=r"audit: found .*--fail-on") as caught:
            audit.run("lenet5", memory_limit=limit, fail_on=fail_on)
        assert caught.value.exit_code == 1
    else:
        audit.run("lenet5", memory_limit=limit, fail_on=fail_on)
    assert "dense-concentration" in capsys.readouterr().out  # told before the exit


@pytest.mark.parametrize("text", ["huge", "2 G B", "-1", "", "1e9"])
def test_wrong_limits(text):
    with pytest.raises(UsageError, match=f"--memory-limit {text!r} is no size"):
        audit.run("lenet5", memory_limit=text)
