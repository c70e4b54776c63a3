"""Verifier logs of several kernels, and what is read out of them."""

from __future__ import annotations

import struct

import pytest

from probee.verifier.explain import LineTable, explain, words_for

NEW = """\
arg#0 reference type('UNKNOWN ') size cannot be determined: -22
0: R1=ctx() R10=fp0
; runs[1] += 1 @ execsnoop.py:12
4: (18) r1 = 0xffff8881043ed000       ; R1=map_ptr(map=runs,ks=4,vs=8)
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=runs,ks=4,vs=8)
; runs[1] += 1 @ execsnoop.py:13
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

# Linux 5.10: comments without a place, states in lines of their own, inv for scalar
OLD = """\
func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; v = m.get(1)
0: (b4) w1 = 1
1: R1_w=inv1 R10=fp0
1: (85) call bpf_map_lookup_elem#1
2: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0
; v.count += 1
2: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

LEAK = """\
4: (85) call bpf_ringbuf_reserve#131          ; R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) refs=2
11: (56) if w1 != 0x0 goto pc+4 16: R0=1 R6=ringbuf_mem(ref_obj_id=2,sz=8) R10=fp0 refs=2
16: (95) exit
Unreleased reference id=2 alloc_insn=4
BPF_EXIT instruction in main prog would lead to reference leak
processed 17 insns (limit 1000000) max_states_per_insn 0 total_states 2 peak_states 2 mark_read 0
"""


class Strings:
    """Stands for a BTF: only its strings are asked for."""

    def __init__(self) -> None:
        self.texts = [""]

    def add(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts) - 1

    def string(self, offset: int) -> str:
        return self.texts[offset]


def table(
    *lines: tuple[int, int, str], file: str = "/home/me/execsnoop.py", endian: str = "little"
) -> LineTable:
    strings = Strings()
    name = strings.add(file)
    order = "<" if endian == "little" else ">"
    raw = b"".join(
        struct.pack(order + "IIII", insn, name, strings.add(text), line << 10 | 5)
        for insn, line, text in lines
    )
    return LineTable(raw, strings, endian)  # type: ignore[arg-type]


def test_the_place_comes_from_the_line_info() -> None:
    found = explain(NEW, table((0, 12, "first"), (7, 13, "    runs[1] += 1"), (9, 14, "later")))
    assert found.place is not None
    assert (found.place.file, found.place.line, found.place.column) == ("/home/me/execsnoop.py", 13, 5)
    assert found.place.source == "runs[1] += 1"
    assert found.insn == 7
    assert found.last_words == "R0 invalid mem access 'map_value_or_null'"
    assert found.known == "r0 is a value of map runs (8 bytes), or None"
    assert found.message("on_exec") == (
        "/home/me/execsnoop.py:13: the verifier refuses on_exec at `runs[1] += 1`: R0 invalid mem access "
        "'map_value_or_null' (a look-up finds nothing when the key is not in the map; known there: "
        "r0 is a value of map runs (8 bytes), or None; test the value for None (NULL) first)"
    )


def test_without_line_info_the_comment_serves() -> None:
    found = explain(NEW)
    assert found.place is not None
    assert (found.place.file, found.place.line) == ("execsnoop.py", 13)


def test_lines_without_number_belong_to_the_one_before() -> None:
    place = table((0, 12, "first"), (3, 0, ""), (9, 14, "later")).at(5)
    assert place is not None
    assert place.line == 12
    assert table((4, 12, "first")).at(1) is None
    assert LineTable(b"", None).at(0) is None


def test_big_endian_line_info() -> None:
    place = table((0, 12, "first"), endian="big").at(3)
    assert place is not None
    assert (place.line, place.source) == (12, "first")


def test_the_log_of_an_old_kernel() -> None:
    found = explain(OLD, table((0, 3, "v = m.get(1)"), (2, 4, "v.count += 1")))
    assert found.place is not None
    assert found.place.line == 4
    assert found.known == "r0 is a value (8 bytes), or None"
    assert "finds nothing" in found.cause


def test_a_leak_is_shown_where_it_was_taken() -> None:
    found = explain(LEAK, table((0, 3, "with events.reserve() as e:"), (10, 8, "return 1")))
    assert found.place is not None
    assert found.place.line == 3
    assert "the way out without it is at line 8: `return 1`" in found.cause
    assert found.known == ""


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("R1 unbounded memory access, make sure to bounds check any such access", "no bound"),
        ("R2 min value is negative, either use unsigned index or do a if (index >=0) check.", "no bound"),
        ("invalid access to map value, value_size=64 off=120 size=8", "may reach byte 128 of a value of 64"),
        ("invalid access to map value, value_size=64 off=-40 size=8", "begin 40 bytes before"),
        ("back-edge from insn 9 to 4", "every turn of a loop"),
        ("infinite loop detected at insn 2", "every turn of a loop"),
        ("BPF program is too large. Processed 1000001 insn", "every turn of a loop"),
        ("The sequence of 8193 jumps is too complex.", "each branch in a loop doubles"),
        ("invalid bpf_context access off=32000 size=8", "at byte 32000, 8 bytes wide"),
        ("R7 !read_ok", "r7 holds nothing there"),
        ("invalid indirect read from stack R2 off -8+4 size 8", "never written"),
        ("invalid read from stack R1 off=4 size=16", "never written"),
        ("combined stack size of 2 calls is 544. Too large", "512 bytes"),
        ("program of this type cannot use helper bpf_redirect#23", "bpf_redirect is not open"),
        ("unknown func bpf_redirect#23", "bpf_redirect is not open"),
        ("cannot call GPL-restricted function from non-GPL compatible program", "licence"),
        ("invalid func unknown#195896080", "CO-RE relocation failed"),
        ("R1 invalid mem access 'scalar'", "not a pointer"),
        ("R1 invalid mem access 'inv'", "not a pointer"),
        ("R1 type=scalar expected=map_ptr", "argument 1 of the function is scalar, it wants map_ptr"),
        ("only read is supported", "only be read"),
        ("write into map forbidden, value_size=4 off=0 size=4", "only be read"),
        ("access beyond struct task_struct at off 32000 size 8", "ends before byte 32008"),
        ("invalid access to packet, off=14 size=1, R1(id=0,off=14,r=0)", "packet may be shorter"),
        ("unknown opcode e6", "does not know the instruction"),
        ("At program exit the register R0 has smin=7 smax=7 should have been in [0, 1]", "a value in [0, 1]"),
        ("something nobody has seen before", ""),
    ],
)
def test_common_verdicts_have_a_cause(words: str, cause: str) -> None:
    log = f"0: R1=ctx() R10=fp0\n5: (95) exit\n{words}\nprocessed 9 insns (limit 1000000)\n"
    found = explain(log)
    assert found.last_words == words
    assert cause in found.cause
    assert bool(cause) == bool(found.cause)


def test_a_verdict_without_a_walk_is_put_at_the_loop() -> None:
    log = "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns\n"
    found = explain(log, table((0, 1, "a"), (5, 9, "while x:"), (8, 11, "b")), None, [6])
    assert found.place is not None
    assert found.place.line == 9
    assert "every turn of a loop" in found.cause
    assert "walks every path" in explain(log, None, None, []).cause


def test_what_was_missing_for_co_re_is_said() -> None:
    log = "0: R1=ctx() R10=fp0\n3: (85) call unknown#195896080\ninvalid func unknown#195896080\n"
    found = explain(log, None, {3: "struct task_struct has no field ppid"})
    assert found.cause == "struct task_struct has no field ppid"
    assert "hasattr" in found.fix


def test_a_verdict_before_the_walk_names_its_instruction() -> None:
    found = explain("unreachable insn 5\nprocessed 0 insns\n", table((0, 1, "a"), (5, 9, "while True:")))
    assert found.place is not None
    assert found.place.line == 9


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("scalar()", "any number"),
        ("scalar(smin=0,smax=umax=0xf,var_off=(0x0; 0xf))", "a number from 0 to 15"),
        ("scalar(smin=smin32=-5,smax=smax32=3)", "a number from -5 to 3"),
        ("scalar(id=3+0)", "any number"),
        ("5", "the number 5"),
        ("0x2b3bb7", "the number 2833335"),
        ("fp-16", "the stack at -16"),
        ("ctx()", "the context"),
        ("map_ptr(map=h,ks=4,vs=8)", "a map (h)"),
        ("map_value(map=a,ks=4,vs=64,smin=0,umax=120)", "a value of map a (64 bytes) plus 0 to 120 bytes"),
        ("ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8)", "a ring buffer record of 8 bytes, or None"),
        ("trusted_ptr_task_struct()", "a trusted pointer to task_struct"),
        ("untrusted_ptr_file()", "an untrusted pointer to file"),
        ("ptr_or_null_sock(id=1)", "a pointer to sock, or None"),
        ("pkt(r=14)", "a pointer into the packet of which 14 bytes are checked"),
        ("something_new(x=1)", "something_new(x=1)"),
    ],
)
def test_register_states_in_words(state: str, words: str) -> None:
    assert words_for(state) == words


@pytest.mark.parametrize("log", ["", "\n\n", "no such format at all", "0: (", "R1=", "; \n; @ :x"])
def test_other_texts_do_no_harm(log: str) -> None:
    assert "refuses p" in explain(log).message("p")


RELEASED = """\
5: (55) if r0 != 0x0 goto pc+1       ; R0=ringbuf_mem(ref_obj_id=2,sz=32) refs=2
7: (bf) r6 = r0         ; R0=ringbuf_mem(ref_obj_id=2,sz=32) R6=ringbuf_mem(ref_obj_id=2,sz=32) refs=2
9: (85) call bpf_ringbuf_submit#132   ;
10: (b4) w1 = 3                       ; R1=3
11: (63) *(u32 *)(r6 +4) = r1
R6 invalid mem access 'scalar'
processed 11 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_memory_that_was_given_back() -> None:
    found = explain(RELEASED)
    assert found.id == "not-a-pointer"
    assert "given back by bpf_ringbuf_submit" in found.cause
    assert found.fix == "use it before it is given back"
    assert found.known == "r6 is no pointer any more"
    again = explain(RELEASED.replace("11: (63)", "10: (b7) r6 = 5    ; R6=5\n11: (63)"))
    assert "given back" not in again.cause


CALLBACK = """\
15: (b4) w0 = 2                       ; frame1: R0=2 cb
16: (25) if r3 > 0x64 goto pc+1 18: frame1: R0=2 R1=scalar(smin=0,var_off=(0x0; 0xffffffff)) R2=fp[0]-8 cb
18: (95) exit
At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]
"""


def test_states_with_semicolons_are_read_whole() -> None:
    found = explain(CALLBACK)
    assert found.known == "r0 is the number 2"
    assert found.registers["r2"].words == "the stack at -8"


def test_a_place_on_the_stack_that_varies() -> None:
    words = words_for("fp(off=-16,smin=smin32=0,smax=umax=smax32=umax32=31,var_off=(0x0; 0x1f))")
    assert words == "the stack at -16 plus 0 to 31 bytes"
    assert words_for("fp-16(smin=0,smax=31)") == words
