"""Addresses of processes as names."""

from __future__ import annotations

import ctypes
import os

import pytest

from probee.errors import AttachError
from probee.symbols.stacks import Frame, ProcessSymbols


def test_own_functions() -> None:
    address = ctypes.cast(ctypes.CDLL(None).getpgid, ctypes.c_void_p).value
    assert address is not None
    with ProcessSymbols(os.getpid()) as symbols:
        first, inside, nowhere = symbols.names([address, address + 3, 5])
        assert first.split("+")[0].split(" ")[0].lstrip("_") == "getpgid"
        assert inside.split(" ")[0].endswith("+0x3")
        assert "(libc" in first
        assert nowhere == "0x5"
        assert symbols.at(address) is symbols.at(address)
        symbols.refresh()
        assert symbols.names([address]) == [first]
    symbols.close()


def test_frames_in_words() -> None:
    assert str(Frame(0x10)) == "0x10"
    assert str(Frame(0x10, "/lib/x.so", 0x20)) == "x.so+0x20"
    assert str(Frame(0x10, "/lib/x.so", 0x20, "f", 0)) == "f (x.so)"
    assert str(Frame(0x10, "/lib/x.so", 0x20, "f", 4)) == "f+0x4 (x.so)"


def test_no_process() -> None:
    with pytest.raises(AttachError, match="no process"):
        ProcessSymbols(4194305)
