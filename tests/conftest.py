"""The same terminal for every test, whatever the environment that runs them says of colours and widths."""

import pytest


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    for name in (
        "FORCE_COLOR",
        "NO_COLOR",
        "CLICOLOR",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
        "COLUMNS",
        "LINES",
    ):
        monkeypatch.delenv(name, raising=False)
