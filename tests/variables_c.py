"""A C program with all sorts of local variables, compiled with DWARF 4 and 5."""

from __future__ import annotations

from c_compiler import compiled
from c_objects import clang

TEXT = """\
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(x) __attribute__((section(x), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) val *name
enum kind { SMALL, LARGE = 7 };
struct point { int x, y; unsigned lo:4, hi:12; union { u32 a; char b[4]; }; };
struct event { u32 pid; char comm[16]; enum kind kind; struct point at; u64 args[3]; const char *text; };
struct {
    __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, struct event);
} last SEC(".maps");
static void *(*lookup)(void *, const void *) = (void *)1;
static u64 (*get_pid)(void) = (void *)14;
static long (*comm)(void *, u32) = (void *)16;
u64 total;
static inline __attribute__((always_inline)) int classify(u32 pid, int limit)
{
    int twice = pid * 2;
    if (twice > limit)
        return LARGE;
    return SMALL;
}
static __attribute__((noinline)) u64 weigh(struct event *event, u32 factor)
{
    u64 sum = 0;
    for (int i = 0; i < 3; i++) {
        sum += event->args[i] * factor;
    }
    return sum;
}
SEC("raw_tp/sched_switch") int on_switch(u64 *ctx)
{
    u32 zero = 0;
    u64 id = get_pid();
    u32 pid = id >> 32;
    struct event *event = lookup(&last, &zero);
    if (!event)
        return 0;
    event->pid = pid;
    comm(event->comm, sizeof(event->comm));
    event->kind = classify(pid, 10);
    event->at.x = -5;
    event->at.hi = 9;
    event->args[1] = pid;
    u64 weight = weigh(event, 3);
    if (weight > 20)
        total += weight;
    return 0;
}
char _license[] SEC("license") = "GPL";
"""
LINES = {
    word: next(n for n, line in enumerate(TEXT.splitlines(), 1) if word in line)
    for word in ("int twice", "sum +=", "event->kind", "u64 weight", "if (weight", "if (!event)", "u64 id")
}


def compile_variables(version: int = 5) -> bytes:
    """The object; skips the test if there is no clang."""
    command = [clang(), "-O2", "-g", f"-gdwarf-{version}", "-target", "bpf", "-mcpu=v3"]
    command += ["-fdebug-compilation-dir=.", "-c", "variables.bpf.c", "-o", "variables.bpf.o"]
    return compiled(command, {"variables.bpf.c": TEXT}, "variables.bpf.o")
