"""Names in kernel modules: targets, functions and types that the kernel itself has not got."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from c_objects import object_from_c
from probee.btf import kernel_btf
from probee.btf.kinds import INT, STRUCT
from probee.errors import AttachError, LoadError
from probee.kernel.features import ask
from probee.kernel.load import load
from probee.kernel.modules import Modules

pytestmark = pytest.mark.root


def needs_module(name: str) -> None:
    """Load a module if it is not there; it must have BTF."""
    answer = ask("module_btf")
    if not answer:
        pytest.skip(f"this kernel has no module_btf {answer.detail}")
    if not Path(f"/sys/kernel/btf/{name}").exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", name], capture_output=True, check=False)
    if not Path(f"/sys/kernel/btf/{name}").exists():
        pytest.skip(f"there is no module {name} with BTF here")


@pytest.fixture
def modules() -> Iterator[Modules]:
    found = Modules(kernel_btf)
    yield found
    found.close()


def test_a_function_of_a_module(tmp_path: Path) -> None:
    needs_module("dummy")
    answer = ask("fentry")
    if not answer:
        pytest.skip(f"this kernel has no fentry {answer.detail}")
    if shutil.which("ip") is None:
        pytest.skip("needs the command ip")
    text = 'u64 hits; SEC("fentry/TARGET") int f(void *ctx) { __sync_fetch_and_add(&hits, 1); return 0; }'
    for target in ("dummy_xmit", "dummy:dummy_xmit"):
        device = f"probee{os.getpid() % 100000}"
        subprocess.run(["ip", "link", "add", device, "type", "dummy"], check=True)
        try:
            subprocess.run(["ip", "link", "set", device, "up"], check=True)
            with (
                load(object_from_c(tmp_path, text.replace("TARGET", target))) as live,
                live.programs["f"].attach(),
            ):
                before = live.globals.hits
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                    s.bind((device, 0))
                    s.send(bytes(64))
                assert live.globals.hits > before
        finally:
            subprocess.run(["ip", "link", "del", device], check=True)
    with pytest.raises(AttachError, match="this kernel has no fentry loop:dummy_xmit"):
        load(object_from_c(tmp_path, text.replace("TARGET", "loop:dummy_xmit")))


def test_a_kfunc_of_a_module(tmp_path: Path, modules: Modules) -> None:
    """Connection tracking: there is no such connection, says the function through its options."""
    needs_module("nf_conntrack")
    if modules.find("bpf_skb_ct_lookup", 12) is None:
        pytest.skip("this kernel's nf_conntrack has no bpf_skb_ct_lookup (Linux 5.18)")
    text = """
    #define KSYM __attribute__((section(".ksyms")))
    struct nf_conn { unsigned long status; } CORE;
    struct __sk_buff; struct bpf_sock_tuple { u32 saddr, daddr; unsigned short sport, dport; };
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
    strong = text.replace(" KSYM __attribute__((weak))", " KSYM")
    with pytest.raises(
        LoadError, match="no kfunc bpf_no_such_function_of_a_module in its BTF, nor in that of a module"
    ):
        load(object_from_c(tmp_path, strong))


def test_a_type_of_a_module(tmp_path: Path, modules: Modules) -> None:
    """CO-RE finds a struct that only a module has: the offset of its last integer."""
    needs_module("nf_conntrack")
    module = modules.named("nf_conntrack")
    assert module is not None
    kernel, btf = kernel_btf(), module.btf
    for t in btf.own_types():
        if t.kind != STRUCT or not t.name or kernel.find(t.name) is not None or len(btf.find_all(t.name)) > 1:
            continue
        fields = [
            m for m in t.members if m.name and btf.type(btf.strip(m.type)).kind == INT and not m.bit_size
        ]
        if fields and fields[-1].bit_offset:
            break
    else:
        pytest.fail("nf_conntrack has no struct of its own")
    last, size = fields[-1], btf.size_of(fields[-1].type)
    text = f"""
    struct {t.name} {{ u{size * 8} {last.name}; }} CORE;
    int at = -1;
    SEC("xdp") int f(void *ctx) {{
        at = __builtin_preserve_field_info(((struct {t.name} *)0)->{last.name}, 0);
        return 2;
    }}
    """
    with load(object_from_c(tmp_path, text)) as live:
        live.programs["f"].test_run(bytes(14))
        assert live.globals.at == last.bit_offset // 8


def test_modules_are_closed(modules: Modules) -> None:
    before = len(os.listdir("/proc/self/fd"))
    names = [module.name for module in modules]
    assert "vmlinux" not in names
    assert sorted(names) == sorted(name for name in os.listdir("/sys/kernel/btf") if name != "vmlinux")
    assert modules.find("no_such_type_anywhere", STRUCT) is None
    assert modules.named("no_such_module") is None
    modules.close()
    assert len(os.listdir("/proc/self/fd")) == before
