"""Each kind of program and map that the language knows has a test that shows in the kernel what it does."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from matrix.__main__ import TESTS
from probee.isa.sections import SECTIONS, SLEEPABLE, match
from probee.isa.tables import ATTACH_TYPES, MAP_TYPES, PROG_TYPES
from probee.lang.decl import MapDecl, ProgramDecl

REPO = Path(__file__).resolve().parents[3]

# A decorator as it is written, and the test under tests/kernel/: `kinds` is test_lang_kinds.py, `maps`
# test_lang_kinds_maps.py.
PROGRAMS = """
tracepoint("sched:sched_switch")        tracing::test_tracepoints_of_all_kinds
raw_tracepoint("sched_switch")          tracing::test_tracepoints_of_all_kinds
tp_btf("sched_switch")                  tracing::test_tracepoints_of_all_kinds
perf_event(freq=99)                     tracing::test_tracepoints_of_all_kinds
raw_tracepoint_writable("a")            tracing::test_a_writable_tracepoint_changes_a_result
fentry("a")                             kinds::test_fentry_and_fexit
fexit("a")                              kinds::test_fentry_and_fexit
fmod_ret("a")                           tracing::test_fmod_ret_answers_in_the_functions_place
freplace("a", like="xdp")               tracing::test_freplace_of_a_function_and_of_a_program
lsm("a")                                kinds::test_lsm
lsm_cgroup("a")                         kinds::test_lsm_cgroup
iter("task")                            kinds::test_iterators
iter_map(None)                          kinds::test_iterators
kprobe("a")                             kinds::test_kprobes
kretprobe("a")                          kinds::test_kprobes
ksyscall("a")                           kinds::test_kprobes
kretsyscall("a")                        tracing::test_results_of_system_calls_by_kprobe
kprobe_multi("a")                       kinds::test_kprobes_by_pattern
kretprobe_multi("a")                    kinds::test_kprobes_by_pattern
kprobe_session("a")                     kinds::test_kprobes_by_pattern
uprobe("a", "b")                        kinds::test_uprobes_by_pattern_and_by_number
uretprobe("a", "b")                     kinds::test_uprobes_by_pattern_and_by_number
uprobe_multi("a", "b")                  kinds::test_uprobes_by_pattern_and_by_number
uretprobe_multi("a", "b")               tracing::test_uretprobes_by_pattern
uprobe_session("a", "b")                kinds::test_uprobe_session
usdt("a", "b", "c")                     kinds::test_usdt_arguments
struct_ops("tcp_congestion_ops")        kinds::test_struct_ops
syscall                                 kinds::test_syscall_program
lirc_mode2                              tracing::test_lirc_decodes_what_a_receiver_sees
xdp                                     kinds::test_xdp_and_tc_on_a_wire
xdp(frags=True)                         network::test_xdp_of_packets_in_several_pieces
xdp(at="cpumap")                        network::test_xdp_programs_where_packets_are_sent_to
xdp(at="devmap")                        network::test_xdp_programs_where_packets_are_sent_to
tc                                      kinds::test_xdp_and_tc_on_a_wire
action                                  network::test_an_action_of_tc
tcx(None, "ingress")                    network::test_vlan_tags_are_put_on_and_taken_off
tcx(None, "egress")                     network::test_vlan_tags_are_put_on_and_taken_off
netkit(None, "primary")                 kinds::test_netkit
netkit(None, "peer")                    kinds::test_netkit
netfilter                               network::test_netfilter_reads_headers
lwt("in")                               network::test_lwt_in_sees_what_is_forwarded
lwt("out")                              kinds::test_lwt
lwt("xmit")                             network::test_lwt_xmit_rewrites_and_drops
lwt("seg6local")                        network::test_lwt_seg6local
flow_dissector                          network::test_flow_dissector_says_what_a_flow_is
socket_filter                           kinds::test_socket_filter
sockops                                 kinds::test_sockops
sk_msg                                  kinds::test_sk_msg_redirects_and_drops
sk_skb("stream_parser")                 kinds::test_sk_skb_verdict
sk_skb("stream_verdict")                kinds::test_sk_skb_verdict
sk_skb("verdict")                       network::test_sk_skb_verdict_without_a_parser
sk_lookup                               network::test_sk_lookup_gives_ports_to_sockets
sk_reuseport                            network::test_sk_reuseport_chooses
sk_reuseport(migrate=True)              network::test_sk_reuseport_migrates_connections
cgroup_skb("ingress")                   kinds::test_cgroup_skb
cgroup_skb("egress")                    kinds::test_cgroup_skb
cgroup_sock("sock_create")              kinds::test_cgroup_sockets
cgroup_sock("sock_release")             kinds::test_cgroup_sockets
cgroup_sock("post_bind4")               cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock("post_bind6")               cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("bind4")               cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("bind6")               cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("connect4")            cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("connect6")            cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("getpeername4")        cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("getpeername6")        cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("getsockname4")        cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("getsockname6")        cgroup::test_bind_and_what_sockets_say_of_themselves
cgroup_sock_addr("sendmsg4")            cgroup::test_datagrams
cgroup_sock_addr("sendmsg6")            cgroup::test_datagrams
cgroup_sock_addr("recvmsg4")            cgroup::test_datagrams
cgroup_sock_addr("recvmsg6")            cgroup::test_datagrams
cgroup_sock_addr("connect_unix")        cgroup::test_unix_sockets
cgroup_sock_addr("sendmsg_unix")        cgroup::test_unix_sockets
cgroup_sock_addr("recvmsg_unix")        cgroup::test_unix_sockets
cgroup_sock_addr("getpeername_unix")    cgroup::test_unix_sockets
cgroup_sock_addr("getsockname_unix")    cgroup::test_unix_sockets
cgroup_sockopt("getsockopt")            kinds::test_cgroup_sockopt
cgroup_sockopt("setsockopt")            kinds::test_cgroup_sockopt
cgroup_sysctl                           kinds::test_cgroup_sysctl_and_device
cgroup_device                           kinds::test_cgroup_sysctl_and_device
"""
MAPS = """
Hash                  test_lang_data_maps::test_maps_of_maps
Array                 test_lang_data_maps::test_maps_of_maps
PerCpuHash            maps::test_tables_that_forget_and_tables_of_each_cpu
PerCpuArray           maps::test_tables_that_forget_and_tables_of_each_cpu
LruHash               maps::test_tables_that_forget_and_tables_of_each_cpu
LruPerCpuHash         maps::test_tables_that_forget_and_tables_of_each_cpu
LpmTrie               test_lang_data_maps::test_longest_prefix
RingBuf               test_session_live::test_records_are_of_the_users_class
UserRingBuf           test_lang_services_dynptrs::test_records_from_user_space
PerfEventArray        test_lang_data_maps::test_perf_output
StackTrace            maps::test_stacks_are_kept_once
ProgArray             test_lang_data_maps::test_functions_in_a_program_array
Queue                 test_lang_data_maps::test_queue
Stack                 test_lang_data_maps::test_stack_of_structs_and_empty
BloomFilter           test_lang_data_maps::test_bloom_filter
ArrayOfMaps           test_lang_data_maps::test_maps_of_maps
HashOfMaps            test_lang_data_maps::test_maps_of_maps
TaskStorage           test_lang_data_maps::test_task_storage
SkStorage             maps::test_values_of_sockets
InodeStorage          maps::test_values_of_inodes
CgrpStorage           maps::test_values_of_cgroups
CgroupStorage         maps::test_values_of_cgroups
PerCpuCgroupStorage   maps::test_values_of_cgroups
CgroupArray           maps::test_arrays_of_cgroups
DevMap                network::test_xdp_programs_where_packets_are_sent_to
DevMapHash            network::test_xdp_programs_where_packets_are_sent_to
CpuMap                network::test_xdp_programs_where_packets_are_sent_to
XskMap                maps::test_packets_for_a_socket_of_user_space
SockMap               kinds::test_sk_msg_redirects_and_drops
SockHash              network::test_sk_skb_verdict_without_a_parser
ReuseportArray        network::test_sk_reuseport_chooses
Arena                 test_lang_arenas::test_a_list
"""
# Not for programs in Python, and why.
OTHER_SECTIONS = {
    "classifier": "the old name of tc",
    "tc/ingress": "tcx in its place",
    "tc/egress": "tcx in its place",
    "tp": "tracepoint",
    "raw_tp": "raw_tracepoint",
    "raw_tracepoint.w": "raw_tp.w",
    "sk_skb": "without what it is attached as",
    "cgroup/skb": "without what it is attached as",
    "cgroup/sock": "the old name of cgroup/sock_create",
    "xdp.frags/devmap": "xdp/devmap with another flag",
    "xdp.frags/cpumap": "xdp/cpumap with another flag",
    **dict.fromkeys(("fsession", "fentry.multi", "fexit.multi", "fsession.multi"), "Linux 7.2"),
}
OTHER_ATTACH_TYPES = {
    **dict.fromkeys(
        ("trace_fsession", "trace_fentry_multi", "trace_fexit_multi", "trace_fsession_multi"), "Linux 7.2"
    ),
    "struct_ops": "the kernel's own, of links",
    "perf_event": "the kernel's own, of links",
}
OTHER_MAPS = {
    "struct_ops": "made by @bp.struct_ops",
    "insn_array": "jump tables of compilers",
    "rhash": "Linux 7.2",
}


SHORT = {"kinds": "test_lang_kinds"} | {
    word: f"test_lang_kinds_{word}" for word in ("cgroup", "maps", "network", "tracing")
}


def rows(table: str) -> list[tuple[str, Path, str]]:
    """What is shown, and the file and the name of its test."""
    out = []
    for line in table.strip().splitlines():
        what, where = line.rsplit(maxsplit=1)
        name, test = where.split("::")
        out.append((what.strip(), REPO / "tests/kernel" / f"{SHORT.get(name, name)}.py", test))
    return out


@cache
def source(file: Path) -> str:
    """The text of a file of tests, and of what it imports that is beside it."""
    text = file.read_text()
    imported = re.findall(r"^(?:import|from) (\w+)", text, re.M)
    beside = [folder / f"{name}.py" for name in imported for folder in (file.parent, REPO / "tests")]
    return text + "".join(path.read_text() for path in beside if path.exists())


@cache
def functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def section(written: str) -> str:
    """The key of `SECTIONS` that a decorator's programs have."""

    def program(ctx: Any) -> None: ...

    if written.startswith("struct_ops"):

        class Functions:
            def program(self) -> None: ...

        made: ProgramDecl = vars(eval(f"bp.{written}")(Functions))["program"]
    else:
        made = eval(f"bp.{written}")(program)
    direct = {"raw_tracepoint": "raw_tracepoint", "tp_btf": "tp_btf", "perf_event": "perf_event"}
    direct |= {word: word for word in ("tracepoint", "uprobe", "uretprobe")}
    found = match(direct.get(made.kind, str(made.args[0])))
    assert found is not None, made.args
    return found[0]


SHOWN = rows(PROGRAMS)


@pytest.mark.parametrize("table", [PROGRAMS, MAPS], ids=["programs", "maps"])
def test_the_tests_are_there(table):
    for what, file, test in rows(table):
        assert test in functions(file), f"{file.name} has no {test}"
        name = re.match(r"\w+", what)
        assert name is not None
        assert re.search(rf"\bbp\.{name[0]}\b", source(file)), f"{file.name} has no bp.{name[0]}"


def test_what_this_kernel_lacks_runs_in_the_matrix():
    assert {f"tests/kernel/{file.name}" for _, file, _ in SHOWN} <= set(TESTS)


def test_all_decorators_are_shown():
    homes = bp._HOMES["lang.kinds.decorators"], bp._HOMES["lang.kinds.tracing_decorators"]
    names = {name for home in homes for name in home.split()}
    names |= {"tracepoint", "raw_tracepoint", "tp_btf", "perf_event", "uprobe", "uretprobe"}
    assert names == {re.split(r"\W", what)[0] for what, _, _ in SHOWN}


def test_all_sections_are_shown():
    shown = {section(what) for what, _, _ in SHOWN}
    plain = {name for name, (_, _, flags) in SECTIONS.items() if not flags & SLEEPABLE or name == "syscall"}
    assert plain - shown == set(OTHER_SECTIONS) & plain
    types = {SECTIONS[name][0] for name in shown}
    assert {name for name, (number, _) in PROG_TYPES.items() if number not in types} == set()
    attach_types = {SECTIONS[name][1] for name in shown}
    assert {n for n, (number, _) in ATTACH_TYPES.items() if number not in attach_types} == set(
        OTHER_ATTACH_TYPES
    )


def test_all_maps_are_shown():
    known = {
        name: getattr(bp, name) for home in bp._HOMES.values() for name in home.split() if name[0].isupper()
    }
    kinds = {
        name: cls.kind
        for name, cls in known.items()
        if isinstance(cls, type) and issubclass(cls, MapDecl) and getattr(cls, "kind", 0)
    }
    assert set(kinds) == {what for what, _, _ in rows(MAPS)}
    assert {n for n, (number, _) in MAP_TYPES.items() if number not in kinds.values()} == set(OTHER_MAPS)
