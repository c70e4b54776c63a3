"""What the verifier refuses, and what we say of it: the line, what was known there, the cause."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.errors import VerifierError
from probee.kernel.load import load

pytestmark = pytest.mark.root

MAPS = """
HASH(values, u32, u64, 16);
RINGBUF(events, 4096);
struct row { u64 cell[8]; };
ARRAY(table, struct row, 1);
"""

# name -> (program, line of the culprit in it, what the cause must say, what was known; old logs don't
# name maps nor tell trusted pointers)
CASES = {
    "null value": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            u32 key = 1;
            u64 *value = map_lookup(&values, &key);
            *value += 1;
            return 0; }""",
        4,
        "finds nothing when the key is not in the map",
        r"value \(r0\) is a value( of map values)? \(8 bytes\), or None",
    ),
    "unbounded index": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            u32 key = 0; struct row *row = map_lookup(&table, &key);
            if (!row) return 0;
            u32 i = random32();
            return row->cell[i]; }""",
        5,
        "no bound",
        r"a value( of map table)? \(64 bytes\) plus 0 to 34359738360 bytes",
    ),
    "index off by some": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            u32 key = 0; struct row *row = map_lookup(&table, &key);
            if (!row) return 0;
            u32 i = random32() & 15;
            return row->cell[i]; }""",
        5,
        "may reach byte 128 of a value of 64",
        "plus 0 to 120 bytes",
    ),
    "endless loop": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            for (;;) asm volatile("" ::: "memory");
            return 0; }""",
        2,
        "saw no end",
        "",
    ),
    "context": (
        """SEC("tp/sched/sched_process_exec") int p(u64 *ctx) {
            return ctx[4000]; }""",
        2,
        "nothing a program may read at byte 32000",
        r"ctx \(r1\) is the context",
    ),
    "unset register": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            u64 r;
            asm volatile("%0 = r7" : "=r"(r));
            return r; }""",
        3,
        "some path never set",
        "",
    ),
    "outside the stack variable": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            char text[16]; asm volatile("" : "+m"(text));
            return printk(text + 20, 16); }""",
        3,
        "never written",
        "the stack at",
    ),
    "helper": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            return redirect(1, 0); }""",
        2,
        "bpf_redirect is not open to programs at this kind of hook",
        "",
    ),
    "packet": (
        """SEC("xdp") int p(u32 *ctx) {
            u8 *data = (void *)(long)ctx[0];
            return data[14]; }""",
        3,
        "packet may be shorter",
        "0 bytes are checked",
    ),
    "leak": (
        """SEC("raw_tp/sys_enter") int p(void *ctx) {
            u64 *event = ringbuf_reserve(&events, 8, 0);
            if (!event) return 0;
            if (random32())
                return 1;
            ringbuf_submit(event, 0);
            return 0; }""",
        2,
        "not submitted, discarded or released on every path",
        "",
    ),
    "number as pointer": (
        """SEC("raw_tp/sys_enter") int p(u64 *ctx) {
            return *(u64 *)ctx[1]; }""",
        2,
        "probe_read_kernel",
        "r1 is any number",
    ),
    "read only": (
        """SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            u64 *task = (void *)ctx[1];
            task[4] = 5;
            return 0; }""",
        3,
        "only be read",
        "",
    ),
    "beyond a struct": (
        """SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            u64 *task = (void *)ctx[1];
            return task[4000]; }""",
        3,
        "struct task_struct ends before byte 32008",
        "a (trusted )?pointer to task_struct",
    ),
    "argument": (
        """SEC("raw_tp/sys_enter") int p(u64 *ctx) {
            u32 key = 1;
            return (long)map_lookup((void *)5, &key); }""",
        3,
        "argument 1 of bpf_map_lookup_elem is",
        "r1 is the number 5",
    ),
    "missing kfunc": (
        """extern void bpf_no_such_kfunc(void) __attribute__((section(".ksyms"), weak));
        SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            bpf_no_such_kfunc();
            return 0; }""",
        3,
        "this kernel has no kfunc bpf_no_such_kfunc",
        "",
    ),
    "missing field": (
        """struct task_struct { int no_such_field; } CORE;
        SEC("tp_btf/sched_switch") int p(u64 *ctx) {
            struct task_struct *task = (void *)ctx[1];
            return task->no_such_field; }""",
        4,
        "no_such_field",
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rejection_names_line_and_cause(tmp_path: Path, name: str) -> None:
    text, line, cause, known = CASES[name]
    spec = object_from_c(tmp_path, text, before=MAPS)
    with pytest.raises(VerifierError) as caught:
        load(spec)
    error = caught.value
    assert cause in error.cause
    assert re.search(known, error.cause)
    assert Path(error.file).name == "program.bpf.c"
    assert error.line == line
    assert error.source == text.splitlines()[line - 1].strip()
    assert error.program == "p"
    assert error.errno
    assert "\n" not in str(error)
    assert f"program.bpf.c:{line}: the verifier refuses p" in str(error)
    assert "processed" in error.log


def test_the_log_grows_by_itself(tmp_path: Path) -> None:
    text = """SEC("raw_tp/sys_enter") int p(void *ctx) {
        u64 sum = 0;
        for (int i = 0; i < 3000; i++)
            sum ^= ktime();
        return *(u64 *)sum; }"""
    with pytest.raises(VerifierError) as caught:
        load(object_from_c(tmp_path, text))
    log = caught.value.log
    assert len(log) > 64 * 1024
    assert "\n0: " in "\n" + log[:500]  # what was said first is there too
    assert log.rstrip().splitlines()[-1].startswith("processed ")
