"""Kernel functions as the machine has them, by name, one module for each family."""

from __future__ import annotations

from . import basics, dynptrs, iterators, lists, objects, text
from .objects import drop_fields
from .table import TABLE

__all__ = ["TABLE", "basics", "drop_fields", "dynptrs", "iterators", "lists", "objects", "text"]
