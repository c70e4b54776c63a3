"""Maps without an object: made from Python, or found in the running kernel.

    import probee as bp

    with bp.maps.create("hash", key="u32", value={"calls": "u64", "comm": "char[16]"}, entries=1000) as m:
        m[7] = (1, "init")

    with bp.maps.open(name="runs") as m:
        print(m.snapshot())

Types are written as a size in bytes (`4`), as text (`"u32"`, `"i64"`, `"bool"`, `"f64"`, `"char[16]"`,
`"u8[6]"`, `"u32[4]"`), as a dict of fields, or with the language's types (`bp.u32`, `bp.Char[16]`, a
`bp.Struct`). The kernel is told them as BTF, so that other tools read the map typed, too.
"""

from __future__ import annotations

from .kernel.found import MapFacts, list_maps
from .kernel.found import open_map as open
from .kernel.maps import BPF_ANY as ANY
from .kernel.maps import BPF_EXIST as EXIST
from .kernel.maps import BPF_F_LOCK as LOCK
from .kernel.maps import BPF_NOEXIST as NOEXIST
from .kernel.maps import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ANY", "EXIST", "LOCK", "NOEXIST", "Map", "MapFacts", "create", "list_maps", "open"]


def create(
    type: str,
    *,
    key: Any = None,
    value: Any = None,
    entries: int = 0,
    name: str = "",
    flags: int = 0,
    inner: Map | None = None,
    extra: int = 0,
    numa_node: int | None = None,
    pin: str = "",
) -> Any:
    """A new map of a `type` as bpftool spells it: `hash`, `percpu_array`, `lpm_trie`, `ringbuf`, …

    `key` and `value` are types (see the module), `entries` the most there can be (bytes for ring buffers,
    pages for arenas; the number of CPUs by default for perf event arrays). For the keys of an `lpm_trie`
    give `"ipv4"`, `"ipv6"` or the bytes behind the prefix length. `flags` are BPF_F_* (those without which
    the kernel takes no such map are added), `inner` is a map like the ones inside a map of maps, `extra` what
    map_extra is for the type, `pin` a path to pin it at.

    Raises ValueError or TypeError for what makes no sense, MapError, PermissionDenied, Unsupported (a map
    type this kernel does not know).
    """
    from .kernel.made import make

    return make(
        type,
        key=key,
        value=value,
        entries=entries,
        name=name,
        flags=flags,
        inner=inner,
        extra=extra,
        numa_node=numa_node,
        pin=pin,
    )
