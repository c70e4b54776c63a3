"""The running kernel's types, functions and tracepoints for editors: the text of `vmlinux.pyi`."""

from __future__ import annotations

import keyword
from collections.abc import Iterable

from ...btf.kinds import DECL_TAG, FUNC, STRUCT, UNION
from ...verifier.kfunc_rules import KFUNCS
from ..ktypes import KernelTypes
from ..types import BOOL, Array, Chars, Int, Ptr, Struct, Type
from .kfuncs import implicit

HEAD = '''\
"""Types of this kernel. Made by `probee stubs`; what the file is for is in `probee.vmlinux`."""

from contextlib import AbstractContextManager
from typing import Any

_bool = bool
_int = int
_str = str
_list = list

def __getattr__(name: str) -> Any: ...
'''
# What programs meet most, beside what its functions take: where to start from.
ROOTS = """
    task_struct sock sk_buff net_device file inode dentry path super_block vm_area_struct mm_struct cgroup
    css_set cred linux_binprm bio request rq cfs_rq pid nsproxy tcp_sock udp_sock inet_sock request_sock
    socket xdp_buff page folio bpf_map bpf_prog bpf_link seq_file iov_iter nf_conn pt_regs signal_struct
"""
_TRACE = "trace_event_raw_"


class Stubs:
    """Collects classes and renders them. `deep`: how many pointers are followed from the names given."""

    def __init__(self, ktypes: KernelTypes, deep: int = 2) -> None:
        self.ktypes = ktypes
        self.deep = deep
        self.names: dict[str, Struct] = {}
        self.depth: dict[str, int] = {}

    def add(self, names: Iterable[str]) -> None:
        """These structs, and what they lead to. Raises CompileError for one that the kernel has not."""
        todo = [(self.ktypes.struct(name), 0) for name in names]
        while todo:
            struct, depth = todo.pop()
            name = struct.name
            if not name or self.depth.get(name, self.deep + 1) <= depth:
                continue
            self.names[name], self.depth[name] = struct, depth
            for kind, far in self._leads(struct):
                if depth + far <= self.deep:
                    todo.append((kind, depth + far))

    def _leads(self, struct: Struct) -> Iterable[tuple[Struct, int]]:
        for member in struct.members:
            kind, far = member.type, 0
            while isinstance(kind, (Ptr, Array)):
                far += isinstance(kind, Ptr)
                kind = kind.to if isinstance(kind, Ptr) else kind.elem
            if isinstance(kind, Struct):
                if kind.name:
                    yield kind, far
                else:
                    yield from self._leads(kind)

    def all(self) -> None:
        """Every struct and union that has a name."""
        for t in self.ktypes.btf.own_types(STRUCT, UNION):
            if t.name and t.name not in self.names:
                found = self.ktypes.type(t.id)
                assert isinstance(found, Struct)
                self.names[t.name] = found

    def render(self) -> str:
        """The text of the file."""
        parts = [HEAD]
        records = {n: s for n, s in self.names.items() if n.startswith(_TRACE)}
        for name, struct in sorted(self.names.items()):
            if name not in records and _plain(name):
                parts.append(self._class(name, struct, ""))
        parts.append(self._kfuncs())
        parts.append(self._events(records))
        return "\n".join(parts)

    def _class(self, name: str, struct: Struct, margin: str) -> str:
        word = "union" if struct.union else "struct"
        lines = [f"{margin}class {name}:", f'{margin}    """{word} {struct.name}, {struct.size} bytes."""\n']
        seen: set[str] = set()
        lines += [f"{margin}    {line}" for line in self._fields(struct, seen)]
        return "\n".join(lines) + "\n"

    def _fields(self, struct: Struct, seen: set[str]) -> Iterable[str]:
        for member in struct.members:
            if not member.name:
                if isinstance(member.type, Struct):
                    yield from self._fields(member.type, seen)
            elif _plain(member.name) and member.name not in seen:
                seen.add(member.name)
                yield f"{member.name}: {self.type(member.type)}"

    def type(self, t: Type) -> str:
        """A kernel type as Python's checkers see its values."""
        if isinstance(t, Int):
            return "_bool" if t == BOOL else "_int"
        if isinstance(t, Chars):
            return "_str"
        if isinstance(t, Array):
            return f"_list[{self.type(t.elem)}]"
        if isinstance(t, Ptr) and isinstance(t.to, Struct):
            return self.type(t.to)
        if isinstance(t, Struct) and t.name in self.names and _plain(t.name):
            return f"_{t.name}"
        return "Any"

    def _kfuncs(self) -> str:
        btf = self.ktypes.btf
        tagged = {btf.type(btf.type(i).type).name for i in btf.find_all("bpf_kfunc", DECL_TAG)}
        found = sorted(n for n in tagged | set(KFUNCS) if btf.find(n, FUNC) is not None)
        lines = ["class kfunc:", '    """Functions of this kernel that programs may call."""\n']
        for name in found:
            extern = self.ktypes.kfunc(name)
            assert extern is not None
            params = [
                f"{word.partition('__')[0] or word}: {self._argument(word, kind)}"
                for word, kind in extern.params
                if not (implicit(word) or word.endswith(("__sz", "__szk")))
            ]
            names = [p.partition(":")[0] for p in params]
            if len(set(names)) < len(names) or any(not _plain(n) for n in names):
                params = [f"a{i}:{p.partition(':')[2]}" for i, p in enumerate(params)]
            rules = KFUNCS.get(name)
            ret = self.type(extern.ret) if isinstance(extern.ret, (Int, Ptr)) else "None"
            if rules is not None and rules.acquire:
                ret = f"AbstractContextManager[{ret}]"
            elif rules is not None and rules.ret_null and ret != "Any":
                ret = f"{ret} | None"
            lines += ["    @staticmethod", f"    def {name}({', '.join(params)}) -> {ret}: ..."]
        return "\n".join(lines) + "\n"

    def _argument(self, word: str, kind: Type) -> str:
        if isinstance(kind, Int):
            return "_int"
        found = self.type(kind)
        return f"{found} | None" if word.endswith("__nullable") and found != "Any" else found

    def _events(self, records: dict[str, Struct]) -> str:
        lines = ["class events:", '    """What tracepoints tell."""\n']
        for name, struct in sorted(records.items()):
            short = name.removeprefix(_TRACE)
            if not _plain(short):
                continue
            lines.append(f"    class {short}:")
            fields = [m for m in struct.members if m.name not in ("ent", "__data") and _plain(m.name)]
            for m in fields:
                word = m.name.removeprefix("__data_loc_").removeprefix("__rel_loc_")
                lines.append(f"        {word}: {'Any' if word != m.name else self.type(m.type)}")
            if not fields:
                lines.append("        ...")
        return "\n".join(lines) + "\n"


def _plain(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def render(ktypes: KernelTypes, names: Iterable[str] = (), *, every: bool = False) -> str:
    """`vmlinux.pyi` for these structs and what they lead to; without names for the usual ones."""
    stubs = Stubs(ktypes)
    given = list(names)
    usual = [n for n in ROOTS.split() if ktypes.find(f"struct {n}") is not None]
    stubs.add(given or usual)
    records = [t for t in ktypes.btf.own_types(STRUCT) if t.name.startswith(_TRACE)]
    for t in records:
        found = ktypes.type(t.id)
        assert isinstance(found, Struct)
        stubs.names.setdefault(t.name, found)
    if every:
        stubs.all()
    text = stubs.render()
    aliases = "\n".join(f"_{n} = {n}" for n in sorted(stubs.names) if _plain(n) and not n.startswith(_TRACE))
    return f"{text}\n{aliases}\n"
