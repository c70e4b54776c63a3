"""`fire`: every type of program gets its context from plain values. The programs are clang's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c_objects import object_from_c
from probee.errors import ProbeeError, VerifierError
from probee.machine.machine import Machine

RECORDS = """
struct { __uint(type, 27); __uint(max_entries, 65536); } out SEC(".maps");
static long (*ringbuf_output)(void *, const void *, u64, u64) = (void *)130;
static long (*probe_read_user_str)(void *, u32, const void *) = (void *)114;
static long (*probe_read_kernel_str)(void *, u32, const void *) = (void *)115;
static u64 (*current_task)(void) = (void *)35;
static u64 (*attach_cookie)(void *) = (void *)174;
static long (*seq_write)(void *, const void *, u32) = (void *)127;
static long (*get_stack)(void *, void *, u32, u64) = (void *)67;
static inline void put(u64 a, u64 b) { u64 v[2] = {a, b}; ringbuf_output(&out, v, sizeof(v), 0); }
"""


def machine(tmp_path: Path, text: str, **options: Any) -> Machine:
    return Machine(object_from_c(tmp_path, text, before=RECORDS), **options)


def numbers(m: Machine) -> list[tuple[int, int]]:
    return [(int.from_bytes(r[:8], "little"), int.from_bytes(r[8:16], "little")) for r in m.read("out")]


def test_a_tracepoint_gets_fields_and_text_by_name(tmp_path: Path) -> None:
    text = """
    struct args { u64 common; u32 filename; int pid; int old_pid; };
    SEC("tp/sched/sched_process_exec") int on_exec(struct args *a) {
        char name[16] = {};
        probe_read_kernel_str(name, sizeof(name), (char *)a + (a->filename & 0xffff));
        put(a->pid, *(u64 *)name);
        return 3;
    }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        result = m.fire("sched:sched_process_exec", pid=7, old_pid=6, filename="/bin/ls")
        assert result.retval == 3
        assert numbers(m) == [(7, int.from_bytes(b"/bin/ls\0", "little"))]
        with pytest.raises(ProbeeError, match=r"no field 'filenam'; did you mean filename\?"):
            m.fire("sched:sched_process_exec", filenam="x")
        with pytest.raises(
            ProbeeError, match="nothing is attached to sched:sched_switch; the machine has on_exec"
        ):
            m.fire("sched:sched_switch")
        with pytest.raises(ProbeeError, match="does not fit 4 bytes"):
            m.fire("sched:sched_process_exec", pid=1 << 40)


def test_a_system_call_reaches_tracepoints_and_raw_programs(tmp_path: Path) -> None:
    text = """
    struct enter { u64 common; long nr; u64 args[6]; };
    SEC("tp/syscalls/sys_enter_openat") int by_name(struct enter *a) {
        char name[8] = {};
        probe_read_user_str(name, sizeof(name), (void *)a->args[1]);
        put(1, *(u64 *)name);
        return 0;
    }
    SEC("raw_tp/sys_enter") int raw(u64 *a) { put(2, a[1]); return 0; }
    SEC("tp/raw_syscalls/sys_exit") int raw_exit(u64 *a) { put(a[1], a[2]); return 0; }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        m.syscall("openat", -100, "/etc", ret=-2)
        assert numbers(m) == [(1, int.from_bytes(b"/etc", "little")), (2, 257), (257, (1 << 64) - 2)]
        m.fire("syscalls:sys_enter_openat", filename="x")
        assert [first for first, _ in numbers(m)] == [1, 2]
        with pytest.raises(ProbeeError, match="no field 'path'; it has dfd, filename, flags, mode"):
            m.syscall("openat", path="x")


def test_functions_get_arguments_by_name_and_position(tmp_path: Path) -> None:
    text = """
    struct sock_common { unsigned short skc_num; } CORE;
    struct sock { struct sock_common __sk_common; } CORE;
    SEC("fentry/tcp_connect") int entry(u64 *a) {
        struct sock *sk = (void *)a[0];
        put(1, sk->__sk_common.skc_num);
        return 0;
    }
    SEC("fexit/tcp_connect") int leave(u64 *a) { put(2, a[1]); return 0; }
    SEC("kprobe/tcp_connect") int probe(u64 *r) {
        struct sock *sk = (void *)r[14]; u16 port;
        probe_read_kernel(&port, 2, &sk->__sk_common.skc_num);
        put(3, port);
        return 0;
    }
    SEC("kretprobe/tcp_connect") int result(u64 *r) { put(4, r[10]); return 0; }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        sock = m.sock("tcp", local=("10.0.0.1", 5000), remote=("10.0.0.2", 443))
        m.fire("fentry:tcp_connect", sk=sock)
        m.fire("fexit:tcp_connect", sock, result=-111)
        m.fire("kprobe:tcp_connect", sock)
        m.fire("kretprobe:tcp_connect", result=5)
        assert numbers(m) == [(1, 5000), (2, (1 << 64) - 111), (3, 5000), (4, 5)]
        assert [r.program for r in m.fire("tcp_connect", sk=sock)] == ["entry", "probe", "leave", "result"]
        with pytest.raises(ProbeeError, match="no argument 'socket'; it has sk"):
            m.fire("fentry:tcp_connect", socket=sock)


def test_a_null_pointer_of_the_kernel_reads_as_zero(tmp_path: Path) -> None:
    text = """
    struct task_struct { struct task_struct *real_parent; int tgid; } CORE;
    SEC("tp_btf/sched_wakeup") int woken(u64 *a) {
        struct task_struct *t = (void *)a[0];
        put(t->tgid, t->real_parent->real_parent->tgid);
        return 0;
    }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        m.fire("sched_wakeup", m.kernel.new("task_struct", tgid=5))
        assert numbers(m) == [(5, 0)]


def test_lsm_and_fmod_ret_decide(tmp_path: Path) -> None:
    text = """
    SEC("lsm/file_open") int first(u64 *a) { return a[1]; }
    SEC("lsm/file_open") int second(u64 *a) { return -13; }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        results = m.fire("lsm:file_open", m.file("/etc/shadow"))
        assert results.decision == "deny"
        assert [(r.program, r.decision, r.errno) for r in results] == [
            ("first", "allow", ""),
            ("second", "deny", "EACCES"),
        ]
        assert len(m.fire("lsm:file_open", m.file("/x"), result=-1)) == 1  # nobody asks after a denial


def test_uprobes_and_perf_events_see_registers_and_stacks(tmp_path: Path) -> None:
    text = """
    SEC("uprobe") int up(u64 *r) {
        char name[8] = {};
        probe_read_user_str(name, sizeof(name), (void *)r[14]);
        put(*(u64 *)name, attach_cookie(r));
        return 0;
    }
    SEC("uretprobe") int ret(u64 *r) { put(9, r[10]); return 0; }
    SEC("perf_event") int sample(u64 *r) {
        u64 stack[2] = {};
        get_stack(r, stack, sizeof(stack), 0);
        put(r[16], stack[1]);
        put(r[21], r[22]);
        return 0;
    }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        m.fire("up", "PATH", cookie=77)
        m.fire("ret", result=12)
        m.fire("perf_event", period=1000, addr=5, stack=[0xFFFF1, 0xFFFF2])
        path = int.from_bytes(b"PATH", "little")
        assert numbers(m) == [(path, 77), (9, 12), (0xFFFF1, 0xFFFF2), (1000, 5)]


def test_an_iterator_walks_objects_and_writes(tmp_path: Path) -> None:
    text = """
    struct seq_file; struct bpf_iter_meta { struct seq_file *seq; } CORE;
    struct task_struct { int pid; } CORE;
    struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } CORE;
    SEC("iter/task") int each(struct bpf_iter__task *c) {
        if (!c->task) return 0;
        char digit = '0' + c->task->pid;
        seq_write(c->meta->seq, &digit, 1);
        return 0;
    }
    """
    with machine(tmp_path, text, btf="shipped") as m:
        assert m.iterate("task", [m.task(3), m.task(5)]).output == b"35"


XDP = """
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static long (*adjust_head)(void *, int) = (void *)44;
static long (*redirect_map)(void *, u32, u64) = (void *)51;
static u16 __attribute__((noinline)) kind(struct xdp_md *c) {
    u8 *at = (void *)(long)c->data, *end = (void *)(long)c->data_end;
    return at + 14 > end ? 0 : at[12] << 8 | at[13];
}
SEC("xdp") int filter(struct xdp_md *c) {
    u16 type = kind(c);
    put(type, c->ingress_ifindex);
    if (type == 0x0806) return 1;
    if (type == 0x86dd) return redirect(7, 0);
    if (type == 0x0001) {
        if (adjust_head(c, -4)) return 0;
        u8 *at = (void *)(long)c->data, *end = (void *)(long)c->data_end;
        if (at + 4 > end) return 0; at[0] = 0xaa; return 3; }
    if (type == 0x0002) { u8 *at = (void *)(long)c->data; return at[40]; }
    return 2;
}
"""


def test_the_verified_engine_trusts_what_the_verifier_accepts_and_refuses_the_rest(tmp_path: Path) -> None:
    good = """
    struct xdp_md { u32 data, data_end; };
    SEC("xdp") int good(struct xdp_md *c) {
        u8 *at = (void *)(long)c->data, *end = (void *)(long)c->data_end;
        return at + 14 <= end && at[13] == 9 ? 1 : 2;
    }
    """
    with machine(tmp_path, good, engine="verified") as m:
        assert m.programs["good"].code.verified
        assert m.xdp(bytes(13) + b"\x09").verdict == "DROP"
        assert m.xdp(bytes(13)).verdict == "PASS"
    bad = good.replace("at + 14 <= end &&", "")
    with pytest.raises(VerifierError, match=r"refuses program good: R\d offset is outside of the packet"):
        machine(tmp_path, bad, engine="verified")


def test_xdp_gives_verdict_packet_and_target(tmp_path: Path) -> None:
    def frame(kind: int) -> bytes:
        return bytes(12) + kind.to_bytes(2, "big") + b"payload"

    with machine(tmp_path, XDP) as m:
        assert m.xdp(frame(0x0800), ingress_ifindex=4).verdict == "PASS"
        assert numbers(m) == [(0x0800, 4)]
        assert m.xdp(frame(0x0806)).verdict == "DROP"
        assert m.xdp(b"short").verdict == "PASS"
        sent = m.xdp(frame(0x86DD))
        assert sent.verdict == "REDIRECT"
        assert sent.redirect is not None
        assert sent.redirect["ifindex"] == 7
        grown = m.xdp(frame(1))
        assert grown.verdict == "TX"
        assert grown.packet == b"\xaa\0\0\0" + frame(1)
        from probee.machine.memory import Fault

        with pytest.raises(Fault, match="packet"):
            m.xdp(frame(2))


TC = """
struct skb { u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority,
    ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end; };
static long (*load_bytes)(void *, u32, void *, u32) = (void *)26;
static long (*store_bytes)(void *, u32, void *, u32, u64) = (void *)9;
static long (*pull)(void *, u32) = (void *)39;
"""


def test_tc_changes_packet_and_metadata(tmp_path: Path) -> None:
    text = (
        TC
        + """
    SEC("tc") int mark(struct skb *s) {
        u8 seen = 0, x = 'X';
        load_bytes(s, 14, &seen, 1);
        put(seen, s->protocol);
        put(s->data_end - s->data, s->len);
        s->mark = s->mark + 1; s->cb[2] = 9;
        store_bytes(s, 15, &x, 1, 0);
        if (pull(s, s->len)) return 2;
        put((void *)(long)s->data_end - (void *)(long)s->data, s->len);
        return seen == 'a' ? 2 : 0;
    }
    """
    )
    with machine(tmp_path, text) as m:
        frame = bytes(12) + b"\x08\x00" + b"bcd"
        result = m.tc(frame, mark=41, linear=14)
        assert (result.verdict, result.mark, result.cb[2]) == ("OK", 42, 9)
        assert result.packet == bytes(12) + b"\x08\x00" + b"bXd"
        assert numbers(m) == [(ord("b"), 8), (14, 17), (17, 17)]
        assert m.tc(bytes(12) + b"\x08\x00" + b"abc").verdict == "SHOT"


def test_cgroup_hooks_decide_and_rewrite(tmp_path: Path) -> None:
    text = """
    struct addr { u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol; };
    SEC("cgroup/connect4") int c4(struct addr *a) {
        if (a->user_port == __builtin_bswap16(22)) return 0;
        if (a->user_port == __builtin_bswap16(80)) {
            a->user_ip4 = 0x0100007f;
            a->user_port = __builtin_bswap16(8080);
        }
        return a->protocol == 6;
    }
    struct dev { u32 access_type, major, minor; };
    SEC("cgroup/dev") int device(struct dev *d) {
        return d->major == 1 && (d->access_type & 0xffff) == 2 && d->access_type >> 16 == 6;
    }
    struct opt { u64 sk, optval, optval_end; int level, optname, optlen, retval; };
    SEC("cgroup/setsockopt") int set(struct opt *o) {
        u32 *v = (void *)o->optval; if ((void *)(v + 1) > (void *)o->optval_end) return 0;
        if (o->optname == 7) *v = *v * 2;
        return o->level == 1;
    }
    """
    with machine(tmp_path, text) as m:
        sent = m.connect("192.0.2.1", 80)
        assert (sent.decision, sent.address, sent.port) == ("allow", "127.0.0.1", 8080)
        refused = m.connect("192.0.2.1", 22)
        assert (refused.decision, refused.errno, refused.address) == ("deny", "EPERM", "192.0.2.1")
        assert m.connect("192.0.2.1", 53, protocol="udp").decision == "deny"
        assert m.device(1, 3, access="read write").decision == "allow"
        assert m.device(1, 3, access="mknod").decision == "deny"
        assert m.device(1, 3, type="block", access="read write").decision == "deny"
        assert m.setsockopt(1, 7, 21).output == (42).to_bytes(4, "little")
        assert m.setsockopt(2, 7, 21).decision == "deny"


def test_struct_ops_callbacks_are_called(tmp_path: Path) -> None:
    text = """
    struct sock;
    struct tcp_congestion_ops {
        u32 (*ssthresh)(struct sock *sk); u32 (*undo_cwnd)(struct sock *sk); char name[16];
    } CORE;
    struct tcp_sock { u32 snd_cwnd; } CORE;
    SEC("struct_ops/half") u32 half(u64 *a) { struct tcp_sock *t = (void *)a[0]; return t->snd_cwnd / 2; }
    SEC(".struct_ops.link") struct tcp_congestion_ops mine = { .ssthresh = (void *)half, .name = "mine" };
    """
    with machine(tmp_path, text, btf="shipped") as m:
        sock = m.kernel.at(int(m.sock("tcp")), "tcp_sock")
        sock.snd_cwnd = 84
        assert m.call("mine", "ssthresh", sock).retval == 42
        with pytest.raises(ProbeeError, match="mine has no function init; it has ssthresh"):
            m.call("mine", "init", sock)


def test_a_syscall_program_changes_its_context(tmp_path: Path) -> None:
    text = """SEC("syscall") int twice(u32 *c) { c[1] = c[0] * 2; return 5; }"""
    with machine(tmp_path, text) as m:
        result = m.fire("twice", (21).to_bytes(8, "little"))
        assert (result.retval, result.output[4:]) == (5, (42).to_bytes(4, "little"))
