"""Which maps go with which helpers (`check_map_func_compatibility` in the kernel)."""

from __future__ import annotations

from probee.isa.tables import MAP_TYPES
from probee.verifier.errors import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.helpers import Prototype
    from probee.verifier.program import MapInfo

_STORAGE = "{0}_storage_get {0}_storage_delete kptr_xchg"
_OF_MAP = {
    "prog_array": "tail_call",
    "perf_event_array": "perf_event_read perf_event_output skb_output perf_event_read_value xdp_output",
    "ringbuf": "ringbuf_output ringbuf_reserve ringbuf_query ringbuf_reserve_dynptr ringbuf_submit_dynptr "
    "ringbuf_discard_dynptr",
    "user_ringbuf": "user_ringbuf_drain",
    "stack_trace": "get_stackid",
    "cgroup_array": "skb_under_cgroup current_task_under_cgroup",
    "cgroup_storage": "get_local_storage",
    "percpu_cgroup_storage": "get_local_storage",
    "devmap": "redirect_map map_lookup_elem",
    "devmap_hash": "redirect_map map_lookup_elem",
    "cpumap": "redirect_map",
    "xskmap": "redirect_map map_lookup_elem",
    "array_of_maps": "map_lookup_elem",
    "hash_of_maps": "map_lookup_elem",
    "sockmap": "sk_redirect_map sock_map_update msg_redirect_map sk_select_reuseport map_lookup_elem",
    "sockhash": "sk_redirect_hash sock_hash_update msg_redirect_hash sk_select_reuseport map_lookup_elem",
    "reuseport_sockarray": "sk_select_reuseport",
    "queue": "map_peek_elem map_pop_elem map_push_elem",
    "stack": "map_peek_elem map_pop_elem map_push_elem",
    "sk_storage": _STORAGE.format("sk"),
    "inode_storage": _STORAGE.format("inode"),
    "task_storage": _STORAGE.format("task"),
    "cgrp_storage": _STORAGE.format("cgrp"),
    "bloom_filter": "map_peek_elem map_push_elem",
}
_OF_HELPER = {
    "tail_call": "prog_array",
    "user_ringbuf_drain": "user_ringbuf",
    "get_stackid": "stack_trace",
    "redirect_map": "devmap devmap_hash cpumap xskmap",
    "sk_redirect_map": "sockmap",
    "msg_redirect_map": "sockmap",
    "sock_map_update": "sockmap",
    "sk_redirect_hash": "sockhash",
    "msg_redirect_hash": "sockhash",
    "sock_hash_update": "sockhash",
    "get_local_storage": "cgroup_storage percpu_cgroup_storage",
    "sk_select_reuseport": "reuseport_sockarray sockmap sockhash",
    "map_pop_elem": "queue stack",
    "map_peek_elem": "queue stack bloom_filter",
    "map_push_elem": "queue stack bloom_filter",
    "map_lookup_percpu_elem": "percpu_array percpu_hash lru_percpu_hash",
    **dict.fromkeys(_OF_MAP["perf_event_array"].split(), "perf_event_array"),
    **dict.fromkeys(_OF_MAP["ringbuf"].split(), "ringbuf"),
    **dict.fromkeys(_OF_MAP["cgroup_array"].split(), "cgroup_array"),
    **{
        f"{owner}_storage_{verb}": f"{owner}_storage"
        for owner in ("sk", "inode", "task", "cgrp")
        for verb in ("get", "delete")
    },
}
_NAMES = {number: name for name, (number, _) in MAP_TYPES.items()}
_UPDATES = ("map_update_elem", "map_delete_elem")


def check_map_for_helper(info: MapInfo | None, proto: Prototype, *, may_update_sockmap: bool) -> None:
    """Raises Reject where the helper doesn't take maps of this type."""
    if info is None:
        return
    kind, name = _NAMES.get(info.type, ""), proto.name
    helpers = _OF_MAP.get(kind)
    if kind in ("sockmap", "sockhash") and name in _UPDATES and may_update_sockmap:
        return
    kinds = _OF_HELPER.get(name)
    if (helpers is not None and name not in helpers.split()) or (
        kinds is not None and kind not in kinds.split()
    ):
        raise Reject(f"cannot pass map_type {info.type} into func bpf_{name}#{proto.id}")
