"""The features that can be asked for: what each is, which Linux brought it, and what it must be built with.

Versions are those of the mainline kernel; distributions bring features back to older ones.
"""

from __future__ import annotations


class Feature:
    """`area` is the module of this package that holds the probe. `config` are build options it depends on."""

    __slots__ = ("area", "config", "name", "since", "what")

    def __init__(self, area: str, name: str, since: str, what: str, *config: str) -> None:
        self.area = area
        self.name = name
        self.since = since
        self.what = what
        self.config = config

    def __repr__(self) -> str:
        return f"<feature {self.name}: {self.what}, Linux {self.since}>"


_JIT = "CONFIG_BPF_JIT"
_BTF = "CONFIG_DEBUG_INFO_BTF"
_CGROUP = "CONFIG_CGROUP_BPF"
_EVENTS = "CONFIG_BPF_EVENTS"
_NET = "CONFIG_NET"
_LSM = "CONFIG_BPF_LSM"
_FTRACE = "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"

_ROWS = (
    # BTF of objects
    Feature("btf", "btf", "4.18", "BTF"),
    Feature("btf", "btf_func", "5.0", "functions in BTF"),
    Feature("btf", "btf_datasec", "5.2", "variables and sections in BTF"),
    Feature("btf", "btf_func_global", "5.6", "functions in BTF that say whether they are global"),
    Feature("btf", "btf_float", "5.13", "floats in BTF"),
    Feature("btf", "btf_decl_tag", "5.16", "declaration tags in BTF"),
    Feature("btf", "btf_type_tag", "5.17", "type tags in BTF"),
    Feature("btf", "btf_enum64", "6.0", "64-bit enumerations in BTF"),
    Feature("btf", "btf_qmark_datasec", "6.9", 'BTF sections whose name begins with "?"'),
    Feature("btf", "btf_attributes", "6.15", "attributes as BTF tags"),
    Feature("btf", "vmlinux_btf", "5.4", "BTF of the kernel itself", _BTF),
    Feature("btf", "module_btf", "5.11", "BTF of kernel modules"),
    # maps
    Feature("maps", "map_name", "4.15", "names of maps"),
    Feature("maps", "global_data", "5.2", "global variables (direct access to array values)"),
    Feature("maps", "map_freeze", "5.2", "frozen maps"),
    Feature("maps", "map_lock", "5.1", "maps with spin locks (BPF_F_LOCK)"),
    Feature("maps", "map_mmap", "5.5", "arrays mapped into memory"),
    Feature("maps", "map_batch", "5.6", "batch operations on maps"),
    Feature("maps", "map_batch_percpu_array", "5.13", "batch operations on per-CPU arrays"),
    Feature("maps", "map_lookup_and_delete_hash", "5.14", "taking elements out of hash maps"),
    Feature("maps", "map_inner_dynamic", "5.10", "inner arrays of different sizes (BPF_F_INNER_MAP)"),
    Feature("maps", "map_extra", "5.16", "map creation's extra field"),
    Feature("maps", "memcg_accounting", "5.11", "BPF memory accounted to cgroups, without RLIMIT_MEMLOCK"),
    Feature("maps", "ringbuf", "5.8", "ring buffers"),
    Feature("maps", "ringbuf_overwrite", "6.19", "ring buffers that overwrite their oldest records"),
    Feature("maps", "inode_storage", "5.10", "storage for inodes", _LSM),
    Feature("maps", "task_storage", "5.11", "storage for tasks"),
    Feature("maps", "bloom_filter", "5.16", "Bloom filters"),
    Feature("maps", "user_ringbuf", "6.1", "user ring buffers"),
    Feature("maps", "cgrp_storage", "6.2", "storage for cgroups", "CONFIG_CGROUPS"),
    Feature("maps", "arena", "6.9", "arenas", _JIT),
    Feature("maps", "insn_array", "6.19", "instruction arrays (jump tables)"),
    Feature("maps", "token", "6.9", "BPF tokens"),
    # programs
    Feature("programs", "prog_name", "4.15", "names of programs"),
    Feature("programs", "expected_attach_type", "4.17", "attach types checked at load"),
    Feature("programs", "bpf2bpf", "4.16", "subprograms"),
    Feature("programs", "probe_read_kernel", "5.5", "helpers that tell kernel memory from user memory"),
    Feature("programs", "prog_bind_map", "5.10", "maps bound to programs"),
    Feature("programs", "bpf_cookie", "5.15", "cookies of links"),
    Feature("programs", "sleepable", "5.10", "sleepable programs"),
    Feature("programs", "sleepable_uprobe", "6.0", "sleepable uprobe programs", _EVENTS),
    Feature("programs", "xdp_frags", "5.18", "XDP programs for packets in fragments", _NET),
    Feature("programs", "log_true_size", "6.4", "the size of the verifier's log reported"),
    Feature("programs", "raw_tp_writable", "5.2", "writable raw tracepoint programs", _EVENTS),
    Feature("programs", "test_run_raw_tp", "5.10", "test runs of raw tracepoint programs", _EVENTS),
    Feature("programs", "test_run_sk_lookup", "5.13", "test runs of sk_lookup programs", _NET),
    Feature("programs", "test_run_live_xdp", "5.18", "test runs of XDP programs with live frames", _NET),
    Feature("programs", "syscall_prog", "5.14", "programs that make system calls"),
    Feature("programs", "netfilter", "6.4", "netfilter programs", "CONFIG_NETFILTER_BPF_LINK"),
    Feature("programs", "kfunc", "5.13", "calls of kernel functions"),
    # hooks and links
    Feature("links", "kprobe", "4.1", "kprobes", "CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"),
    Feature("links", "kprobe_pmu", "4.17", "kprobes through perf_event_open", "CONFIG_KPROBE_EVENTS"),
    Feature("links", "uprobe", "4.1", "uprobes", "CONFIG_UPROBE_EVENTS"),
    Feature("links", "uprobe_pmu", "4.17", "uprobes through perf_event_open", "CONFIG_UPROBE_EVENTS"),
    Feature("links", "uprobe_ref_ctr", "4.20", "uprobes with a semaphore (USDT)", "CONFIG_UPROBE_EVENTS"),
    Feature("links", "link", "5.7", "BPF links", _CGROUP),
    Feature("links", "link_detach", "5.9", "detaching links"),
    Feature("links", "perf_link", "5.15", "links to perf events", "CONFIG_PERF_EVENTS"),
    Feature("links", "kprobe_multi", "5.18", "kprobe.multi links", "CONFIG_FPROBE"),
    Feature("links", "kprobe_session", "6.10", "kprobe.session links", "CONFIG_FPROBE"),
    Feature("links", "uprobe_multi", "6.6", "uprobe.multi links", "CONFIG_UPROBES"),
    Feature("links", "uprobe_session", "6.13", "uprobe.session links", "CONFIG_UPROBES"),
    Feature("links", "tp_btf", "5.5", "typed raw tracepoints", _BTF, _EVENTS),
    Feature("links", "fentry", "5.5", "fentry and fexit programs", _BTF, _FTRACE),
    Feature("links", "fmod_ret", "5.7", "fmod_ret programs", _BTF, _FTRACE),
    Feature("links", "freplace", "5.6", "freplace programs", _BTF, _JIT),
    Feature("links", "lsm", "5.7", "LSM programs", _BTF, _LSM, _FTRACE),
    Feature("links", "lsm_cgroup", "6.0", "LSM programs for a cgroup", _BTF, _LSM, _CGROUP),
    Feature("links", "iter", "5.8", "iterators", _BTF),
    Feature("links", "iter_task_vma", "5.12", "iterators over memory areas of tasks", _BTF),
    Feature("links", "iter_cgroup", "6.1", "iterators over cgroups", _BTF, "CONFIG_CGROUPS"),
    Feature("links", "iter_kmem_cache", "6.13", "iterators over slab caches", _BTF),
    Feature("links", "struct_ops", "5.6", "struct_ops", _BTF, _JIT),
    Feature("links", "struct_ops_link", "6.4", "links to struct_ops maps", _BTF, _JIT),
    Feature("links", "sched_ext", "6.12", "schedulers written in BPF", "CONFIG_SCHED_CLASS_EXT"),
    Feature("links", "xdp_link", "5.9", "links to XDP", _NET),
    Feature("links", "tcx", "6.6", "tcx", "CONFIG_NET_XGRESS"),
    Feature("links", "netkit", "6.7", "netkit devices", "CONFIG_NETKIT"),
    Feature("links", "netfilter_link", "6.4", "links to netfilter", "CONFIG_NETFILTER_BPF_LINK"),
    Feature("links", "netns_link", "5.8", "links to network namespaces", _NET),
    Feature("links", "sockmap_link", "6.10", "links to sockmaps", _NET),
    Feature("links", "cgroup_multi", "4.15", "several programs at one hook of a cgroup", _CGROUP),
    Feature("links", "cgroup_sock_release", "5.9", "programs at the release of sockets", _CGROUP),
    Feature("links", "cgroup_unix", "6.7", "cgroup hooks of Unix sockets", _CGROUP),
    Feature("links", "enable_stats", "5.8", "run time statistics switched on by descriptor"),
    Feature("links", "task_fd_query", "4.18", "questions about a descriptor's probe", _EVENTS),
    # the verifier
    Feature("verifier", "isa_v2", "4.14", "instruction set v2 (unsigned less-than jumps)"),
    Feature("verifier", "isa_v3", "5.1", "instruction set v3 (32-bit jumps)"),
    Feature("verifier", "isa_v4", "6.6", "instruction set v4 (sign extension, signed division, long jumps)"),
    Feature("verifier", "atomics", "5.12", "atomic operations that fetch"),
    Feature("verifier", "load_acquire", "6.15", "load-acquire and store-release", _JIT),
    Feature("verifier", "may_goto", "6.9", "may_goto loops"),
    Feature("verifier", "large_insn_limit", "5.2", "programs of up to a million instructions"),
    Feature("verifier", "bounded_loops", "5.3", "bounded loops"),
    Feature("verifier", "mixed_tail_calls", "5.10", "tail calls from subprograms", _JIT),
    Feature("verifier", "spin_lock", "5.1", "spin locks"),
    Feature("verifier", "for_each_map_elem", "5.13", "callbacks over map elements"),
    Feature("verifier", "timers", "5.15", "timers"),
    Feature("verifier", "loop_helper", "5.17", "loops by callback (bpf_loop)"),
    Feature("verifier", "kptr", "5.19", "kernel pointers in maps"),
    Feature("verifier", "dynptr", "5.19", "dynptrs"),
    Feature("verifier", "arg_ctx_tag", "6.8", "context arguments of global functions by tag", _BTF),
    Feature("verifier", "rcu_kfuncs", "6.2", "RCU sections in programs", _BTF),
    Feature("verifier", "cpumask_kfuncs", "6.3", "CPU masks", _BTF),
    Feature("verifier", "rbtree", "6.3", "red-black trees", _BTF),
    Feature("verifier", "open_coded_iterators", "6.4", "open-coded iterators", _BTF),
    Feature("verifier", "exceptions", "6.7", "exceptions", _BTF),
    Feature("verifier", "workqueues", "6.10", "work queues", _BTF),
    Feature("verifier", "crypto_kfuncs", "6.10", "cryptography", _BTF),
    Feature("verifier", "session_cookie", "6.10", "cookies of sessions", _BTF),
    Feature("verifier", "res_spin_lock", "6.15", "resilient spin locks", _BTF),
    Feature("verifier", "streams", "6.17", "output streams of programs", _BTF),
)

FEATURES: dict[str, Feature] = {feature.name: feature for feature in _ROWS}
