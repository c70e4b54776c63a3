"""Kernel functions as the machine has them, by name, one module for each family."""

from __future__ import annotations

from . import basics, cpumasks, dynptrs, iterators, lists, network, objects, text, walks
from .objects import drop_fields
from .table import TABLE

__all__ = [
    "TABLE",
    "basics",
    "cpumasks",
    "drop_fields",
    "dynptrs",
    "iterators",
    "lists",
    "network",
    "objects",
    "text",
    "walks",
]
