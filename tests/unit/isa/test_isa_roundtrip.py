"""Bytes, instructions and text turn into each other without loss, in both byte orders and dialects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared_data
from probee.errors import ObjectError
from probee.isa import assemble, disassemble
from probee.isa import insn as i_
from probee.isa.disasm import text_of
from probee.isa.insn import Insn, decode, encode

REG = st.integers(0, 10)
OFF = st.integers(-(1 << 15), (1 << 15) - 1)
IMM = st.integers(-(1 << 31), (1 << 31) - 1)
ENDIAN = st.sampled_from(["little", "big"])

ARITH = [i_.ADD, i_.SUB, i_.MUL, i_.DIV, i_.OR, i_.AND, i_.LSH, i_.RSH, i_.MOD, i_.XOR, i_.MOV, i_.ARSH]
JUMPS = [
    i_.JEQ, i_.JGT, i_.JGE, i_.JSET, i_.JNE, i_.JSGT, i_.JSGE, i_.JLT, i_.JLE, i_.JSLT, i_.JSLE,
]  # fmt: skip
SIZES = [i_.B, i_.H, i_.W, i_.DW]
RMW = [i_.ADD, i_.OR, i_.AND, i_.XOR]


def _insn(opcode: object, **fields: object) -> st.SearchStrategy[list[Insn]]:
    parts = {"opcode": opcode, **fields}
    as_strategies = {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in parts.items()}
    return st.builds(lambda **kw: [Insn(**kw)], **as_strategies)


def _code(*groups: list[int] | int) -> st.SearchStrategy[int]:
    """Any or-combination with one of each group."""
    out = st.just(0)
    for group in groups:
        choices = group if isinstance(group, list) else [group]
        out = st.tuples(out, st.sampled_from(choices)).map(lambda t: t[0] | t[1])
    return out


# Every instruction of RFC 9669 (all conformance groups) and those Linux added since.
VALID: dict[str, st.SearchStrategy[list[Insn]]] = {
    "arithmetic with immediate": _insn(_code([i_.ALU, i_.ALU64], ARITH), dst=REG, imm=IMM),
    "arithmetic with register": _insn(_code([i_.ALU, i_.ALU64], ARITH, i_.X), dst=REG, src=REG),
    "sdiv, smod with immediate": _insn(_code([i_.ALU, i_.ALU64], [i_.DIV, i_.MOD]), dst=REG, off=1, imm=IMM),
    "sdiv, smod with register": _insn(
        _code([i_.ALU, i_.ALU64], [i_.DIV, i_.MOD], i_.X), dst=REG, src=REG, off=1
    ),
    "neg": _insn(_code([i_.ALU, i_.ALU64], i_.NEG), dst=REG),
    "movsx": _insn(_code([i_.ALU, i_.ALU64], i_.MOV, i_.X), dst=REG, src=REG, off=st.sampled_from([8, 16])),
    "movsx from 32 bits": _insn(i_.ALU64 | i_.MOV | i_.X, dst=REG, src=REG, off=32),
    "addr_space_cast": _insn(i_.ALU64 | i_.MOV | i_.X, dst=REG, src=REG, off=1, imm=IMM),
    "byte swap": _insn(
        st.sampled_from([i_.ALU | i_.END, i_.ALU | i_.END | i_.X, i_.ALU64 | i_.END]),
        dst=REG,
        imm=st.sampled_from([16, 32, 64]),
    ),
    "jump if, immediate": _insn(_code([i_.JMP, i_.JMP32], JUMPS), dst=REG, off=OFF, imm=IMM),
    "jump if, register": _insn(_code([i_.JMP, i_.JMP32], JUMPS, i_.X), dst=REG, src=REG, off=OFF),
    "goto": _insn(i_.JMP | i_.JA, off=OFF),
    "gotol": _insn(i_.JMP32 | i_.JA, imm=IMM),
    "may_goto": _insn(i_.JMP | i_.JCOND, off=OFF),
    "gotox": _insn(i_.JMP | i_.JA | i_.X, dst=REG),
    "call of a helper or subprogram": _insn(i_.CALL_IMM, src=st.sampled_from([0, i_.PSEUDO_CALL]), imm=IMM),
    "call of a kernel function": _insn(i_.CALL_IMM, src=i_.PSEUDO_KFUNC_CALL, off=OFF, imm=IMM),
    "callx": _insn(i_.JMP | i_.CALL | i_.X, dst=REG),
    "exit": _insn(i_.EXIT_INSN),
    "load": _insn(_code(i_.LDX | i_.MEM, SIZES), dst=REG, src=REG, off=OFF),
    "load with sign": _insn(_code(i_.LDX | i_.MEMSX, SIZES[:3]), dst=REG, src=REG, off=OFF),
    "store": _insn(_code(i_.STX | i_.MEM, SIZES), dst=REG, src=REG, off=OFF),
    "store of an immediate": _insn(_code(i_.ST | i_.MEM, SIZES), dst=REG, off=OFF, imm=IMM),
    "packet, absolute": _insn(_code(i_.LD | i_.ABS, SIZES[:3]), imm=IMM),
    "packet, indirect": _insn(_code(i_.LD | i_.IND, SIZES[:3]), src=REG, imm=IMM),
    "atomic": _insn(
        _code(i_.STX | i_.ATOMIC, [i_.W, i_.DW]), dst=REG, src=REG, off=OFF, imm=_code(RMW, [0, 1])
    ),
    "exchange": _insn(
        _code(i_.STX | i_.ATOMIC, [i_.W, i_.DW]),
        dst=REG,
        src=REG,
        off=OFF,
        imm=st.sampled_from([i_.XCHG, i_.CMPXCHG]),
    ),
    "load_acquire, store_release": _insn(
        _code(i_.STX | i_.ATOMIC, SIZES),
        dst=REG,
        src=REG,
        off=OFF,
        imm=st.sampled_from([i_.LOAD_ACQUIRE, i_.STORE_RELEASE]),
    ),
    "wide immediate": st.builds(
        lambda dst, src, low, high: [Insn(i_.LD_IMM64, dst, src, 0, low), Insn(0, imm=high)],
        REG,
        st.integers(0, 6),
        IMM,
        IMM,
    ),
}


@pytest.mark.parametrize("group", VALID)
def test_each_instruction_survives_text(group: str) -> None:
    @settings(max_examples=30)
    @given(VALID[group], ENDIAN)
    def check(insns: list[Insn], endian: str) -> None:
        code = encode(insns, endian)
        assert decode(code, endian) == insns
        lines = disassemble(code, endian=endian)
        assert len(lines) == 1
        assert not lines[0].startswith("."), f"{insns} has no words"
        assert assemble(lines[0], endian=endian) == code

    check()


@pytest.mark.parametrize("group", [g for g in VALID if g != "wide immediate"])
def test_the_kernel_dialect_can_be_read_back(group: str) -> None:
    @settings(max_examples=20)
    @given(VALID[group])
    def check(insns: list[Insn]) -> None:
        code = encode(insns)
        assert assemble("\n".join(disassemble(code, dialect="kernel"))) == code

    check()


@given(st.binary(max_size=160).map(lambda b: b[: len(b) // 8 * 8]), ENDIAN)
def test_any_bytes_survive_text(code: bytes, endian: str) -> None:
    assert encode(decode(code, endian), endian) == code
    assert assemble("\n".join(disassemble(code, endian=endian)), endian=endian) == code


@given(st.integers(0, 255), REG, REG, OFF, IMM)
def test_both_dialects_agree_on_what_is_an_instruction(
    opcode: int, dst: int, src: int, off: int, imm: int
) -> None:
    insn = Insn(opcode, dst, src, off, imm)
    assert (text_of(insn) is None) == (text_of(insn, dialect="kernel") is None)


def test_a_cut_off_instruction_is_an_object_error() -> None:
    with pytest.raises(ObjectError, match="9 bytes of BPF code"):
        decode(bytes(9))


def test_encode_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="out of range"):
        encode([Insn(0xB7, 0, 0, 1 << 15, 0)])
    with pytest.raises(ValueError, match="registers are 4 bits"):
        encode([Insn(0xB7, 16)])


def test_every_conformance_vector_survives_text() -> None:
    vectors = json.loads(shared_data("conformance.json").read_text())
    assert len(vectors) > 300
    for vector in vectors:
        code = bytes.fromhex(vector["insns"])
        lines = disassemble(code)
        assert assemble("\n".join(lines)) == code, vector["name"]
        # The vectors use only valid instructions, so everything has words.
        assert not any(line.startswith(".8byte") for line in lines), (vector["name"], lines)
