"""Tests of what only some kernels have: skipped by the name of what is missing, never by a version."""

from __future__ import annotations

import pytest

from probee.kernel.features import ask


def needs(*features: str) -> None:
    """Skip the test unless the running kernel has all of these features (of `probee.kernel.features`)."""
    for name in features:
        answer = ask(name)
        if not answer:
            pytest.skip(f"this kernel lacks {name}: {answer.detail or answer.reason}")
