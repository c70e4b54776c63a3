"""Every helper can be called by its prototype, in some kind of program that may."""

from __future__ import annotations

import lang_module
from probee.isa.helpers import PROTOTYPES, Prototype
from probee.isa.helpers.programs import since
from probee.lang.services.helpers import INSTEAD, kinds_of

# program types: the decorator, and the attach type that it means
HOOKS = {
    "syscall": ("syscall", "args: Point", ""),
    "kprobe": ('kprobe("vfs_read")', "file", ""),
    "sched_cls": ("tc", "pkt", ""),
    "xdp": ("xdp", "pkt", ""),
    "perf_event": ("perf_event(freq=99)", "ctx", ""),
    "sock_ops": ("sockops", "ctx", ""),
    "sk_msg": ("sk_msg", "msg", ""),
    "sk_skb": ('sk_skb("verdict")', "pkt", ""),
    "sk_reuseport": ("sk_reuseport", "pkt", ""),
    "sk_lookup": ("sk_lookup", "ctx", ""),
    "cgroup_sock_addr": ('cgroup_sock_addr("connect4")', "ctx", "cgroup_inet4_connect"),
    "cgroup_sockopt": ('cgroup_sockopt("setsockopt")', "ctx", "cgroup_setsockopt"),
    "cgroup_sysctl": ("cgroup_sysctl", "ctx", ""),
    "cgroup_skb": ('cgroup_skb("egress")', "pkt", "cgroup_inet_egress"),
    "lwt_xmit": ('lwt("xmit")', "pkt", ""),
    "lwt_in": ('lwt("in")', "pkt", ""),
    "lwt_seg6local": ('lwt("seg6local")', "pkt", ""),
    "lirc_mode2": ("lirc_mode2", "sample", ""),
    "socket_filter": ("socket_filter", "pkt", ""),
    "tracing": ('fexit("vfs_read")', "", "trace_fexit"),
    "lsm": ('lsm("file_open", sleepable=True)', "", "lsm_mac"),
}
GIVEN = {
    "const_map_ptr": "counts",
    "map_key": "1",
    "map_value": "2",
    "uninit_map_value": "n",
    "anything": "0",
    "scalar": "0",
    "const_str": "'abc'",
    "btf:task_struct": "bp.current_task()",
}
# what takes a struct of the kernel, a socket, a field of a map: those have tests of their own
OTHER = ("btf:", "sock", "release:", "timer", "spin_lock", "kptr", "dynptr", "percpu", "func", "alloc_size")


def _seen(proto: Prototype) -> list[str]:
    """The kinds of the parameters that are written down."""
    return [k for k in kinds_of(proto) if k.rstrip("?") not in ("ctx", "stack", "size", "size_or_zero")]


def _argument(kind: str) -> str | None:
    plain = kind.rstrip("?")
    if plain in GIVEN:
        return GIVEN[plain]
    if "mem" in plain and not plain.startswith("release"):
        return "buffer"
    return None


def test_every_helper(tmp_path):
    ktypes = lang_module.kernel_types()
    programs = []
    for name, proto in PROTOTYPES.items():
        if name in INSTEAD or not ktypes.has_helper(name):
            continue
        for kind, (hook, params, attach) in HOOKS.items():  # noqa: B007
            seen = _seen(proto.for_program(kind, attach))
            if since(name, kind, attach) and not any(
                o in k for o in OTHER for k in seen if k.rstrip("?") not in GIVEN
            ):
                break
        else:
            continue
        args = ", ".join(str(_argument(k)) for k in seen)
        call = f"with bp.{name}({args}) as found:\n        pass" if proto.acquires else f"bp.{name}({args})"
        programs.append(
            f"@bp.{hook}\ndef p{proto.id}({params}):\n    buffer = u8[64]()\n    n = 0\n    {call}\n"
        )
    assert len(programs) > 130
    text = lang_module.PRELUDE + "\n\n" + "\n\n".join(programs)
    module = lang_module.to_ir(lang_module.make(text, tmp_path), ktypes)
    called = {op.id for fn in module.functions for b in fn.blocks for op in b.ops if hasattr(op, "id")}
    missing = [p.split("def p")[1].split("(")[0] for p in programs]
    assert {int(id) for id in missing} <= called
