"""Published weights on real photographs. Fetches both: `make test-data` runs this, `make test` does not."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.data
@pytest.mark.timeout(900)
def test_mobilenet_names_at_least_17_of_20_photographs_and_the_cat():
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "imagenet_twenty.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" right ") >= 17
    assert "of 20, top-5" in done.stdout.splitlines()[-1]
