"""Kernel symbols and ftrace's list: a small text of known content, garbage, and the running kernel's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.symbols import ftrace, glob
from probee.symbols.ftrace import Traceable
from probee.symbols.kallsyms import KernelSymbols

TEXT = b"""\
ffffffff81000000 T _text
ffffffff81000000 T startup_64
ffffffff81001000 t read_one
ffffffff81001040 t read_one
ffffffff81001080 T read_two
ffffffff82000000 D jiffies
ffffffffc0001000 t nf_hook\t[nf_tables]
ffffffffc0000000 t bpf_prog_0123456789abcdef_x\t[bpf]
"""


def test_names_and_modules() -> None:
    symbols = KernelSymbols(TEXT)
    assert len(symbols) == 8
    assert [s.address for s in symbols.find("read_one")] == [0xFFFFFFFF81001000, 0xFFFFFFFF81001040]
    assert symbols.find("read") == symbols.find("") == symbols.find("one\nread") == []
    assert symbols.find("nf_hook", module="") == []
    assert symbols.find("nf_hook", module="nf_tables")[0].module == "nf_tables"
    assert symbols.address("jiffies") == 0xFFFFFFFF82000000
    assert symbols.address("absent") == 0
    assert symbols.modules() == ["bpf", "nf_tables"]
    assert not symbols.hidden


def test_patterns_find_functions_only() -> None:
    symbols = KernelSymbols(TEXT)
    assert [s.name for s in symbols.matching("read_*")] == ["read_one", "read_one", "read_two"]
    assert [s.name for s in symbols.matching("*_t?o")] == ["read_two"]
    assert [s.name for s in symbols.matching("*hook", module="nf_tables")] == ["nf_hook"]
    assert symbols.matching("jiff*") == symbols.matching("read") == []


def test_addresses_become_names() -> None:
    symbols = KernelSymbols(TEXT)
    found = symbols.at(0xFFFFFFFF81001085)
    assert found is not None
    assert (found[0].name, found[1]) == ("read_two", 5)
    assert symbols.at(0xFFFFFFFF80FFFFFF) is None
    assert symbols.at(0xFFFFFFFFFFFFFFFF) is None
    assert symbols.names([0xFFFFFFFF81000000, 0xFFFFFFFFC0001010, 0x10]) == [
        "_text",
        "nf_hook+0x10 [nf_tables]",
        "0x10",
    ]


def test_hidden_addresses() -> None:
    symbols = KernelSymbols(re.sub(rb"(?m)^\w{16}", b"0" * 16, TEXT))
    assert symbols.hidden
    assert symbols.at(0xFFFFFFFF81000000) is None
    assert symbols.find("read_two")[0].address == 0


@given(st.binary(max_size=300) | st.text(" 0f\ntTx\t[]", max_size=80).map(str.encode))
def test_any_text_is_taken(text: bytes) -> None:
    symbols = KernelSymbols(text)
    symbols.find("x")
    symbols.matching("*x?")
    symbols.at(0xFF)
    assert symbols.modules() is not None


def test_the_running_kernel() -> None:
    symbols = KernelSymbols.read()
    assert len(symbols) > 10_000
    function = symbols.find("vfs_read")[0]
    assert "vfs_read" in {s.name for s in symbols.matching("vfs_rea?")}
    if symbols.hidden:
        pytest.skip("kernel.kptr_restrict hides addresses from this user")
    assert symbols.names([function.address + 1]) == ["vfs_read+0x1"]


def test_ftrace_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"do_one\ndo_two [mod]\n__ftrace_invalid_address___1\ndo_one\nlast"
    functions = Traceable(text)
    assert "do_one" in functions
    assert "do_two" in functions
    assert "last" in functions
    assert "do" not in functions
    assert "" not in functions
    assert functions.matching("do_*") == ["do_one", "do_two"]
    assert functions.matching("*") == ["do_one", "do_two", "last"]
    (tmp_path / "available_filter_functions").write_bytes(text)
    (tmp_path / "available_filter_functions_addrs").write_bytes(
        b"ff01 do_one\nff02 do_two [mod]\nxx do_one\n\n"
    )
    monkeypatch.setattr(ftrace.tracefs, "root", lambda: str(tmp_path))
    assert len(Traceable.read()) == 5
    assert ftrace.addresses({"do_one", "absent"}) == {"do_one": [0xFF01]}
    listed = tmp_path / "blacklist"
    listed.write_bytes(b"0xffffffff81000000-0xffffffff81000010\tdo_bad\n")
    monkeypatch.setattr(ftrace, "BLACKLISTS", (str(tmp_path / "no"), str(listed)))
    assert ftrace.blacklisted("do_bad")
    assert not ftrace.blacklisted("bad")
    monkeypatch.setattr(ftrace, "BLACKLISTS", (str(tmp_path / "no"),))
    assert not ftrace.blacklisted("do_bad")


@given(st.text("ab*?é", max_size=8), st.lists(st.text("abé", min_size=1, max_size=6), max_size=6))
def test_patterns_mean_what_a_plain_matcher_says(pattern: str, names: list[str]) -> None:
    plain = re.compile(
        "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern), re.DOTALL
    )
    expected = [name for name in names if plain.fullmatch(name)]
    matches = glob.name_regex(pattern).match
    assert [name for name in names if matches(b"before\0" + name.encode() + b"\0after", 7)] == expected
    assert all(glob.longest_literal(pattern).decode() in name for name in expected)
    assert [name for name in names if glob.text_regex(pattern).fullmatch(name)] == expected


def test_many_stars_stay_fast() -> None:
    assert not glob.name_regex("*a*a*a*a*a*a*b").match(b"a" * 20_000 + b"\0")
