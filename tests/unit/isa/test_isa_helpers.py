"""The helpers' prototypes: complete, and in the terms that the module documents."""

from __future__ import annotations

import pytest

from probee.isa.helpers import BY_ID, PROTOTYPES, Prototype
from probee.isa.helpers.programs import allowed, callers, since
from probee.isa.tables import HELPERS, PROG_TYPES

KINDS = """
    ctx const_map_ptr map_key map_value uninit_map_value mem write_mem uninit_mem size size_or_zero
    alloc_size_or_zero anything scalar func stack const_str timer spin_lock kptr_xchg_dest percpu ringbuf_mem
    dynptr dynptr:ringbuf uninit_dynptr:local uninit_dynptr:ringbuf socket sock_common btf_sock_common
""".split()  # noqa: SIM905
RESULTS = "int void map_value sock sock_common tcp_sock ringbuf_mem dynptr_mem percpu"


def test_every_helper_has_a_prototype() -> None:
    assert list(PROTOTYPES) == list(HELPERS)
    assert [made.id for made in PROTOTYPES.values()] == [number for number, _ in HELPERS.values()]
    assert BY_ID[1] is PROTOTYPES["map_lookup_elem"]


@pytest.mark.parametrize("name", HELPERS)
def test_kinds_are_the_documented_ones(name: str) -> None:
    made = PROTOTYPES[name]
    for kind in made.args:
        bare = kind.removeprefix("release:").removesuffix("?").partition("[")[0]
        assert bare in KINDS or bare.startswith("btf:"), kind
    result = made.ret.removesuffix("?")
    assert result in RESULTS.split() or result.startswith(("btf:", "trusted:")), made.ret
    assert made.doc.endswith(".")


@pytest.mark.parametrize("name", HELPERS)
def test_arguments_and_parameters_agree_in_number(name: str) -> None:
    """The verifier looks at as many registers as the C declaration names."""
    made = PROTOTYPES[name]
    unseen = {"get_branch_snapshot": 1}.get(name, 0)  # the kernel's prototype leaves its flags out
    if made.variadic:
        assert len(made.parameters) == len(made.args) == 2
    else:
        assert len(made.args) == len(made.parameters) - unseen
    if made.ret == "void":
        assert made.result == "void" or name in ("spin_lock", "spin_unlock", "tail_call")


def test_a_size_follows_its_memory() -> None:
    for made in PROTOTYPES.values():
        for at, kind in enumerate(made.args):
            if kind in ("size", "size_or_zero"):
                assert made.args[at - 1].removesuffix("?") in ("mem", "write_mem", "uninit_mem"), made.name


def test_a_declaration_reads_as_in_the_header() -> None:
    made = PROTOTYPES["map_lookup_elem"]
    assert made.signature == "void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)"
    assert made.parameters == (("struct bpf_map *", "map"), ("const void *", "key"))
    assert PROTOTYPES["ktime_get_ns"].signature == "u64 bpf_ktime_get_ns(void)"
    assert PROTOTYPES["trace_printk"].signature == "long bpf_trace_printk(const char *fmt, u32 fmt_size, ...)"
    assert repr(made) == f"Prototype({made.signature!r})"


def test_flags() -> None:
    assert PROTOTYPES["probe_read_kernel"].gpl
    assert PROTOTYPES["copy_from_user"].sleeps
    assert PROTOTYPES["map_lookup_elem"].packet
    assert PROTOTYPES["xdp_adjust_head"].changes
    assert {name for name, made in PROTOTYPES.items() if made.acquires} == {
        "sk_lookup_tcp",
        "sk_lookup_udp",
        "skc_lookup_tcp",
        "ringbuf_reserve",
        "kptr_xchg",
    }


def test_variants() -> None:
    cookie = PROTOTYPES["get_socket_cookie"]
    assert cookie.for_program("socket_filter") is cookie
    assert cookie.for_program("tracing").args == ("btf_sock_common?",)
    assert PROTOTYPES["get_cgroup_classid"].for_program("sk_msg").args == ()
    assert PROTOTYPES["get_cgroup_classid"].for_program("sched_cls").args == ("ctx",)
    assert PROTOTYPES["get_func_ip"].for_program("kprobe").gpl
    assert not PROTOTYPES["get_func_ip"].for_program("kprobe", "trace_kprobe_multi").gpl
    assert PROTOTYPES["get_stack"].for_program("kprobe", sleepable=True).sleeps
    assert not PROTOTYPES["get_stack"].sleeps


def test_who_may_call() -> None:
    assert since("xdp_adjust_head", "xdp") == "4.10"
    assert since("xdp_adjust_head", "kprobe") == ""
    assert not allowed("get_current_comm", "netfilter", kernel="6.12")
    assert allowed("get_current_comm", "netfilter", kernel="6.18")
    assert not allowed("spin_lock", "kprobe", kernel="5.10")
    assert allowed("spin_lock", "xdp", kernel="5.10")
    assert not allowed("bind", "cgroup_sock_addr", "cgroup_udp4_sendmsg", kernel="6.18")
    assert allowed("bind", "cgroup_sock_addr", "cgroup_inet4_connect", kernel="6.18")
    assert allowed("tcp_send_ack", "struct_ops", kernel="6.1", struct_ops="tcp_congestion_ops")
    assert not allowed("tcp_send_ack", "struct_ops", kernel="6.1")
    assert callers("redirect_map") == ["xdp"]
    assert callers("strtol", kernel="5.10") == ["cgroup_sysctl"]


@pytest.mark.parametrize("name", HELPERS)
def test_somebody_may_call_each_helper(name: str) -> None:
    assert callers(name) or since(name, "struct_ops", struct_ops="tcp_congestion_ops")


def test_groups_know_every_type_but_ext() -> None:
    """Programs that replace others may call what those may."""
    without = [kind for kind in PROG_TYPES if not any(since(name, kind) for name in HELPERS)]
    assert without == ["ext"]


def test_a_prototype_is_readable_from_its_row() -> None:
    made = Prototype("u32 get_prandom_u32(void)", "() -> int; gpl fastcall", "A number.")
    assert (made.result, made.parameters, made.args, made.ret) == ("u32", (), (), "int")
    assert (made.gpl, made.fastcall, made.sleeps) == (True, True, False)
