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


@bp.raw_tracepoint("sys_enter")
def wrong_helper() -> None:
    totals[1] = 3
    totals[2] = bp.get_socket_cookie(0)


@pytest.mark.parametrize(
    ("program", "culprits", "cause"),
    [
        (endless, ("while bp.rand() != 7:", "n += bp.ktime_get_ns()"), "every turn of a loop"),
        (wrong_helper, ("totals[2] = bp.get_socket_cookie(0)",), "get_socket_cookie"),
    ],
)
def test_a_rejection_names_the_python_line(
    program: Any, culprits: tuple[str, ...], cause: str, request: pytest.FixtureRequest
) -> None:
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
    assert cause in error.cause
    assert str(error).startswith(f"{__file__}:{error.line}: the verifier refuses {program.name} at `")
    assert error.log
