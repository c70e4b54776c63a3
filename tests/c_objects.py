"""BPF objects from C text, for tests: compiled by whatever clang there is, without the system's headers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from probee.obj import ObjectSpec, read_object

CLANGS = ("clang-22", "clang-21", "clang-20", "clang-19", "clang")
_ARCH = {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

HEADER = r"""
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef int s32; typedef long long s64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define CORE __attribute__((preserve_access_index))
static void *(*map_lookup)(void *, const void *) = (void *)1;
static long (*map_update)(void *, const void *, const void *, u64) = (void *)2;
static u64 (*ktime)(void) = (void *)5;
static long (*printk)(const char *, u32, ...) = (void *)6;
static u32 (*random32)(void) = (void *)7;
static long (*tail_call)(void *, void *, u32) = (void *)12;
static u64 (*pid_tgid)(void) = (void *)14;
static long (*redirect)(u32, u64) = (void *)23;
static long (*probe_read_kernel)(void *, u32, const void *) = (void *)113;
static void *(*ringbuf_reserve)(void *, u64, u64) = (void *)131;
static void (*ringbuf_submit)(void *, u64) = (void *)132;
#define MAP(t, n, k, v) struct { __uint(type, t); __uint(max_entries, n); __type(key, k); __type(value, v); }
#define HASH(name, k, v, n) MAP(1, n, k, v) name SEC(".maps")
#define ARRAY(name, v, n) MAP(2, n, u32, v) name SEC(".maps")
#define RINGBUF(name, n) struct { __uint(type, 27); __uint(max_entries, n); } name SEC(".maps")
static inline void count(void *map, u32 key) {
    u64 one = 1, *old = map_lookup(map, &key);
    if (old) __sync_fetch_and_add(old, 1); else map_update(map, &key, &one, 0);
}
#if defined(__TARGET_ARCH_x86)
#define RETURN_VALUE(ctx) (((u64 *)(ctx))[10])
#else
#define RETURN_VALUE(ctx) (((u64 *)(ctx))[0])
#endif
char LICENSE[] SEC("license") = "GPL";
"""


def clang() -> str:
    """A clang that compiles for BPF; skips the test if there is none."""
    for name in CLANGS:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"needs clang (one of {', '.join(CLANGS)})")


def compile_c(directory: Path, text: str, name: str = "program", *, before: str = "") -> bytes:
    """The object file of C `text`, with debug information, for the machine's byte order.

    `before` goes in front of `text` without moving its lines.
    """
    header, source, output = (directory / f"{name}{suffix}" for suffix in (".h", ".bpf.c", ".bpf.o"))
    header.write_text(HEADER + before)
    source.write_text(text)
    command = [clang(), "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-D__TARGET_ARCH_{_ARCH}"]
    command += ["-include", header.name, "-c", source.name, "-o", output.name]
    subprocess.run(command, check=True, cwd=directory)
    return output.read_bytes()


def object_from_c(directory: Path, text: str, name: str = "program", *, before: str = "") -> ObjectSpec:
    """The same, read."""
    return read_object(compile_c(directory, text, name, before=before), name)
