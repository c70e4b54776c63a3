"""The disassembler prints what llvm-objdump prints: every opcode and compiled C, in both byte orders."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from probee.isa import assemble
from probee.isa import insn as i_
from probee.isa.asm import AssemblyError
from probee.isa.disasm import disassemble, disassemble_insns
from probee.isa.insn import Insn, decode, encode
from probee.obj.elf import Elf

VERSIONS = (22, 21, 20, 19)


def _tool(name: str) -> str:
    for version in VERSIONS:
        found = shutil.which(f"{name}-{version}")
        if found:
            return found
    pytest.skip(f"{name} {VERSIONS[-1]} or newer is not installed")


def _clang() -> str:
    return _tool("clang")


TARGETS = {"little": "bpfel", "big": "bpfeb"}
_LINE = re.compile(r"\s*[0-9a-f]+:\t([0-9a-f ]+)\t(.*)")


def _objdump(path: Path, section: str) -> list[tuple[bytes, str]]:
    """The instructions of a section: bytes and text without the name of a branch's target."""
    run = subprocess.run(
        [_tool("llvm-objdump"), "-d", "-j", section, str(path)], capture_output=True, text=True, check=True
    )
    out = []
    for line in run.stdout.splitlines():
        m = _LINE.match(line)
        if m:
            text = re.sub(r" <[^ <>]+>$", "", m[2]).replace("\t", " ").strip()
            out.append((bytes.fromhex(m[1]), text))
    assert out, run.stdout
    return out


def _ours_as_llvm(text: str) -> str:
    """LLVM does not say whether a call is one of a subprogram."""
    return re.sub(r"^call pc([+-])", lambda m: "call -" if m[1] == "-" else "call ", text)


def _samples() -> list[Insn]:
    fields = [
        (1, 2, 0, 0),
        (1, 0, 0, 5),
        (1, 0, -5, -7),
        (1, 2, 8, 0),
        (1, 2, 16, 0),
        (1, 2, 32, 0),
        (1, 2, 1, 0),
        (1, 0, 1, 9),
        (3, 0, 0, 16),
        (4, 0, 0, 32),
        (5, 0, 0, 64),
        (6, 10, 0x7FFF, 0),
        (7, 0, -0x8000, -0x80000000),
        (0, 0, 9, 0),
        (0, 0, 0, 0x7FFFFFFF),
        (9, 0, 0, 0),
        (0, 6, 0, 0),
        (0, 0, 0, 0),
        (1, 2, 1, 0x10003),
    ]
    out = [Insn(op, *f) for op in range(256) if op != i_.LD_IMM64 for f in fields]
    atomics = [0, 1, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE0, 0xE1, 0xF0, 0xF1, 0x100, 0x110, 2, 0x10, 0x101]
    out += [Insn(op, 1, 2, -8, imm) for op in (0xC3, 0xDB, 0xCB, 0xD3) for imm in atomics]
    return out


@pytest.mark.parametrize("endian", TARGETS)
def test_every_opcode(tmp_path: Path, endian: str) -> None:
    samples = _samples()
    rows = [encode([n], endian) for n in samples]
    rows.append(encode([Insn(i_.LD_IMM64, 3, 0, 0, -2), Insn(0, imm=0x11223344)], endian))
    source, obj = tmp_path / "all.s", tmp_path / "all.o"
    source.write_text(".text\n" + "".join(f".byte {','.join(map(str, row))}\n" for row in rows))
    command = [_clang(), "-target", TARGETS[endian], "-c", str(source), "-o", str(obj)]
    subprocess.run(command, check=True)
    known = 0
    for code, theirs in _objdump(obj, ".text"):
        ours = disassemble(code, endian=endian)[0]
        if not ours.startswith(".8byte"):
            if ("skb[r" in ours and "+" in ours) or "kfunc" in ours:
                continue  # LLVM drops these fields
            known += 1
            assert _ours_as_llvm(ours) == theirs, code.hex()
        elif theirs != "<unknown>":
            # LLVM overlooks bits in reserved fields. Without them its text would be a valid instruction's.
            try:
                again = assemble(theirs, endian=endian)
            except AssemblyError:
                continue
            assert again != code, f"{theirs} is an instruction we do not know: {code.hex()}"
    assert known > 900


SOURCE = """
typedef unsigned long long u64; typedef unsigned int u32;
typedef unsigned short u16; typedef unsigned char u8;
struct ctx { long a; int b; short c; signed char d; u8 text[40]; };
static long (*lookup)(void *, const void *) = (void *)1;
extern int kernel_thing(long) __attribute__((section(".ksyms")));
static __attribute__((noinline)) long twice(long x, long y) { return x * 2 + (y ^ x); }
__attribute__((section("tp/x"))) long prog(struct ctx *c)
{
    long r = twice(c->a, c->b) + c->c - c->d;
    u64 big = 0x1122334455667788ull;
    for (int i = 0; i < 40; i++)
        r += c->text[i] ^ (big >> (i & 31));
    if (c->b > 7) r /= 3; else r %= 5;
    c->c = __builtin_bswap16(c->c);
    c->b = __builtin_bswap32((u32)c->b) << 3;
    c->a = ~r - (r >> 63);
    __sync_fetch_and_add(&c->a, 4);
    if (lookup(c, &big)) r |= 0xff00ff;
    return r & 0x7fffffff;
}
"""


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize("endian", TARGETS)
def test_compiled_c(tmp_path: Path, endian: str, cpu: str) -> None:
    source, obj = tmp_path / "prog.c", tmp_path / "prog.o"
    # Unsigned division only below v4, which brought the signed one.
    text = SOURCE if cpu == "v4" else SOURCE.replace("long r =", "u64 r =")
    source.write_text(text)
    command = [_clang(), "-target", TARGETS[endian], f"-mcpu={cpu}", "-O2", "-c", str(source), "-o", str(obj)]
    subprocess.run(command, check=True)
    elf = Elf(obj.read_bytes())
    assert elf.endian == endian
    for name in (".text", "tp/x"):
        section = elf.section(name)
        assert section is not None
        ours = disassemble(section.data, endian=endian)
        theirs = _objdump(obj, name)
        assert [_ours_as_llvm(line) for line in ours] == [text for _, text in theirs]
        assert b"".join(code for code, _ in theirs) == bytes(section.data)


def test_llvm_assembles_our_text(tmp_path: Path) -> None:
    """The other direction: LLVM's assembler makes the same bytes of our lines."""
    texts, code = [], b""
    for n in _samples():
        line = disassemble_insns([n])[0]
        assert line is not None
        # LLVM's parser has other words for calls of functions, and no indirect packet loads with an offset.
        if line.startswith((".8byte", "call", "goto", "gotol", "if", "may_goto")) or "skb[r" in line:
            continue
        texts.append(line)
        code += encode([n])
    source, obj = tmp_path / "back.s", tmp_path / "back.o"
    source.write_text(".text\n" + "\n".join(texts) + "\n")
    command = [_clang(), "-target", "bpfel", "-mcpu=v4", "-c", str(source), "-o", str(obj)]
    subprocess.run(command, check=True)
    text = Elf(obj.read_bytes()).section(".text")
    assert text is not None
    assert len(texts) > 500
    for line, ours, theirs in zip(texts, decode(code), decode(text.data), strict=True):
        assert ours == theirs, line
