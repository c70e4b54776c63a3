"""eBPF for Python: write kernel programs in Python, load them, and read what they saw.

Names are fetched on first use, so that `import probee` costs a millisecond: no LLVM, NumPy or Rich.
Besides the names in `__all__`, every kernel helper is here by its name without `bpf_`.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated as Annotated
    from typing import Any, TypeAlias

    from . import maps as maps
    from . import vmlinux as vmlinux
    from .errors import AttachError as AttachError
    from .errors import CompileError as CompileError
    from .errors import LoadError as LoadError
    from .errors import MapError as MapError
    from .errors import ObjectError as ObjectError
    from .errors import PermissionDenied as PermissionDenied
    from .errors import ProbeeError as ProbeeError
    from .errors import Unsupported as Unsupported
    from .errors import VerifierError as VerifierError
    from .kernel.objects import load as load
    from .lang.decl import Array as Array
    from .lang.decl import Bits as Bits
    from .lang.decl import Char as Char
    from .lang.decl import Const as Const
    from .lang.decl import Global as Global
    from .lang.decl import Hash as Hash
    from .lang.decl import KernelStruct as KernelStruct
    from .lang.decl import LpmTrie as LpmTrie
    from .lang.decl import LruHash as LruHash
    from .lang.decl import LruPerCpuHash as LruPerCpuHash
    from .lang.decl import NotAttached as NotAttached
    from .lang.decl import PerCpuArray as PerCpuArray
    from .lang.decl import PerCpuHash as PerCpuHash
    from .lang.decl import ProgArray as ProgArray
    from .lang.decl import Ptr as Ptr
    from .lang.decl import RingBuf as RingBuf
    from .lang.decl import StackTrace as StackTrace
    from .lang.decl import Struct as Struct
    from .lang.decl import Union as Union
    from .lang.decl import global_function as global_function
    from .lang.decl import perf_event as perf_event
    from .lang.decl import raw_tracepoint as raw_tracepoint
    from .lang.decl import tp_btf as tp_btf
    from .lang.decl import tracepoint as tracepoint
    from .lang.decl import uprobe as uprobe
    from .lang.decl import uretprobe as uretprobe
    from .lang.decl.arenas import Arena as Arena
    from .lang.decl.arenas import ArenaPtr as ArenaPtr
    from .lang.decl.nested import ArrayOfMaps as ArrayOfMaps
    from .lang.decl.nested import HashOfMaps as HashOfMaps
    from .lang.decl.queues import BloomFilter as BloomFilter
    from .lang.decl.queues import PerfEventArray as PerfEventArray
    from .lang.decl.queues import Queue as Queue
    from .lang.decl.queues import Stack as Stack
    from .lang.decl.queues import UserRingBuf as UserRingBuf
    from .lang.decl.redirects import CgroupArray as CgroupArray
    from .lang.decl.redirects import CpuMap as CpuMap
    from .lang.decl.redirects import DevMap as DevMap
    from .lang.decl.redirects import DevMapHash as DevMapHash
    from .lang.decl.redirects import ReuseportArray as ReuseportArray
    from .lang.decl.redirects import SockHash as SockHash
    from .lang.decl.redirects import SockMap as SockMap
    from .lang.decl.redirects import XskMap as XskMap
    from .lang.decl.special import Kptr as Kptr
    from .lang.decl.special import ListHead as ListHead
    from .lang.decl.special import ListNode as ListNode
    from .lang.decl.special import PerCpuKptr as PerCpuKptr
    from .lang.decl.special import RbNode as RbNode
    from .lang.decl.special import RbRoot as RbRoot
    from .lang.decl.special import Refcount as Refcount
    from .lang.decl.special import ResSpinLock as ResSpinLock
    from .lang.decl.special import SpinLock as SpinLock
    from .lang.decl.special import TaskWork as TaskWork
    from .lang.decl.special import Timer as Timer
    from .lang.decl.special import WorkQueue as WorkQueue
    from .lang.decl.storages import CgroupStorage as CgroupStorage
    from .lang.decl.storages import CgrpStorage as CgrpStorage
    from .lang.decl.storages import InodeStorage as InodeStorage
    from .lang.decl.storages import PerCpuCgroupStorage as PerCpuCgroupStorage
    from .lang.decl.storages import SkStorage as SkStorage
    from .lang.decl.storages import TaskStorage as TaskStorage
    from .lang.kinds.decorators import action as action
    from .lang.kinds.decorators import cgroup_device as cgroup_device
    from .lang.kinds.decorators import cgroup_skb as cgroup_skb
    from .lang.kinds.decorators import cgroup_sock as cgroup_sock
    from .lang.kinds.decorators import cgroup_sock_addr as cgroup_sock_addr
    from .lang.kinds.decorators import cgroup_sockopt as cgroup_sockopt
    from .lang.kinds.decorators import cgroup_sysctl as cgroup_sysctl
    from .lang.kinds.decorators import flow_dissector as flow_dissector
    from .lang.kinds.decorators import lirc_mode2 as lirc_mode2
    from .lang.kinds.decorators import lwt as lwt
    from .lang.kinds.decorators import netfilter as netfilter
    from .lang.kinds.decorators import netkit as netkit
    from .lang.kinds.decorators import sk_lookup as sk_lookup
    from .lang.kinds.decorators import sk_msg as sk_msg
    from .lang.kinds.decorators import sk_reuseport as sk_reuseport
    from .lang.kinds.decorators import sk_skb as sk_skb
    from .lang.kinds.decorators import socket_filter as socket_filter
    from .lang.kinds.decorators import sockops as sockops
    from .lang.kinds.decorators import syscall as syscall
    from .lang.kinds.decorators import tc as tc
    from .lang.kinds.decorators import tcx as tcx
    from .lang.kinds.decorators import xdp as xdp
    from .lang.kinds.tracing_decorators import fentry as fentry
    from .lang.kinds.tracing_decorators import fexit as fexit
    from .lang.kinds.tracing_decorators import fmod_ret as fmod_ret
    from .lang.kinds.tracing_decorators import freplace as freplace
    from .lang.kinds.tracing_decorators import iter as iter
    from .lang.kinds.tracing_decorators import iter_map as iter_map
    from .lang.kinds.tracing_decorators import kprobe as kprobe
    from .lang.kinds.tracing_decorators import kprobe_multi as kprobe_multi
    from .lang.kinds.tracing_decorators import kprobe_session as kprobe_session
    from .lang.kinds.tracing_decorators import kretprobe as kretprobe
    from .lang.kinds.tracing_decorators import kretprobe_multi as kretprobe_multi
    from .lang.kinds.tracing_decorators import kretsyscall as kretsyscall
    from .lang.kinds.tracing_decorators import ksyscall as ksyscall
    from .lang.kinds.tracing_decorators import lsm as lsm
    from .lang.kinds.tracing_decorators import lsm_cgroup as lsm_cgroup
    from .lang.kinds.tracing_decorators import raw_tracepoint_writable as raw_tracepoint_writable
    from .lang.kinds.tracing_decorators import struct_ops as struct_ops
    from .lang.kinds.tracing_decorators import uprobe_multi as uprobe_multi
    from .lang.kinds.tracing_decorators import uprobe_session as uprobe_session
    from .lang.kinds.tracing_decorators import uretprobe_multi as uretprobe_multi
    from .lang.kinds.tracing_decorators import usdt as usdt
    from .lang.kinds.verdicts import CGROUP as CGROUP
    from .lang.kinds.verdicts import FLOW as FLOW
    from .lang.kinds.verdicts import LWT as LWT
    from .lang.kinds.verdicts import NF as NF
    from .lang.kinds.verdicts import SK as SK
    from .lang.kinds.verdicts import TC as TC
    from .lang.kinds.verdicts import XDP as XDP
    from .lang.names import *  # noqa: F403
    from .lang.packets.address import ipv4 as ipv4
    from .lang.packets.address import ipv6 as ipv6
    from .lang.packets.address import mac as mac
    from .lang.packets.header import Header as Header
    from .lang.packets.library import tcp_option as tcp_option
    from .lang.packets.library import transport as transport
    from .lang.packets.protocols import ARP as ARP
    from .lang.packets.protocols import GRE as GRE
    from .lang.packets.protocols import GUE as GUE
    from .lang.packets.protocols import ICMP as ICMP
    from .lang.packets.protocols import SCTP as SCTP
    from .lang.packets.protocols import TCP as TCP
    from .lang.packets.protocols import UDP as UDP
    from .lang.packets.protocols import VLAN as VLAN
    from .lang.packets.protocols import VXLAN as VXLAN
    from .lang.packets.protocols import Ethernet as Ethernet
    from .lang.packets.protocols import EtherType as EtherType
    from .lang.packets.protocols import Geneve as Geneve
    from .lang.packets.protocols import ICMPv6 as ICMPv6
    from .lang.packets.protocols import IPv4 as IPv4
    from .lang.packets.protocols import IPv6 as IPv6
    from .lang.packets.protocols import IPv6Authentication as IPv6Authentication
    from .lang.packets.protocols import IPv6Extension as IPv6Extension
    from .lang.packets.protocols import IPv6Fragment as IPv6Fragment
    from .lang.packets.protocols import Protocol as Protocol
    from .lang.packets.protocols import TCPOption as TCPOption
    from .machine_target import Machine as Machine
    from .record.replay import replay as replay
    from .session import Session as Session
    from .session import attach as attach

    # A value of these types is an int, and that is what a type checker should see.
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int

_HOMES = {
    "lang.decl": """
        Array Bits Char Const Global Hash KernelStruct LpmTrie LruHash LruPerCpuHash NotAttached
        PerCpuArray PerCpuHash ProgArray Ptr RingBuf StackTrace Struct Union i16 i32 i64 i8
        perf_event raw_tracepoint tp_btf tracepoint u16 u32 u64 u8 uprobe uretprobe""",
    "lang.decl.annotated": "Annotated",
    "lang.decl.arenas": "Arena ArenaPtr",
    "lang.decl.nested": "ArrayOfMaps HashOfMaps",
    "lang.decl.queues": "BloomFilter PerfEventArray Queue Stack UserRingBuf",
    "lang.decl.redirects": "CgroupArray CpuMap DevMap DevMapHash ReuseportArray SockHash SockMap XskMap",
    "lang.decl.special": """
        Kptr ListHead ListNode PerCpuKptr RbNode RbRoot Refcount ResSpinLock SpinLock TaskWork Timer
        WorkQueue""",
    "lang.decl.storages": """
        CgroupStorage CgrpStorage InodeStorage PerCpuCgroupStorage SkStorage TaskStorage""",
    "lang.builtins": """
        addr arg atomic bits bounded can_loop cast cgroup comm container_of cpu css css_tasks
        current_task curtask deref dmabufs dynptr enum_exists enum_value field_size gid irq_off jump
        kconfig kernel_str kernel_type_exists kernel_type_matches kfunc kfunc_exists kmem_caches kstack
        ksym ksym_address list_of nsecs obj_new offsetof percpu_obj_new pid preempt_off printf rand rcu
        rdonly_cast refcount_acquire reg retval sizeof static tail_call tasks threads throw tid type_id
        uid user_str ustack vmas""",
    "lang.kinds.decorators": """
        action cgroup_device cgroup_skb cgroup_sock cgroup_sock_addr cgroup_sockopt cgroup_sysctl
        flow_dissector lirc_mode2 lwt netfilter netkit sk_lookup sk_msg sk_reuseport sk_skb socket_filter
        sockops syscall tc tcx xdp""",
    "lang.kinds.tracing_decorators": """
        fentry fexit fmod_ret freplace iter iter_map kprobe kprobe_multi kprobe_session kretprobe
        kretprobe_multi kretsyscall ksyscall lsm lsm_cgroup raw_tracepoint_writable uprobe_multi
        struct_ops uprobe_session uretprobe_multi usdt""",
    "lang.kinds.verdicts": "CGROUP FLOW LWT NF SK TC XDP",
    "lang.packets.address": "ipv4 ipv6 mac",
    "lang.packets.header": "Header",
    "lang.packets.library": "tcp_option transport",
    "lang.packets.protocols": """
        ARP Ethernet EtherType GRE GUE Geneve ICMP ICMPv6 IPv4 IPv6
        IPv6Authentication IPv6Extension IPv6Fragment Protocol SCTP
        TCP TCPOption UDP VLAN VXLAN""",
    "lang.decl.functions": "global_function",
    "lang.std": "log2 log2_linear",
    "kernel.objects": "load",
    "machine_target": "Machine",
    "record.replay": "replay",
    "session": "Session attach",
    "errors": """
        AttachError CompileError LoadError MapError ObjectError PermissionDenied ProbeeError Unsupported
        VerifierError""",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
_MODULES = ("maps", "vmlinux")
_ROOMS = (
    "btf",
    "cache",
    "cli",
    "errors",
    "isa",
    "kernel",
    "lang",
    "machine",
    "obj",
    "session",
    "symbols",
    "sys",
    "verifier",
)

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return __import__(f"{__name__}.{name}", fromlist=["*"])
    if name[:2] != "__" and name not in _ROOMS:  # a room not imported yet is the import system's business
        module = __import__(f"{__name__}.{_HOME.get(name, 'lang.builtins')}", fromlist=["*"])
        value = getattr(module, name, _ROOMS)
        if value is not _ROOMS:
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    from .isa.tables import HELPERS

    return sorted({*globals(), *__all__, *_MODULES, *HELPERS})
