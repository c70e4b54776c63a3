"""The helpers' prototypes: what each takes and gives, in the verifier's terms, and who may call it.

    >>> PROTOTYPES["map_lookup_elem"].args
    ('const_map_ptr', 'map_key')

Sources: UAPI `linux/bpf.h` for names and C types; Linux 5.10, 6.1, 6.12 and 6.18 for the rest. A row of
the tables is the C declaration (without `bpf_`), the kinds of the arguments and of the result with flags,
and what the helper does.

Kinds of arguments are the kernel's, in lower case and without ARG_PTR_TO_ or ARG_: `ctx`, `const_map_ptr`,
`map_key`, `map_value`, `uninit_map_value`, `mem` (read), `write_mem` (written, but has to be initialised),
`uninit_mem` (written), `mem[20]` (so many bytes, no size argument), `size`, `size_or_zero`,
`alloc_size_or_zero` (a constant), `anything`, `scalar`, `func`, `stack`, `const_str`, `timer`, `spin_lock`,
`kptr_xchg_dest`, `percpu`, `ringbuf_mem`, `dynptr`, `dynptr:ringbuf`, `uninit_dynptr:local`, `socket`,
`sock_common` (a socket the verifier knows), `btf_sock_common` (that, or a BTF pointer to one),
`btf:task_struct` (a BTF pointer). `?` at the end: may be NULL. `release:` in front: the call takes the
reference away.

Kinds of results: `int`, `void`, `map_value`, `sock`, `sock_common`, `tcp_sock`, `ringbuf_mem`, `dynptr_mem`,
`percpu`, `btf:NAME`, `trusted:NAME`; with `?` where NULL may come back.
"""

from __future__ import annotations

from probee.isa.helpers import early, late
from probee.isa.tables import HELPERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What differs where a helper's argument or result depends on who calls it: (helper, caller) -> a row's second
# line. Callers are program types, or `type/attach type`.
_VARIANTS: dict[tuple[str, str], str] = {}


def _variants(callers: str, *rows: str) -> None:
    for row in rows:
        name, _, rest = row.partition(" ")
        for caller in callers.split():
            _VARIANTS[name, caller] = rest


_variants(
    "tracing lsm syscall",
    "get_socket_cookie (btf_sock_common?) -> int",
    "sk_storage_get (const_map_ptr, btf:sock_common?, map_value?, anything) -> map_value?",
    "sk_storage_delete (const_map_ptr, btf:sock_common?) -> int",
    "xdp_get_buff_len (btf:xdp_buff) -> int",
)
_variants(
    "lsm",
    "sk_storage_get (const_map_ptr, btf_sock_common, map_value?, anything) -> map_value?",
    "sk_storage_delete (const_map_ptr, btf_sock_common) -> int",
)
_variants("sk_reuseport", "get_socket_cookie (btf_sock_common?) -> int")
_variants("cgroup_sock", "sk_storage_get (const_map_ptr, ctx, map_value?, anything) -> map_value?")
_variants("sk_lookup", "sk_assign (ctx, socket?, anything) -> int")
_variants(
    "cgroup_sockopt lsm struct_ops tracing",
    "setsockopt (btf_sock_common, anything, anything, mem, size) -> int",
    "getsockopt (btf_sock_common, anything, anything, uninit_mem, size) -> int",
)
_variants(
    "cgroup_sock_addr",
    "sk_lookup_tcp (ctx, mem, size_or_zero, anything, anything) -> sock?; acquire",
    "sk_lookup_udp (ctx, mem, size_or_zero, anything, anything) -> sock?; acquire",
    "skc_lookup_tcp (ctx, mem, size_or_zero, anything, anything) -> sock_common?; acquire",
)
_variants("perf_event", "get_stackid (ctx, const_map_ptr, anything) -> int")
_variants(
    "raw_tracepoint raw_tracepoint_writable tracing lsm syscall",
    "get_stack (ctx, write_mem, size_or_zero, anything) -> int; gpl",
)
_variants(
    "kprobe/trace_kprobe_multi kprobe/trace_kprobe_session kprobe/trace_uprobe_multi "
    "kprobe/trace_uprobe_session",
    "get_func_ip (ctx) -> int",
)
_WITH_SKB = ("sched_cls", "sched_act", "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local")


class Prototype:
    """A helper's prototype.

    `name` (without `bpf_`), `id` and `since` (the Linux version that brought it) are `isa.tables.HELPERS`'s.
    `result` and `parameters` are the C types: `"void *"`, `(("struct bpf_map *", "map"), …)`; `variadic` if
    more may follow. `ret` and `args` are kinds (see the module). `gpl`: for programs under a GPL-compatible
    licence only. `sleeps`: for sleepable programs only. `packet`: takes pointers into packets as memory.
    `changes`: may move the packet, so that pointers into it are lost. `acquires`: what it gives has to be
    released. `fastcall`: keeps r1 to r5, where the JIT has it inline. `doc`: a line.
    """

    __slots__ = (
        "acquires",
        "args",
        "changes",
        "doc",
        "fastcall",
        "gpl",
        "id",
        "name",
        "packet",
        "parameters",
        "result",
        "ret",
        "since",
        "sleeps",
        "variadic",
    )

    def __init__(self, declaration: str, kinds: str, doc: str) -> None:
        head, _, inside = declaration.partition("(")
        cut = max(head.rfind(" "), head.rfind("*")) + 1
        self.name = head[cut:]
        self.id, self.since = HELPERS[self.name]
        self.result = head[:cut].strip()
        named = [part.strip() for part in inside.rstrip(")").split(",")]
        self.variadic = named[-1] == "..."
        self.parameters = tuple(_parameter(part) for part in named if part not in ("void", "..."))
        self.doc = doc
        self._set(kinds)

    def _set(self, kinds: str) -> None:
        args, _, rest = kinds[1:].partition(") -> ")
        self.ret, _, told = rest.partition("; ")
        self.args = tuple(args.split(", ")) if args else ()
        flags = told.split()
        self.gpl = "gpl" in flags
        self.sleeps = "sleep" in flags
        self.packet = "packet" in flags
        self.changes = "changes" in flags
        self.acquires = "acquire" in flags
        self.fastcall = "fastcall" in flags

    def __repr__(self) -> str:
        return f"Prototype({self.signature!r})"

    @property
    def signature(self) -> str:
        """The C declaration: `void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)`."""
        space = "" if self.result.endswith("*") else " "
        parts = [f"{kind}{'' if kind.endswith('*') else ' '}{name}" for kind, name in self.parameters]
        inside = ", ".join(parts + ["..."] * self.variadic) or "void"
        return f"{self.result}{space}bpf_{self.name}({inside})"

    def for_program(self, prog_type: str, attach_type: str = "", *, sleepable: bool = False) -> Prototype:
        """This prototype as programs of a type see it: some take another context, a socket for instance."""
        kinds = _VARIANTS.get((self.name, f"{prog_type}/{attach_type}")) or _VARIANTS.get(
            (self.name, prog_type)
        )
        classid = self.name == "get_cgroup_classid" and prog_type not in _WITH_SKB
        if not kinds and not classid and not (sleepable and self.name in ("get_stack", "get_task_stack")):
            return self
        other = Prototype.__new__(Prototype)
        for slot in self.__slots__:
            setattr(other, slot, getattr(self, slot))
        if kinds:
            other._set(kinds)
        if classid:
            other.args, other.parameters = (), ()
        if sleepable and self.name in ("get_stack", "get_task_stack"):
            other.sleeps = True
        return other


def _parameter(text: str) -> tuple[str, str]:
    cut = max(text.rfind(" "), text.rfind("*")) + 1
    return text[:cut].strip(), text[cut:]


def _read(rows: str) -> Iterator[tuple[str, Prototype]]:
    lines = rows.splitlines()
    for at in range(0, len(lines), 3):
        made = Prototype(lines[at], lines[at + 1].strip(), lines[at + 2].strip())
        yield made.name, made


PROTOTYPES: dict[str, Prototype] = {**dict(_read(early.ROWS)), **dict(_read(late.ROWS))}
BY_ID: dict[int, Prototype] = {made.id: made for made in PROTOTYPES.values()}
