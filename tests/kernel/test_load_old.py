"""What old kernels do not know of an object's types: maps keep theirs all the same, on every kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.kernel.features import have
from probee.kernel.load import load
from probee.kernel.sanitize import ABILITIES, abilities, sanitize
from probee.obj import ObjectSpec
from probee.sys import kernel as current_kernel

pytestmark = pytest.mark.root

# Everything that came into BTF after Linux 5.10, and what came shortly before.
ALL = """
enum big : u64 { HUGE = 1ull << 40 };
enum minus : int { LESS = -1 };
struct value {
    float f; double d; enum big b; enum minus m;
    int __attribute__((btf_type_tag("tagged"))) *p;
} __attribute__((btf_decl_tag("of the struct")));
HASH(seen, u32, struct value, 8);
u64 total __attribute__((btf_decl_tag("of the variable")));
const volatile u32 step = 1;
__attribute__((noinline)) int twice(int x) { asm volatile(""); return 2 * x; }
SEC("xdp") int tick(void *ctx) {
    struct value v = {}; u32 key = 1;
    v.b = HUGE; v.m = LESS;
    map_update(&seen, &key, &v, 0);
    total += step;
    return twice(1);
}
"""


def spec(tmp_path: Path) -> ObjectSpec:
    return object_from_c(tmp_path, ALL)


def test_maps_keep_their_types(tmp_path: Path) -> None:
    with load(spec(tmp_path)) as live:
        assert live.btf_error == ""
        for name in ("seen", ".bss", ".rodata"):
            assert live.maps[name].info().btf_id, name
        assert live.programs["tick"].info().btf_id
        assert live.programs["tick"].test_run(bytes(14)).retval == 2
        assert live.maps["seen"][1].b == 1 << 40
        assert live.maps["seen"][1].m == -1
        assert live.globals.total == 1


@pytest.mark.parametrize("first", range(len(ABILITIES)), ids=ABILITIES)
def test_the_kernel_takes_what_is_left(tmp_path: Path, first: int) -> None:
    """BTF for a kernel from before an ability is good BTF for one that has it."""
    btf = spec(tmp_path).btf
    assert btf is not None
    can = abilities() & set(ABILITIES[:first])
    kernel = current_kernel()
    kernel.close(kernel.btf_load(sanitize(btf.raw, can)))


def test_a_context_by_tag(tmp_path: Path) -> None:
    """A global function that takes the context: kernels before 6.8 go by its type."""
    text = """
    struct __sk_buff { u32 len; }; struct xdp_md { u32 data; };
    __attribute__((noinline)) int length(void *ctx __attribute__((btf_decl_tag("arg:ctx"))), int more)
    {
        asm volatile("");
        return ((struct __sk_buff *)ctx)->len + more;
    }
    SEC("tc") int f(struct __sk_buff *ctx) { return length(ctx, 3); }
    """
    with load(object_from_c(tmp_path, text)) as live:
        assert live.programs["f"].test_run(bytes(40)).retval == 43
    text = """
    static u64 (*func_ip)(void *) = (void *)173;
    __attribute__((noinline)) int address(void *ctx __attribute__((btf_decl_tag("arg:ctx"))))
    {
        asm volatile("");
        return func_ip(ctx) != 0;
    }
    SEC("kprobe/do_exit") int f(void *ctx) { return address(ctx); }
    SEC("perf_event") int g(void *ctx) { u64 (*cookie)(void *) = (void *)174; return cookie(ctx) != 0; }
    """
    if have("bpf_cookie"):
        with load(object_from_c(tmp_path, text)) as live:
            assert sorted(live.programs) == ["f", "g"]
