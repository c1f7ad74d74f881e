"""Telling traces which module is at work, from where every module is called."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn

__all__ = ["Watcher", "watching_modules"]


class Watcher(Protocol):
    """What is told of module calls in its thread."""

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Note that a module begins."""

    def leave(self, module: nn.Module, output: Any) -> None:
        """Note that it has returned, its own hooks included."""


_LOCK = threading.Lock()
_PLAIN = nn.Module.__call__
_HERE = threading.local()
_users = 0


def _call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    watchers: tuple[Watcher, ...] = getattr(_HERE, "watchers", ())
    for watcher in watchers:
        watcher.enter(module, args)
    output = _PLAIN(module, *args, **kwargs)
    for watcher in watchers:
        watcher.leave(module, output)
    return output


@contextmanager
def watching_modules(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher of the module calls of this thread.

    `nn.Module.__call__` is replaced while any trace runs, as `torch.fx` does, and put back by the last one. Hooks
    would do as well, but make every module take torch's slow way.
    """
    global _users
    with _LOCK:
        _users += 1
        nn.Module.__call__ = _call
    before: tuple[Watcher, ...] = getattr(_HERE, "watchers", ())
    _HERE.watchers = (*before, watcher)
    try:
        yield
    finally:
        _HERE.watchers = before
        with _LOCK:
            _users -= 1
            if not _users:
                nn.Module.__call__ = _PLAIN
