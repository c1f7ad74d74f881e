"""`convscope.geometry` is integers: importing it loads neither torch nor numpy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy")


def loaded_by(statement):
    """Which of HEAVY a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_geometry_loads_nothing_heavy():
    assert loaded_by("import convscope.geometry") == []


@pytest.mark.parametrize("name", HEAVY)
def test_the_test_above_can_fail(name):
    assert name in loaded_by(f"import convscope.geometry, {name}")
