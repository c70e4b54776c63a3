"""A Python module for a BPF object: it embeds it and types its maps, programs, records and globals."""

from __future__ import annotations

import keyword
import re
import textwrap

from probee.btf.kinds import ARRAY, ENUMS, FLOAT, INT, INT_BOOL, INT_SIGNED, PTR, STRUCT, UNION
from probee.btf.python_source import render_python
from probee.isa.tables import MAP_TYPES
from probee.obj.linker import link
from probee.obj.reader import read_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probee.btf.parser import Btf, BtfType
    from probee.obj.spec import GlobalSpec, MapSpec, ObjectSpec

_KIND = {number: name for name, (number, _) in MAP_TYPES.items()}
_PER_CPU = frozenset(("percpu_hash", "percpu_array", "lru_percpu_hash", "percpu_cgroup_storage"))
_STREAMS = {"ringbuf": "RingBuf", "perf_event_array": "PerfEventArray"}
_KEYED = frozenset(("hash", "array", "lru_hash", "lpm_trie", *_PER_CPU))
_NUMBERS = frozenset(("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"))
_FIELD = re.compile(r"^    (\w+): (\w+)((?:\[\d+\])*)", re.MULTILINE)
_WIDTH = 96


def python_module(
    data: bytes, name: str, pack: Callable[[bytes], str], records: Mapping[str, str] | None = None
) -> str:
    """The text of a module for the object in `data`, without its debug information.

    `name` is the object's; the class is called after it. `pack` makes text of bytes. `records` are the
    structs in the records of ring and perf buffers, by map. Raises ObjectError.
    """
    small = link([(name, data)])
    spec = read_object(small, name)
    return _Module(spec, pack(small), dict(records or {})).text()


def class_name(name: str) -> str:
    """A class's name after an object's: `tcp-life` is TcpLife."""
    words = [w for w in re.split(r"[^0-9A-Za-z]+", name) if w]
    joined = "".join(w[0].upper() + w[1:] for w in words) or "Object"
    return f"_{joined}" if joined[0].isdigit() else joined


def _usable(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


class _Module:
    def __init__(self, spec: ObjectSpec, packed: str, records: dict[str, str]) -> None:
        self.spec = spec
        self.packed = packed
        self.records = records
        self.structs: dict[int, BtfType] = {}
        self.used: set[str] = set()  # names of this module that are imported

    def text(self) -> str:
        spec = self.spec
        maps = [m for m in spec.maps.values() if m.initial is None and _usable(m.name)]
        variables = [g for g in spec.globals.values() if _usable(g.name)]
        bodies = [self._map_class(m) for m in maps]
        body = "\n\n".join(
            [
                *(b for b in bodies if b),
                self._maps(maps),
                self._programs(),
                *([self._globals(variables)] if variables else []),
                self._main(variables),
            ]
        )
        structs = self._structs()
        doc = f'"""The BPF object {spec.name}, with its types. Written by `probee gen`: changes are lost."""'
        imports = ["# ruff: noqa", "from __future__ import annotations", ""]
        imports += ["from typing import TYPE_CHECKING, Any, TypedDict", ""]
        imports += [*([structs[0]] if structs else []), "from probee.skeleton import Skeleton"]
        standard = [n for n in ("Iterator", "Mapping") if re.search(rf"\b{n}\b", body)]
        checked = [f"    from collections.abc import {', '.join(standard)}"] if standard else []
        checked += [f"    from probee.kernel.{home} import {n}" for home, n in sorted(self._homes())]
        guard = ["", "if TYPE_CHECKING:", *checked] if checked else []
        parts = [doc, "", *imports, *guard, "", ""]
        if structs:
            parts += [structs[1].rstrip(), "", ""]
        return "\n".join([*parts, body]).rstrip() + "\n"

    def _homes(self) -> set[tuple[str, str]]:
        homes = {
            "Hash": "maps",
            "Array": "arrays",
            "PerCpuHash": "percpu",
            "PerCpuArray": "percpu",
            "KeyedMap": "maps",
            "RingBuf": "ringbuf",
            "PerfEventArray": "perf_array",
            "Program": "program",
        }
        return {(homes[name], name) for name in self.used}

    # ---- types

    def _structs(self) -> tuple[str, str] | None:
        """The import and the classes. Type checkers see values as Python has them: text, not `Char[16]`."""
        if not self.structs or self.spec.btf is None:
            return None
        head, _, rest = render_python(self.spec.btf, sorted(self.structs)).partition("\n\n")
        seen = _FIELD.sub(_as_python, rest.replace("(Struct):", ":"))
        classes = [textwrap.indent(text.strip(), "    ") for text in (seen, rest)]
        return head, f"if TYPE_CHECKING:\n\n{classes[0]}\n\nelse:\n\n{classes[1]}\n"

    def _value(self, id: int) -> str:
        """Python's type of a value, as `probee.btf.values` gives it."""
        btf: Btf | None = self.spec.btf
        if btf is None or not id:
            return "bytes"
        t = btf.type(btf.strip(id))
        if t.kind == INT:
            return "bool" if t.encoding & INT_BOOL and t.size == 1 else "int"
        if t.kind in ENUMS or t.kind == PTR:
            return "int"
        if t.kind == FLOAT:
            return "float"
        if t.kind == ARRAY:
            elem = btf.type(btf.strip(t.array[0]))
            if elem.kind == INT and elem.size == 1 and elem.name == "char":
                return "str"
            if elem.kind == INT and elem.size == 1 and not elem.encoding & (INT_SIGNED | INT_BOOL):
                return "bytes"
            return f"tuple[{self._value(t.array[0])}, ...]"
        if t.kind == STRUCT and t.name and t.size and _usable(t.name):
            self.structs[t.id] = t
            return t.name
        return "Any"

    # ---- maps

    def _map_class(self, m: MapSpec) -> str:
        kind = _KIND.get(m.map_type, "")
        name = self._stub_name(m)
        if kind in _STREAMS:
            base = _STREAMS[kind]
            self.used.add(base)
            record = self._record(m)
            lines = [f"class {name}({base}):", f"    def __iter__(self) -> Iterator[{record}]: ..."]
        elif kind in _KEYED:
            self.used.add("KeyedMap")
            key = "int" if kind.endswith("array") else self._plain(m.key_type_id, m.key_size)
            value = self._plain(m.value_type_id, m.value_size)
            if kind in _PER_CPU:
                value = f"list[{value}]"
            lines = [
                f"class {name}(KeyedMap):",
                f"    def __getitem__(self, key: {key}) -> {value}: ...",
                f"    def __setitem__(self, key: {key}, value: {value}) -> None: ...",
                f"    def __iter__(self) -> Iterator[{key}]: ...",
            ]
        else:
            return ""
        return "if TYPE_CHECKING:\n\n" + textwrap.indent("\n".join(lines), "    ") + "\n"

    def _plain(self, id: int, size: int) -> str:
        if not id and size in (1, 2, 4, 8):
            return "int"
        return self._value(id)

    def _record(self, m: MapSpec) -> str:
        struct = self.records.get(m.name)
        btf = self.spec.btf
        if struct is not None and btf is not None:
            found = btf.find(struct, STRUCT, UNION)
            return self._value(found) if found else "Any"
        return self._value(m.record_type_id) if m.record_type_id else "bytes"

    @staticmethod
    def _stub_name(m: MapSpec) -> str:
        return f"_{class_name(m.name)}"

    def _maps(self, maps: list[MapSpec]) -> str:
        out = ["class Maps:", '    """The live maps."""', ""]
        out += ["    def __init__(self, live: dict[str, Any]) -> None:", "        self._live = live"]
        for m in maps:
            kind = _KIND.get(m.map_type, f"type {m.map_type}")
            stub = self._stub_name(m) if kind in _STREAMS or kind in _KEYED else "Any"
            out += [
                "",
                "    @property",
                f"    def {m.name}(self) -> {stub}:",
                f'        """{_words(self._describe(m, kind))}"""',
                f'        return self._live["{m.name}"]  # type: ignore[no-any-return]'
                if stub != "Any"
                else f'        return self._live["{m.name}"]',
            ]
        return "\n".join(out) + "\n"

    def _describe(self, m: MapSpec, kind: str) -> str:
        if kind in _STREAMS:
            return f"{kind}: records of {self._record(m)}"
        key, value = self._plain(m.key_type_id, m.key_size), self._plain(m.value_type_id, m.value_size)
        return f"{kind}, {m.max_entries} entries: {key} -> {value}"

    # ---- programs, globals, the whole

    def _programs(self) -> str:
        self.used.add("Program")
        out = ["class Programs:", '    """The programs."""', ""]
        out += ["    def __init__(self, live: dict[str, Program]) -> None:", "        self._live = live"]
        for name, program in self.spec.programs.items():
            if _usable(name):
                out += [
                    "",
                    "    @property",
                    f"    def {name}(self) -> Program:",
                    f'        """{_words(program.section)}"""',
                    f'        return self._live["{name}"]',
                ]
        return "\n".join(out) + "\n"

    def _globals(self, variables: list[GlobalSpec]) -> str:
        out = [
            "class Globals:",
            '    """The global variables, live. Constants are set before loading."""',
            "",
        ]
        out += ["    def __init__(self, live: Any) -> None:", "        self._live = live"]
        for g in variables:
            type = self._plain(g.type_id, g.size)
            out += ["", "    @property", f"    def {g.name}(self) -> {type}:"]
            out.append(
                f'        return self._live["{g.name}"]  # type: ignore[no-any-return]'
                if type != "Any"
                else f'        return self._live["{g.name}"]'
            )
            if not g.const:
                out += ["", f"    @{g.name}.setter", f"    def {g.name}(self, value: {type}) -> None:"]
                out.append(f'        self._live["{g.name}"] = value')
        out += [
            "",
            "",
            "class Values(TypedDict, total=False):",
            '    """Globals that can be set before loading."""',
            "",
        ]
        out += [f"    {g.name}: {self._plain(g.type_id, g.size)}" for g in variables]
        return "\n".join(out) + "\n"

    def _main(self, variables: list[GlobalSpec]) -> str:
        spec = self.spec
        names = sorted({t.name for t in self.structs.values()})
        out = [f"class {class_name(spec.name)}(Skeleton):"]
        programs = ", ".join(f"{n} ({p.section})" for n, p in spec.programs.items())
        out += textwrap.wrap(
            f'"""Programs: {_words(programs)}."""', _WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        out += ["", f"    _name = {spec.name!r}"]
        if names:
            out.append(f"    _classes = {{{', '.join(f'{n!r}: {n}' for n in names)}}}")
        if self.records:
            out.append(f"    _records = {self.records!r}")
        out += [
            '    _object = """',
            *(self.packed[at : at + _WIDTH] for at in range(0, len(self.packed), _WIDTH)),
            '"""',
            "",
        ]
        values = "Values" if variables else "Mapping[str, Any]"
        out += [
            f"    def __init__(self, *, values: {values} | None = None, **options: Any) -> None:",
            "        super().__init__(values=values, **options)",
            "        self.maps = Maps(self.collection.maps)",
            "        self.programs = Programs(self.collection.programs)",
        ]
        if variables:
            out.append("        self.globals = Globals(self.collection.globals)")
        return "\n".join(out) + "\n"


def _as_python(field: re.Match[str]) -> str:
    """A field of a `Struct` as type checkers should see it."""
    name, kind, count = field.groups()
    value = "int" if kind in _NUMBERS else kind
    if count and kind == "Char":
        value = "str"
    elif count and kind == "u8":
        value = "bytes"
    elif count:
        value = f"tuple[{value}, ...]"
    return f"    {name}: {value}"


def _words(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")


__all__ = ["class_name", "python_module"]
