"""For tests and the examples in docstrings: temporary files go where pytest removes them; `auto` is one precision.

Numbers that are compared must not depend on whether this CPU has bfloat16 instructions; bf16 is tested by its name.
"""

import os
import sys
import tempfile

import pytest

os.environ["CONVSCOPE_PRECISION"] = "fp32"


@pytest.fixture(autouse=True, scope="session")
def temporary_folder(tmp_path_factory):
    before = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


@pytest.fixture(autouse=True)
def denormal_numbers():
    """What `accelerate` says of them to the whole process ends with the test; hypothesis, for one, draws some."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
