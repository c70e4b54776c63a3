"""Names in kernel modules: targets, functions and types that the kernel itself has not got."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.btf import kernel_btf
from probee.btf.kinds import STRUCT
from probee.errors import AttachError, LoadError
from probee.kernel.features import ask
from probee.kernel.load import load
from probee.kernel.modules import Modules

pytestmark = pytest.mark.root


def use_congestion_control(name: str) -> None:
    """The kernel loads `tcp_NAME` for it, whatever tools there are."""
    with socket.socket() as s, suppress(OSError):
        s.setsockopt(socket.IPPROTO_TCP, 13, name.encode())  # TCP_CONGESTION


def ask_for_connections() -> None:
    """A question to connection tracking, for which the kernel loads it."""
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as s:  # NETLINK_NETFILTER
        s.send(struct.pack("=IHHIIBBH", 20, 1 << 8 | 1, 0x301, 1, 0, socket.AF_INET, 0, 0))
        s.settimeout(5)
        s.recv(4096)


def needs_module(name: str) -> None:
    """Get a module loaded if it is not there; it must have BTF."""
    answer = ask("module_btf")
    if not answer:
        pytest.skip(f"this kernel has no module_btf {answer.detail}")
    place = Path(f"/sys/kernel/btf/{name}")
    if not place.exists() and name.startswith("tcp_"):
        use_congestion_control(name.removeprefix("tcp_"))
    elif not place.exists() and name == "nf_conntrack":
        ask_for_connections()
    if not place.exists():
        pytest.skip(f"there is no module {name} with BTF here")


@pytest.fixture
def modules() -> Iterator[Modules]:
    found = Modules(kernel_btf)
    yield found
    found.close()


def test_a_function_of_a_module(tmp_path: Path) -> None:
    needs_module("tcp_bbr")
    answer = ask("fentry")
    if not answer:
        pytest.skip(f"this kernel has no fentry {answer.detail}")
    text = 'u64 hits; SEC("fentry/TARGET") int f(void *ctx) { __sync_fetch_and_add(&hits, 1); return 0; }'
    for target in ("bbr_init", "tcp_bbr:bbr_init"):
        spec = object_from_c(tmp_path, text.replace("TARGET", target))
        with load(spec) as live, live.programs["f"].attach():
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
                client.setsockopt(socket.IPPROTO_TCP, 13, b"bbr")
                client.connect(server.getsockname())
            assert live.globals.hits == 1
    for module, why in (("overlay", "has no bbr_init|is not loaded"), ("no_such_module", "is not loaded")):
        with pytest.raises(AttachError, match=f"fentry {module}:bbr_init: module {module} ({why})"):
            load(object_from_c(tmp_path, text.replace("TARGET", f"{module}:bbr_init")))


def test_a_kfunc_of_a_module(tmp_path: Path, modules: Modules) -> None:
    """Connection tracking: there is no such connection, says the function through its options."""
    needs_module("nf_conntrack")
    if modules.find("bpf_skb_ct_lookup", 12) is None:
        pytest.skip("this kernel's nf_conntrack has no bpf_skb_ct_lookup (Linux 5.18)")
    text = """
    #define KSYM __attribute__((section(".ksyms")))
    struct nf_conn { unsigned long status; } CORE;
    struct __sk_buff { u32 len; }; struct bpf_sock_tuple { u32 saddr, daddr; unsigned short sport, dport; };
    struct bpf_ct_opts___mine { s32 netns_id; s32 error; u8 l4proto; u8 dir; u8 reserved[2]; };
    extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *ctx, struct bpf_sock_tuple *tuple,
                                             u32 tuple__sz, struct bpf_ct_opts___mine *opts,
                                             u32 opts__sz) KSYM;
    extern void bpf_ct_release(struct nf_conn *ct) KSYM;
    extern int bpf_no_such_function_of_a_module(void) KSYM __attribute__((weak));
    int error; int weak = -1;
    SEC("tc") int f(struct __sk_buff *ctx) {
        struct bpf_sock_tuple tuple = { 1, 2, 3, 4 };
        struct bpf_ct_opts___mine opts = { .netns_id = -1, .l4proto = 17 };
        struct nf_conn *ct = bpf_skb_ct_lookup(ctx, &tuple, sizeof(tuple), &opts, sizeof(opts));
        weak = bpf_no_such_function_of_a_module != 0;
        error = opts.error;
        if (ct) bpf_ct_release(ct);
        return 0;
    }
    """
    with load(object_from_c(tmp_path, text)) as live:
        live.programs["f"].test_run(bytes(64))
        assert live.globals.error == -2  # ENOENT
        assert live.globals.weak == 0
    # Called, because compilers know that the address of what is not weak is not null.
    strong = text.replace(" KSYM __attribute__((weak))", " KSYM").replace("_module != 0", "_module()")
    with pytest.raises(
        LoadError, match="no kfunc bpf_no_such_function_of_a_module in its BTF, nor in that of a module"
    ):
        load(object_from_c(tmp_path, strong))


def test_a_type_of_a_module(tmp_path: Path, modules: Modules) -> None:
    """CO-RE finds a struct that only a module has: the offset of its last integer."""
    needs_module("tcp_bbr")
    module = modules.named("tcp_bbr")
    assert module is not None
    assert kernel_btf().find("bbr", STRUCT) is None
    id = module.find("bbr", STRUCT)
    assert id is not None
    places = {m.name: m.bit_offset // 8 for m in module.btf.type(id).members if not m.bit_size}
    assert places["rtt_cnt"] > 0
    text = """
    struct bbr { u32 rtt_cnt; } CORE;
    struct nowhere_at_all { u32 x; } CORE;
    int at = -1, there = -1;
    SEC("xdp") int f(void *ctx) {
        at = __builtin_preserve_field_info(((struct bbr *)0)->rtt_cnt, 0);
        there = __builtin_preserve_type_info(*(struct nowhere_at_all *)0, 0);
        return 2;
    }
    """
    with load(object_from_c(tmp_path, text)) as live:
        live.programs["f"].test_run(bytes(14))
        assert (live.globals.at, live.globals.there) == (places["rtt_cnt"], 0)


def test_modules_are_closed(modules: Modules) -> None:
    before = len(os.listdir("/proc/self/fd"))
    names = [module.name for module in modules]
    assert "vmlinux" not in names
    assert sorted(names) == sorted(name for name in os.listdir("/sys/kernel/btf") if name != "vmlinux")
    assert modules.find("no_such_type_anywhere", STRUCT) is None
    assert modules.named("no_such_module") is None
    modules.close()
    assert len(os.listdir("/proc/self/fd")) == before
