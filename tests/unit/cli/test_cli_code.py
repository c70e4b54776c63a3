"""Code listings, symbols, BTF records and `top`'s tables, without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from probee.btf import BtfBuilder
from probee.cli import btf_raw, top
from probee.cli.code import Source
from probee.cli.kallsyms import KernelSymbols
from probee.cli.owners import fdinfo
from probee.cli.xlated import Listing, as_json, graph, jump_target, lines
from probee.isa.asm import assemble
from probee.sys.details import ProgDetails

SYMBOLS = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 T __bpf_call_base
ffffffff81000105 T bpf_ktime_get_ns
ffffffffc0000000 t bpf_prog_1_sub\t[bpf]
broken line
"""


def details(code: str, ksyms: list[int] | None = None) -> ProgDetails:
    info = ProgDetails(bytes(232), {})
    info.xlated = bytes(assemble(code))
    info.ksyms = ksyms or []
    return info


@pytest.fixture
def symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelSymbols:
    path = tmp_path / "kallsyms"
    path.write_text(SYMBOLS)
    found = KernelSymbols(str(path))
    monkeypatch.setattr("probee.cli.xlated.KernelSymbols", lambda: found)
    return found


def test_symbols_by_address(symbols: KernelSymbols) -> None:
    assert symbols.call_base == 0xFFFFFFFF81000100
    assert symbols.name(0xFFFFFFFF81000105) == "bpf_ktime_get_ns"
    assert symbols.name(0xFFFFFFFFC0000000) == "bpf_prog_1_sub"
    assert symbols.name(0xFFFFFFFF81000106) == symbols.name(0) == ""
    assert symbols.near(0xFFFFFFFF81000003) == "_stext+0x3"
    assert symbols.near(0xFFFFFFFF81000105) == "bpf_ktime_get_ns"
    assert symbols.near(5) == ""


def test_hidden_symbols_are_none(tmp_path: Path) -> None:
    (tmp_path / "hidden").write_text("0000000000000000 T _stext\n0000000000000000 T __bpf_call_base\n")
    hidden = KernelSymbols(str(tmp_path / "hidden"))
    assert (hidden.call_base, hidden.name(0), hidden.near(100)) == (0, "", "")
    absent = KernelSymbols(str(tmp_path / "absent"))
    assert (absent.call_base, absent.near(100)) == (0, "")


CODE = """
    r1 = map_fd(0x7, 0x0) ll
    call 5
    if r0 == 0 goto +2
    r0 = 1
    goto +1
    r0 = 2
    exit
"""


def test_the_kernels_syntax_with_names(symbols: KernelSymbols) -> None:
    listing = Listing(details(CODE))
    assert [listing.text(at) for at, _ in listing] == [
        "(18) r1 = map[id:7]",
        "(85) call bpf_ktime_get_ns#5",
        "(15) if r0 == 0x0 goto pc+2",
        "(b7) r0 = 1",
        "(05) goto pc+1",
        "(b7) r0 = 2",
        "(95) exit",
    ]
    first, second, *_ = as_json(listing, opcodes=True, linum=False)
    assert first["opcodes"]["imm"] == ["0x07"] + ["0x00"] * 11
    assert second["opcodes"] == {
        "code": "0x85",
        "src_reg": "0x0",
        "dst_reg": "0x0",
        "off": ["0x00", "0x00"],
        "imm": ["0x05", "0x00", "0x00", "0x00"],
    }
    text = list(lines(listing, opcodes=False, linum=False))
    assert text[2].startswith("   3: (15) if r0 == 0x0 goto pc+2")
    assert text[2].endswith("; to 6")


def test_calls_of_functions_of_the_program(symbols: KernelSymbols) -> None:
    info = details("call pc+0x1\nexit\nr0 = 0\nexit", [0xFFFFFFFF81000000, 0xFFFFFFFFC0000000])
    code = bytearray(info.xlated)
    code[2:4] = (1).to_bytes(2, "little")  # the kernel keeps the distance in `off`, the number in `imm`
    info.xlated = bytes(code)
    assert Listing(info).text(0) == "(85) call pc+1#bpf_prog_1_sub"
    info.ksyms = []
    assert Listing(info).text(0) == "(85) call pc+1"


def test_the_graph_has_each_block_and_edge(symbols: KernelSymbols) -> None:
    dot = list(graph(Listing(details(CODE)), linum=False, opcodes=False))
    assert dot[0].startswith("digraph")
    assert dot[-1] == "}"
    edges = sorted(line.split("[")[0].strip(" ;\t") for line in dot if "->" in line)
    assert edges == ["b0 -> b4", "b0 -> b6", "b4 -> b7", "b6 -> b7"]


def test_jumps() -> None:
    insns = Listing(details("gotol +5\nmay_goto +2\nexit\ncall 5")).insns
    assert [jump_target(at, insn) for at, insn in enumerate(insns)] == [6, 4, None, None]


def test_code_that_is_none(symbols: KernelSymbols) -> None:
    info = details("exit")
    info.xlated = b"\xff" * 8
    assert Listing(info).text(0) == "(ff) ???"


def test_records_of_btf_as_bpftool_writes_them() -> None:
    b = BtfBuilder()
    number = b.int_("int", 4, 1)
    b.struct("s", 4, [("low", number, 0, 3), ("", number, 3, 29)])
    b.enum64("big", [("A", 1 << 40)])
    variable = b.var("v", number)
    b.datasec(".data", 4, [(variable, 0, 4)])
    b.fwd("f", union=True)
    btf = b.btf()
    assert "\n".join(btf_raw.text(btf, t) for t in btf.own_types()).splitlines() == [
        "[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED",
        "[2] STRUCT 's' size=4 vlen=2",
        "\t'low' type_id=1 bits_offset=0 bitfield_size=3",
        "\t'(anon)' type_id=1 bits_offset=3 bitfield_size=29",
        "[3] ENUM64 'big' encoding=UNSIGNED size=8 vlen=1",
        "\t'A' val=1099511627776ULL",
        "[4] VAR 'v' type_id=1, linkage=global",
        "[5] DATASEC '.data' size=4 vlen=1",
        "\ttype_id=4 offset=0 size=4 (VAR 'v')",
        "[6] FWD 'f' fwd_kind=union",
    ]


def program(id: int, name: str, runs: int, ns: int) -> top.Program:
    info = ProgDetails(bytes(232), {})
    info.id, info.run_count, info.run_time_ns = id, runs + 100, ns + 1000
    return top.Program(info, name, (100, 1000), 2.0)


PROGRAMS = [
    program(1, "beta", 10, 20_000_000),
    program(2, "alpha", 1000, 1_000_000),
    program(3, "gamma", 0, 0),
]


def test_top_counts_what_came_in_between() -> None:
    one = PROGRAMS[0]
    assert (one.cpu, one.events, one.per_run) == (1.0, 5.0, 2_000_000)
    assert PROGRAMS[2].per_run == 0
    assert one.json()["run_cnt"] == 110


@pytest.mark.parametrize(
    ("sort", "order"),
    [("cpu", [1, 2, 3]), ("events", [2, 1, 3]), ("run", [1, 2, 3]), ("name", [2, 1, 3]), ("id", [1, 2, 3])],
)
def test_top_sorts(sort: str, order: list[int]) -> None:
    assert [p.id for p in top.ordered(PROGRAMS, sort)] == order


def test_tops_table_fits_the_screen() -> None:
    lines = top.frame(PROGRAMS, "cpu", 60, 5)
    assert len(lines) == 5
    assert lines[-1] == "… and 1 more"
    assert all(len(line) <= 60 for line in lines)
    assert "3 programs, 1.05% of a CPU, 505 events/s  by CPU" in top.frame(PROGRAMS, "cpu", 100, 5)[0]


def test_what_others_name_their_things_does_not_move_the_cursor() -> None:
    one = program(9, "evil", 1, 1)
    one.owners = [(7, "a\x1b[2Jb")]
    assert "\x1b" not in "".join(top.frame([one], "cpu", 0, 0))
    assert "\x1b" not in Source("f.c", 1, 0, "x\x1b[2J").words(True)


def test_fdinfo_of_what_is_gone_is_empty() -> None:
    assert fdinfo("/proc/self/fdinfo/99999") == {}
    assert "flags" in fdinfo("/proc/self/fdinfo/0")
