"""The photograph that ships with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["cat", "cat_path"]


def cat() -> np.ndarray:
    """Return the photograph of the cat Chelsea, (300, 451, 3) uint8.

    CC0, by Stefan van der Walt; see `packaged/CREDITS.md`.

    Example:
        >>> cat().shape
        (300, 451, 3)
    """
    from convscope.data.decode import decode_image

    return decode_image(cat_path())


def cat_path() -> Path:
    """Return where the photograph lies, for everything that wants a file.

    Example:
        >>> cat_path().name
        'cat.png'
    """
    return Path(__file__).parent / "packaged" / "cat.png"
