"""Links: programs attached to hooks. One file for each family; `Link` is what they all give back."""

from __future__ import annotations

from probee.kernel.links.base import Link

__all__ = ["Link"]
