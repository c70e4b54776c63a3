"""Many kprobes by one link: patterns, names, addresses, cookies, returns, sessions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, LoadError, Unsupported
from probee.kernel.features import have
from probee.kernel.link_info import KprobeMultiLink
from probee.kernel.load import Collection, load

pytestmark = pytest.mark.root

TEXT = r"""
static u64 (*cookie)(void *) = (void *)174;
HASH(calls, u64, u64, 4096);
const volatile u32 self;
static inline void note(void *ctx) {
    u64 key = cookie(ctx), one = 1, *old;
    if (pid_tgid() >> 32 != self) return;
    old = map_lookup(&calls, &key);
    if (old) *old += 1; else map_update(&calls, &key, &one, 0);
}
SEC("kprobe.multi/__x64_sys_get*pgid") int enter(void *ctx) { note(ctx); return 0; }
SEC("kretprobe.multi/__x64_sys_getpgid") int leave(void *ctx) { note(ctx); return 0; }
"""

SESSION = r"""
extern _Bool bpf_session_is_return(PARAMETER) __attribute__((section(".ksyms")));
u64 starts, returns;
const volatile u32 self;
SEC("kprobe.session/__x64_sys_getpgid") int both(void *ctx) {
    if (pid_tgid() >> 32 != self) return 1;
    if (bpf_session_is_return(ARGUMENT)) { returns += 1; return 0; }
    starts += 1;
    return starts % 2;
}
"""


def loaded(folder: Path, text: str = TEXT) -> Collection:
    if os.uname().machine != "x86_64":
        pytest.skip("the functions named here are those of x86-64")
    return load(object_from_c(folder, text), values={"self": os.getpid().to_bytes(4, "little")})


def call(times: int = 1) -> None:
    for _ in range(times):
        os.getpgid(0)


def test_a_pattern(tmp_path: Path) -> None:
    needs("kprobe_multi")
    with loaded(tmp_path) as live:
        with live.programs["enter"].attach(cookie=5) as link:
            call(3)
            details = link.info()
            if isinstance(details, KprobeMultiLink) and details.count:  # since Linux 6.6
                assert (details.count, details.retprobe) == (1, False)
                (row,) = details.to_dict()["funcs"]
                assert row["func"] == "__x64_sys_getpgid"
            assert "(1 functions)" in link.hook
        call()
        assert dict(live.maps["calls"]) == {5: 3}
        with live.programs["leave"].attach(cookie=6):
            call(2)
        assert dict(live.maps["calls"]) == {5: 3, 6: 2}


def test_names_and_addresses_with_a_cookie_each(tmp_path: Path) -> None:
    needs("kprobe_multi")
    from probee.symbols.kallsyms import KernelSymbols

    names = ["__x64_sys_getpgid", "__x64_sys_getppid"]
    symbols = KernelSymbols.read()
    addresses = [symbols.address(name) for name in names]
    with loaded(tmp_path) as live:
        enter = live.programs["enter"]
        for chosen in ({"functions": names}, {"addresses": addresses}):
            if not all(addresses) and "addresses" in chosen:
                continue
            with enter.attach_kprobe_multi(cookies=[1, 2], **chosen):
                call(2)
                os.getppid()
            assert dict(live.maps["calls"]) == {1: 2, 2: 1}
            live.maps["calls"].clear()
        with enter.attach_kprobe_multi("__x64_sys_?etpgid"):  # set and get
            os.setpgid(0, os.getpgid(0))
        assert live.maps["calls"][0] == 2


def test_a_session(tmp_path: Path) -> None:
    needs("kprobe_session")
    try:
        live = loaded(tmp_path, SESSION.replace("PARAMETER", "void").replace("ARGUMENT", ""))
    except LoadError:  # since Linux 7.0 it is told the context
        live = loaded(tmp_path, SESSION.replace("PARAMETER", "void *ctx").replace("ARGUMENT", "ctx"))
    with live, live.programs["both"].attach() as link:
        call(6)
        assert "kprobe.session" in link.hook
        assert (live.globals.starts, live.globals.returns) == (6, 3)


def test_what_can_not_be(tmp_path: Path) -> None:
    needs("kprobe_multi")
    with loaded(tmp_path) as live:
        enter = live.programs["enter"]
        with pytest.raises(AttachError, match="no function that can be traced matches zzz_"):
            enter.attach("zzz_*")
        with pytest.raises(AttachError, match="one of a pattern, functions, addresses"):
            enter.attach_kprobe_multi("a*", functions=["b"])
        with pytest.raises(AttachError, match="one cookie for each function"):
            enter.attach_kprobe_multi(functions=["a", "b"], cookies=[1])
        with pytest.raises(
            AttachError, match=r"no function __x64_sys_getpgidd; did you mean .*__x64_sys_getpgid"
        ):
            enter.attach_kprobe_multi(functions=["__x64_sys_getpgidd"])


def test_a_kernel_without_them_is_named(tmp_path: Path) -> None:
    if have("kprobe_multi"):
        pytest.skip("this kernel has kprobe.multi")
    try:
        live = loaded(tmp_path)
    except LoadError as error:
        pytest.skip(f"this kernel takes no such program either: {error}")
    with live, pytest.raises(Unsupported, match=r"no kprobes|has no such links"):
        live.programs["enter"].attach_kprobe_multi(functions=["__x64_sys_getpgid"])
