"""Results show themselves in a notebook; how they look is the report's business."""

from __future__ import annotations

import importlib

__all__ = ["Shown"]


class Shown:
    """A result that a notebook renders; the report, which stands further right, is looked up when it is asked."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return the result as HTML, every text in it escaped."""
        return importlib.import_module("convscope.report.notebook").html_of(self)
