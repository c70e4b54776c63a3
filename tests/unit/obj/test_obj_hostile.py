"""Whatever the bytes, reading, linking and listing end in a result or an ObjectError, and soon."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_obj_reader import sample

from probee.errors import ObjectError
from probee.obj import read_object
from probee.obj.listing import listing

SOURCE = """
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
char LICENSE[] SEC("license") = "GPL";
struct event { int pid; char comm[16]; };
struct { __uint(type, 1); __uint(max_entries, 100); __type(key, int); __type(value, struct event); } h
    SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } rb SEC(".maps");
struct task { struct task *parent; int tgid; unsigned flag:3; } __attribute__((preserve_access_index));
static void *(*lookup)(void *map, const void *key) = (void *)1;
static long (*each)(void *map, void *fn, void *ctx, long flags) = (void *)164;
long total; const volatile int limit = 3; static int calls;
extern int bpf_thing(struct task *t) SEC(".ksyms");
static __attribute__((noinline)) int sub(int x) { calls++; return x * limit; }
static long cb(void *m, void *k, void *v, void *c) { total++; return 0; }
__attribute__((noinline)) int global_sub(int x) { return sub(x) + sub(x + 1); }
SEC("tp/x/y") int prog(struct task *t)
{
    int key = t->parent->tgid;
    if (lookup(&h, &key) || lookup(&rb, &key)) each(&h, cb, 0, 0);
    return global_sub(key) + __builtin_preserve_field_info(t->flag, 0) + bpf_thing(t);
}
"""


def read_all(data: bytes) -> None:
    try:
        spec = read_object(data)
    except ObjectError:
        return
    for program in spec.programs:
        try:
            for _ in listing(spec, program):
                pass
        except ObjectError:
            pass


@pytest.fixture(scope="module", params=["written little", "written big", "clang bpfel", "clang bpfeb"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    kind, endian = request.param.split()
    if kind == "written":
        return sample(endian).build()
    clang = next((c for v in (22, 21, 20, 19) if (c := shutil.which(f"clang-{v}"))), None)
    if clang is None:
        pytest.skip("clang 19 or newer is not installed")
    folder: Path = tmp_path_factory.mktemp("c")
    (folder / "x.c").write_text(SOURCE)
    command = [clang, "-target", endian, "-g", "-O2", "-c", "x.c", "-o", "x.o"]
    subprocess.run(command, cwd=folder, check=True)
    strip = shutil.which(clang.replace("clang", "llvm-strip"))
    if strip:  # without DWARF, mutations hit what matters
        subprocess.run([strip, "-g", "x.o"], cwd=folder, check=True)
    return (folder / "x.o").read_bytes()


def test_the_unchanged_object_is_sound(good: bytes) -> None:
    spec = read_object(good)
    assert len(spec.programs) == 1
    for name in spec.programs:
        assert len(list(listing(spec, name))) > 10


VALUE = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
CHANGE = st.tuples(st.floats(0, 1, exclude_max=True), VALUE, st.sampled_from([1, 2, 4, 8]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)
@given(changes=st.lists(CHANGE, min_size=1, max_size=6))
def test_changed_bytes(good: bytes, changes: list[tuple[float, int, int]]) -> None:
    data = bytearray(good)
    for where, value, width in changes:
        at = int(where * len(data))
        data[at : at + width] = bytes([value]) * len(data[at : at + width])
    read_all(bytes(data))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)
@given(field=st.integers(0, 9), section=st.integers(0, 40), value=st.integers(0, (1 << 64) - 1))
def test_changed_section_headers(good: bytes, field: int, section: int, value: int) -> None:
    data = bytearray(good)
    order = "little" if data[5] == 1 else "big"
    start = int.from_bytes(data[40:48], order)  # type: ignore[arg-type]
    count = int.from_bytes(data[60:62], order)  # type: ignore[arg-type]
    offset, width = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)][
        field
    ]
    at = start + section % count * 64 + offset
    data[at : at + width] = (value >> (64 - 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    read_all(bytes(data))


@settings(max_examples=50, deadline=2000)
@given(st.binary(max_size=300))
def test_noise_after_the_magic(noise: bytes) -> None:
    read_all(b"\x7fELF\x02\x01\x01" + noise)
