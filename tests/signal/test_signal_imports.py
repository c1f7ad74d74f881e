"""`import convscope.signal` costs NumPy and no more."""

import subprocess
import sys

import numpy as np

import convscope.signal

LOADED = "import sys; print([name for name in ('torch', 'scipy', 'matplotlib') if name in sys.modules])"


def loaded_after(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}; {LOADED}"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_arrays_never_load_torch():
    use = (
        "import convscope.signal as s; s.convolve([1, 2], [3, 4], method='fft'); s.rect().convolve(s.ramp())"
    )
    assert loaded_after(use) == "[]"


def test_the_check_can_fail():
    assert loaded_after("import convscope.signal, matplotlib") == "['matplotlib']"


def test_every_exported_name_exists_and_says_what_it_does():
    assert len(set(convscope.signal.__all__)) == len(convscope.signal.__all__)
    for name in convscope.signal.__all__:
        assert getattr(convscope.signal, name).__doc__, name


def test_a_result_never_shares_memory_with_an_argument():
    f = np.ones(3)
    for kernel in ([1.0], [1.0, 0.0]):
        assert not np.shares_memory(convscope.signal.convolve(f, kernel, "same"), f)
