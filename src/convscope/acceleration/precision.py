"""The types that an accelerated network computes in."""

from typing import Literal

__all__ = ["Precision"]

Precision = Literal["auto", "fp32", "bf16"]
