"""The commonest causes of rejections, each by a program that a live kernel refuses: cause, line, advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.errors import VerifierError
from probee.kernel.features import have
from probee.kernel.load import load

pytestmark = pytest.mark.root

MAPS = """
HASH(values, u32, u64, 16);
RINGBUF(events, 4096);
struct row { u64 cell[8]; };
ARRAY(table, struct row, 1);
MAP(3, 4, u32, u32) programs SEC(".maps");
struct {
    __uint(type, 2); __uint(max_entries, 1); __type(key, u32); __type(value, u64); __uint(map_flags, 128);
} constants SEC(".maps");
struct bpf_spin_lock { u32 value; };
struct locked { u32 count; struct bpf_spin_lock lock; };
ARRAY(guarded, struct locked, 1);
static long (*spin_lock)(void *) = (void *)93;
static long (*spin_unlock)(void *) = (void *)94;
static long (*map_delete)(void *, const void *) = (void *)3;
static long (*loop)(u32, void *, void *, u64) = (void *)181;
static long (*dynptr_from_mem)(void *, u32, u64, void *) = (void *)197;
static long (*dynptr_read)(void *, u32, void *, u32, u64) = (void *)201;
struct bpf_dynptr { u64 words[2]; } __attribute__((aligned(8)));
"""

ROW = "u32 key = 0; struct row *row = map_lookup(&table, &key); if (!row) return 0;"
RAW_TP = 'SEC("raw_tp/sys_enter") int p(u64 *ctx) {'
XDP = 'SEC("xdp") int p(u32 *ctx) {'
ASM = 'SEC("raw_tp/sys_enter") __attribute__((naked)) int p(void) {'


class Case:
    def __init__(
        self,
        text: str,
        line: int,
        advice: str,
        *,
        kind: str = "verifier",
        register: tuple[str, str] | None = None,
        needs: str = "",
        before: str = "",
        before_5_12: str = "",
    ) -> None:
        self.text = text
        self.line = line
        self.advice = [advice, before_5_12] if before_5_12 else [advice]
        self.kind = kind
        self.register = register
        self.needs = needs
        self.before = before


CASES: dict[str, Case] = {
    "packet-bounds": Case(
        f"""{XDP}
        u8 *data = (void *)(long)ctx[0];
        return data[14]; }}""",
        3,
        "compare with the end of the packet first",
    ),
    "not-a-pointer": Case(
        f"""{RAW_TP}
        return *(u64 *)ctx[1]; }}""",
        2,
        "read kernel memory with probe_read_kernel",
        register=("r1", "any number"),
    ),
    "value-bounds": Case(
        f"""{RAW_TP} {ROW}
        u32 i = random32() & 15;
        return row->cell[i]; }}""",
        3,
        "may reach byte 128 of a value of 64; known there: ",
    ),
    "argument": Case(
        f"""{RAW_TP} u32 key = 1;
        return (long)map_lookup((void *)5, &key); }}""",
        2,
        "argument 1 of bpf_map_lookup_elem is ",
        register=("r1", "the number 5"),
    ),
    "unset-register": Case(
        f"""{RAW_TP} u64 r;
        asm volatile("%0 = r7" : "=r"(r));
        return r; }}""",
        2,
        "some path never set",
    ),
    "unbounded": Case(
        f"""{RAW_TP} {ROW}
        char text[16];
        u32 length = random32();
        return probe_read_kernel(text, length, row); }}""",
        4,
        "limit it first",
    ),
    "zero-size": Case(
        f"""{RAW_TP} {ROW}
        u64 length = random32() & 7;
        asm volatile("" : "+r"(length));
        return printk((void *)row, length & 7); }}""",
        4,
        "test that it is at least 1",
    ),
    "global-call": Case(
        """__attribute__((noinline)) int second(struct row *row) {
            return row ? row->cell[1] : 0; }
        SEC("raw_tp/sys_enter") int p(u64 *ctx) {
            return second((void *)ctx[1]); }""",
        4,
        "is verified by itself",
        before_5_12="a global function takes only numbers and the context",
    ),
    "maybe-null": Case(
        f"""{RAW_TP} u32 key = 1;
        u64 *value = map_lookup(&values, &key);
        *value += 1;
        return 0; }}""",
        3,
        "test the value for None (NULL) first",
        register=("r0", "a value of map values (8 bytes), or None"),
    ),
    "struct-access": Case(
        """SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            u64 *task = (void *)ctx[1];
            return task[4000]; }""",
        3,
        "struct task_struct ends before byte 32008",
        needs="tp_btf",
    ),
    "pointer-range": Case(
        f"""{RAW_TP} {ROW}
        u64 *cell = row->cell;
        asm volatile("%0 += 0x7fffffff" : "+r"(cell));
        return *cell; }}""",
        3,
        "bound the offset before it is added to the pointer",
    ),
    "pointer-arithmetic": Case(
        f"""{RAW_TP} {ROW}
        u64 *cell = row->cell;
        asm volatile("%0 &= 7" : "+r"(cell));
        return *cell; }}""",
        3,
        "only add numbers to a pointer",
    ),
    "helper": Case(
        f"""{RAW_TP}
        return redirect(1, 0); }}""",
        2,
        "bpf_redirect is not open to programs at this kind of hook",
    ),
    "license": Case(
        f"""{RAW_TP}
        return probe_read_kernel(ctx, 8, ctx); }}""",
        2,
        "set the licence to GPL",
        kind="license",
    ),
    "misaligned": Case(
        f"""{ASM}
        asm volatile("r1 = 0; *(u64 *)(r10 - 8) = r1; r0 = *(u32 *)(r10 - 7); r0 = 0; exit");
        }}""",
        2,
        "not aligned to its size of 4 bytes",
    ),
    "stack-bounds": Case(
        f"""{ASM}
        asm volatile("r1 = 0; *(u64 *)(r10 - 520) = r1; r0 = 0; exit");
        }}""",
        2,
        "the access lies outside the stack",
    ),
    "unset-stack": Case(
        f"""{RAW_TP} char text[16]; asm volatile("" : "+m"(text));
        return printk(text + 20, 16); }}""",
        2,
        "set the whole variable first",
    ),
    "context": Case(
        """SEC("tp/sched/sched_process_exec") int p(u64 *ctx) {
            return ctx[4000]; }""",
        2,
        "nothing a program may read at byte 32000",
        register=("r1", "the context"),
    ),
    "context-pointer": Case(
        f"""{XDP}
        asm volatile("%0 += 4" : "+r"(ctx));
        return ctx[1]; }}""",
        3,
        "keep the pointer as it is",
    ),
    "endless-loop": Case(
        f"""{RAW_TP}
        for (;;) asm volatile("" ::: "memory");
        return 0; }}""",
        2,
        "give the loop a bound",
    ),
    "too-complex": Case(
        f"""{RAW_TP} u64 sum = 0;
        for (u32 i = 0; i < 600000; i++) asm volatile("%0 += 1" : "+r"(sum));
        return sum; }}""",
        2,
        "up to 1,000,000 instructions",
    ),
    "stack-depth": Case(
        """__attribute__((noinline)) static u64 inner(u64 n) {
            volatile u64 large[60]; large[n & 31] = n; return large[3]; }
        SEC("tc") int p(u32 *ctx) {
            volatile u64 large[60]; large[ctx[0] & 31] = 1; return inner(large[2]); }""",
        0,
        "512 bytes of stack together",
    ),
    "map-kind": Case(
        f"""{RAW_TP} u32 key = 0;
        return map_delete(&programs, &key) + (long)map_lookup(&programs, &key); }}""",
        2,
        "maps of the kind prog_array can't be given to bpf_map_",
        kind="map",
    ),
    "map-flags": Case(
        f"""{RAW_TP} u32 key = 0; u64 *value = map_lookup(&constants, &key); if (!value) return 0;
        *value = 1;
        return 0; }}""",
        2,
        "create it without the flag",
        kind="map",
    ),
    "read-only": Case(
        """SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            u64 *task = (void *)ctx[1];
            task[4] = 5;
            return 0; }""",
        3,
        "copy it and change the copy",
        needs="tp_btf",
    ),
    "return-value": Case(
        """SEC("cgroup/dev") int p(u64 *ctx) {
            return 7; }""",
        2,
        "return one of those values on every path",
    ),
    "leak": Case(
        f"""{RAW_TP}
        u64 *event = ringbuf_reserve(&events, 8, 0);
        if (!event) return 0;
        if (random32())
            return 1;
        ringbuf_submit(event, 0);
        return 0; }}""",
        2,
        "not submitted, discarded or released on every path",
        needs="ringbuf",
    ),
    "lock": Case(
        """SEC("tc") int p(u32 *ctx) { u32 key = 0;
            struct locked *value = map_lookup(&guarded, &key); if (!value) return 0;
            spin_unlock(&value->lock);
            return 0; }""",
        3,
        "lock and unlock in pairs",
    ),
    "section": Case(
        """SEC("tc") int p(u32 *ctx) { u32 key = 0;
            struct locked *value = map_lookup(&guarded, &key); if (!value) return 0;
            spin_lock(&value->lock);
            value->count = ktime();
            spin_unlock(&value->lock);
            return 0; }""",
        4,
        "unlock before calls",
    ),
    "dynptr": Case(
        f"""{RAW_TP} {ROW}
        struct bpf_dynptr pointer; u64 word = 0;
        dynptr_read(&word, 8, &pointer, 0, 0);
        return word; }}""",
        3,
        "make it, use it and release it",
        needs="dynptr",
    ),
    "callback": Case(
        f"""static int each(u32 i, u64 *sum) {{
            return 5; }}
        {RAW_TP} u64 sum = 0;
            loop(10, each, &sum, 0);
            return sum; }}""",
        2,
        "return 0 or 1",
        needs="loop_helper",
    ),
    "division": Case(
        f"""{ASM}
        asm volatile("r0 = 5; r0 /= 0; exit");
        }}""",
        2,
        "divide by another number",
    ),
    "unknown-instruction": Case(
        f"""{ASM}
        asm volatile(".byte 0xdf, 0, 0, 0, 0, 0, 0, 0; r0 = 0; exit");
        }}""",
        2,
        "compile for an older instruction set",
    ),
    "control-flow": Case(
        f"""{ASM}
        asm volatile("r0 = 0; goto +1; r0 = 1; exit");
        }}""",
        2,
        "each path ends in a return",
    ),
    "missing-relocation": Case(
        """struct task_struct { int no_such_field; } CORE;
        SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            struct task_struct *task = (void *)ctx[1];
            return task->no_such_field; }""",
        4,
        "no_such_field",
        kind="core",
        needs="tp_btf",
    ),
    "spill": Case(
        f"""{ASM}
        asm volatile("*(u64 *)(r10 - 8) = r1; r0 = *(u32 *)(r10 - 8); r0 = 0; exit");
        }}""",
        2,
        "stored and read whole",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_named_with_line_and_advice(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    if case.needs and not have(case.needs):
        pytest.skip(f"this kernel has no {case.needs}")
    spec = object_from_c(tmp_path, case.text, before=MAPS)
    for unused in set(spec.maps) - set(re.findall(r"&(\w+)", case.text)):
        del spec.maps[unused]
    if case.kind == "license":
        spec.license = "Proprietary"
    with pytest.raises(VerifierError) as caught, load(spec):
        pass
    error = caught.value
    assert (error.cause_id, error.kind) == (name, case.kind), error.log[-2000:]
    assert any(advice in error.cause for advice in case.advice)
    assert error.fix
    assert error.log.strip()
    assert "\n" not in str(error)
    assert error.explanation is not None
    if error.explanation.insn >= 0:  # else it was found before the walk, and told without its place
        assert error.line == case.line
        assert error.source == case.text.splitlines()[case.line - 1].strip()
    if case.register:
        register, words = case.register
        named = " map=" in error.log or "(map=" in error.log or ",map=" in error.log  # Linux 6.9
        assert error.registers[register].words == (words if named else words.replace(" of map values", ""))


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 25
