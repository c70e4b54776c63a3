"""Programs written in Python that the verifier refuses: the report points at the Python line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import probee as bp
from probee import u32, u64
from probee.errors import VerifierError
from probee.kernel.load import load
from probee.lang import compile
from probee.obj import read_object

pytestmark = pytest.mark.root

totals = bp.Hash[u32, u64](16)


@bp.raw_tracepoint("sys_enter")
def endless() -> None:
    n = 0
    while bp.rand() != 7:
        n += bp.ktime_get_ns()
    totals[1] = n


def test_a_rejection_names_the_python_line() -> None:
    culprits = ("while bp.rand() != 7:", "n += bp.ktime_get_ns()")
    program: Any = endless
    spec = read_object(compile([program]), program.name)
    with pytest.raises(VerifierError) as caught:
        load(spec)
    error = caught.value
    function: Callable[..., Any] = program.fn
    lines, start = inspect.getsourcelines(function)
    wanted = {start + at: text.strip() for at, text in enumerate(lines) if text.strip() in culprits}
    assert error.file == __file__
    assert error.line in wanted
    assert error.source == wanted[error.line]
    assert "every turn of a loop" in error.cause
    assert str(error).startswith(f"{__file__}:{error.line}: the verifier refuses {program.name} at `")
    assert error.log
