"""Notes of USDT probes, and where their arguments are."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from elfwriter import BASE, Writer, note
from hypothesis import given
from hypothesis import strategies as st

from probee.errors import AttachError
from probee.kernel.links import usdt as links
from probee.symbols.elf import Elf
from probee.symbols.usdt import Probe, list_probes, probes_of
from probee.symbols.usdt_args import AARCH64, EM_AARCH64, EM_X86_64, X86_64, Argument, parse


def written(
    notes: list[tuple[int, int, int, bytes]], *, base: int = 0, wide: bool = True, order: str = "<"
) -> bytes:
    """A program with notes of (address, base, semaphore, texts)."""
    writer = Writer(wide=wide, order=order, machine=EM_X86_64)
    writer.section(".text", bytes(64))
    word = order + ("3Q" if wide else "3I")
    content = b"".join(note(b"stapsdt", 3, struct.pack(word, *n[:3]) + n[3], order) for n in notes)
    if base:
        writer.section(".stapsdt.base", b"\0")
    writer.section(".note.stapsdt", content, 7)
    return writer.bytes()


@pytest.mark.parametrize(("wide", "order"), [(True, "<"), (True, ">"), (False, "<"), (False, ">")])
def test_notes(wide: bool, order: str) -> None:
    notes = [
        (BASE + 0x90, 0, BASE + 0x88, b"shop\0sale\0-4@%eax 8@$5\0"),
        (BASE + 0x80, 0, 0, b"shop\0none\0\0"),
        (BASE + 0x84, 0, 0, b"shop\0old\0:\0"),
        (5, 0, 0, b"shop\0nowhere\0\0"),
        (BASE, 0, 0, b"\0noprovider\0\0"),
        (BASE, 0, 0, b"noname\0"),
        (BASE, 0, 0, b""),
    ]
    with Elf("made", data=written(notes, wide=wide, order=order)) as elf:
        found = probes_of(elf)
    assert [(p.name, p.offset, p.semaphore, p.text) for p in found] == [
        ("none", 0x80, 0, ""),
        ("old", 0x84, 0, ""),
        ("sale", 0x90, 0x88, "-4@%eax 8@$5"),
    ]
    assert [a.type for a in found[2].arguments] == ["i32", "u64"]


def test_code_that_prelink_moved() -> None:
    data = written([(BASE + 0x90 - 0x1000, BASE - 0x1000, BASE + 0x98 - 0x1000, b"a\0b\0\0")], base=1)
    with Elf("made", data=data) as elf:
        base = elf.section(".stapsdt.base")
        assert base is not None
        (probe,) = probes_of(elf)
        moved = base.address - (BASE - 0x1000)
        assert (probe.address, probe.semaphore) == (BASE + 0x90 - 0x1000 + moved, 0x98 - 0x1000 + moved)


@given(st.binary(max_size=120), st.binary(max_size=60))
def test_broken_notes(content: bytes, value: bytes) -> None:
    for text in (
        content,
        note(b"stapsdt", 3, value),
        note(b"stapsdt", 3, struct.pack("<3Q", BASE, 0, 0) + value),
    ):
        writer = Writer(machine=EM_X86_64)
        writer.section(".note.stapsdt", text, 7)
        with Elf("made", data=writer.bytes()) as elf:
            for probe in probes_of(elf):
                links.encode(probe, probe.arguments[:12], 0, 304, "")


def facts(argument: Argument) -> tuple[object, ...]:
    if argument.kind == "constant":
        return argument.size, argument.signed, argument.value
    return (
        argument.size,
        argument.signed,
        argument.kind,
        argument.symbol or argument.register,
        argument.offset,
        argument.index and (argument.index, argument.scale),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-4@%eax", (4, True, "register", "eax", 0, "")),
        ("8@%r15", (8, False, "register", "r15", 0, "")),
        ("1@%ah", (1, False, "register", "ah", 0, "")),
        ("2@%r8w", (2, False, "register", "r8w", 0, "")),
        ("%rax", (8, False, "register", "rax", 0, "")),
        ("4@$71", (4, False, 71)),
        ("-8@$-9", (8, True, -9)),
        ("8@$0x7fffffffffffffff", (8, False, 0x7FFFFFFFFFFFFFFF)),
        ("-4@-20(%rbp)", (4, True, "memory", "rbp", -20, "")),
        ("8@(%rsp)", (8, False, "memory", "rsp", 0, "")),
        ("8@0x10(%rsp)", (8, False, "memory", "rsp", 16, "")),
        ("1@-96(%rbp,%rax,8)", (1, False, "indexed", "rbp", -96, ("rax", 8))),
        ("1@(%rbp,%rax)", (1, False, "indexed", "rbp", 0, ("rax", 1))),
        ("8@16(,%rax,1)", (8, False, "memory", "rax", 16, "")),
        ("-4@counter(%rip)", (4, True, "memory", "counter", 0, "")),
        ("-4@counter+8(%rip)", (4, True, "memory", "counter", 8, "")),
        ("-4@4+counter(%rip)", (4, True, "memory", "counter", 4, "")),
        ("-4@-4+counter(%rip)", (4, True, "memory", "counter", -4, "")),
    ],
)
def test_arguments_of_x86(text: str, expected: tuple[object, ...]) -> None:
    (found,) = parse(text, EM_X86_64)
    assert facts(found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "8f@%xmm0",
        "16@%xmm0",
        "3@%eax",
        "4@%nox",
        "4@$sym",
        "8@8(,%rax,8)",
        "4@sym",
        "4@%fs:8(%rax)",
        "4@-sym(%rip)",
    ],
)
def test_arguments_in_no_place_on_x86(text: str) -> None:
    (found,) = parse(text, EM_X86_64)
    assert not found.kind
    assert found.why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-4@x0", (4, True, "register", "x0", 0, "")),
        ("4@w19", (4, False, "register", "w19", 0, "")),
        ("8@sp", (8, False, "register", "sp", 0, "")),
        ("-4@5", (4, True, 5)),
        ("-4@#-5", (4, True, -5)),
        ("8@xzr", (8, False, 0)),
        ("-4@[sp, 96]", (4, True, "memory", "sp", 96, "")),
        ("-4@[sp,#-8]", (4, True, "memory", "sp", -8, "")),
        ("8@[x29]", (8, False, "memory", "x29", 0, "")),
        ("8@[x0, x1]", (8, False, "indexed", "x0", 0, ("x1", 1))),
        ("8@[x0, x1, lsl 3]", (8, False, "indexed", "x0", 0, ("x1", 8))),
    ],
)
def test_arguments_of_arm(text: str, expected: tuple[object, ...]) -> None:
    (found,) = parse(text, EM_AARCH64)
    assert facts(found) == expected


@pytest.mark.parametrize("text", ["8@d0", "8@[x0, w1, sxtw 2]", "8@[x0, :lo12:sym]", "8@x31", "8@"])
def test_arguments_in_no_place_on_arm(text: str) -> None:
    (found,) = parse(text, EM_AARCH64)
    assert not found.kind


def test_several_arguments() -> None:
    assert [a.text for a in parse(" -4@%eax  8@-8(%rbp,%rax,4) 4@$1 ", EM_X86_64)] == [
        "-4@%eax",
        "8@-8(%rbp,%rax,4)",
        "4@$1",
    ]
    assert [a.text for a in parse("8@[sp, 8] -4@5 8@[x0, x1, lsl 3]", EM_AARCH64)] == [
        "8@[sp, 8]",
        "-4@5",
        "8@[x0, x1, lsl 3]",
    ]
    assert [a.size for a in parse("%eax", EM_X86_64, 4)] == [4]
    assert parse("8@r3", 21)[0].why == "arguments of machine 21 are not known here"


@given(st.text("-0123456789@%$()[],+ raxwspclf.:#é\0", max_size=60))
def test_any_argument_text(text: str) -> None:
    for machine in (EM_X86_64, EM_AARCH64, 21):
        for argument in parse(text, machine):
            assert bool(argument.kind) != bool(argument.why)


def test_places_of_registers() -> None:
    assert (X86_64["rax"], X86_64["eax"], X86_64["ah"], X86_64["r15"], X86_64["di"]) == (80, 80, 81, 0, 112)
    assert (X86_64["sil"], X86_64["dil"], X86_64["bpl"], X86_64["bl"], X86_64["r8b"]) == (
        104,
        112,
        32,
        40,
        72,
    )
    assert (AARCH64["x30"], AARCH64["w2"], AARCH64["sp"]) == (240, 16, 248)


def probe(text: str) -> Probe:
    made = Probe("p", "n", text, "/x", 0x1000, 0x1000, 0, EM_X86_64, 8)
    made.symbols["counter"] = 0x5000
    return made


def test_specs_of_both_forms() -> None:
    """struct __bpf_usdt_spec, as clang lays it out for libbpf's header before and since 1.7."""
    text = "-4@%ecx 8@$-1 2@-8(%rbp) 8@8(%rbx,%rax,4) -4@counter(%rip) 8f@%xmm0"
    old = links.encode(probe(text), probe(text).arguments, 99, 208, "")
    new = links.encode(probe(text), probe(text).arguments, 99, 304, "")
    assert struct.unpack_from("<Qh", old, 192) == struct.unpack_from("<Qh", new, 288) == (99, 6)
    minus = (1 << 64) - 1
    assert [struct.unpack_from("<QIh?b", old, 16 * i) for i in range(6)] == [
        (0, 1, 88, True, 32),
        (minus, 0, 0, False, 0),
        (minus - 7, 2, 32, False, 48),
        (8, 255, 40, False, 0),
        (0x4000, 2, 128, True, 32),
        (0, 255, 0, False, 0),
    ]
    assert [struct.unpack_from("<QBxHxxh?b", new, 24 * i) for i in range(6)] == [
        (0, 1, 0, 88, True, 32),
        (minus, 0, 0, 0, False, 0),
        (minus - 7, 2, 0, 32, False, 48),
        (8, 3, 80 | 2 << 12, 40, False, 0),
        (0x4000, 2, 0, 128, True, 32),
        (0, 255, 0, 0, False, 0),
    ]
    with pytest.raises(AttachError, match="no version of libbpf's"):
        links.encode(probe(""), [], 0, 200, "")


def test_what_has_no_probes(tmp_path: Path) -> None:
    assert list_probes("/bin/ls") == []
    path = tmp_path / "text"
    path.write_text("text")
    with pytest.raises(AttachError, match="not an ELF file"):
        list_probes(str(path))
