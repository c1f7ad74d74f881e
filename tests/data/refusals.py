"""How every refusal must look: the right class and exit code, one line, the call first, the words that matter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from convscope.errors import ConvscopeError


@contextlib.contextmanager
def refused(error: type[ConvscopeError], call: str, *words: str, exit_code: int) -> Iterator[None]:
    with pytest.raises(error) as caught:
        yield
    text = str(caught.value)
    assert type(caught.value) is error
    assert caught.value.exit_code == exit_code
    assert text.startswith(f"{call}: ")
    assert text.isprintable(), f"more than one line, or control characters: {text!r}"
    assert text.endswith(".")
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in {text!r}"
