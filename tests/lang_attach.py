"""Attaches programs that tests give as text, or skips with the name of what the kernel lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

import lang_module
import probee as bp
from probee.errors import (
    CompileError,
    LoadError,
    PermissionDenied,
    ProbeeError,
    Unsupported,
    VerifierError,
)

TEXT = """\
import probee as bp
from probee import *
from probee import u8, u16, u32, u64, i32, i64

out = bp.Array[u64](16)
counts = bp.Hash[u32, u64](64)

"""


def _lacks(error: ProbeeError, needs: str) -> bool:
    """Does the kernel lack what the program needs, or is there something wrong with it?"""
    if isinstance(error, (Unsupported, PermissionDenied)):
        return True
    if isinstance(error, CompileError):
        return "this kernel" in error.message
    if isinstance(error, LoadError):
        numbers = (1, 95, 524) if isinstance(error, VerifierError) else (1, 22, 95, 524)
        return error.errno in numbers
    return "kprobe" in needs and error.__cause__ is None


@contextmanager
def attaching(path: Path) -> Iterator[Callable[..., Any]]:
    """A function that attaches the programs of a module given as text; `values` are names in it.

    Everything is closed at the end. Where the kernel has no such programs, `needs` says what is skipped.
    """
    with ExitStack() as stack:

        def attach(text: str, needs: str = "", **values: object) -> tuple[Any, ModuleType]:
            above = "".join(f"{name} = {value!r}\n" for name, value in values.items())
            module = lang_module.make(TEXT + above + dedent(text), path)
            try:
                session = bp.attach(module, cache=False)
            except ProbeeError as error:
                if needs and _lacks(error, needs):
                    pytest.skip(f"this kernel has no {needs}: {error.args[0].splitlines()[0]}")
                raise
            stack.enter_context(session)
            return session, module

        yield attach


def outs(module: ModuleType, n: int = 8) -> list[int]:
    """The first elements of the array `out`."""
    return [module.out[i] for i in range(n)]
