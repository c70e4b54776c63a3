"""What a compiled object depends on, as a key; found without parsing, because it runs at every start.

The key covers the code and source text of the programs and of every function they may call, every Python
object they name (constants, enums, structs, maps, globals) by value, the options, probee's own files, LLVM's
library, the Python version, and the kernel whose BTF and tracepoint formats the compiler reads. What a name
means is found as the compiler finds it: closure, globals, builtins, then attributes. Too much in the key
costs a compilation, too little would run the wrong program, so attributes are taken of every object in sight.

The same walk finds the maps and globals in use and names those that have no name yet after their variable.
"""

from __future__ import annotations

import builtins
import os
import sys

from ..errors import CompileError
from .decl import (
    ArrayType,
    BitsType,
    CharType,
    EnumType,
    Global,
    GlobalFunction,
    MapDecl,
    ProgramDecl,
    PtrType,
    ScalarType,
    StructType,
    Var,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType
    from typing import Any

    Decl = MapDecl | Var

_OF_MODULES = ("fentry", "fexit", "fmod_ret", "tp_btf", "raw_tracepoint", "struct_ops")
FORMAT = 1  # of the key; counted up when this module hashes something else

_ARENA = 33  # enum bpf_map_type
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range)
_Function = type(lambda: None)
_Module = type(sys)


def fingerprint(programs: Iterable[ProgramDecl], **options: object) -> tuple[str, list[Decl]]:
    """A key of 32 hexadecimal digits, and the maps and globals that the programs use, all with names.

    `options` are those of `lang.compile`. Raises CompileError if two structs in use share a name.
    """
    walk = Walk()
    walk.add("probee", FORMAT, sys.version_info[:3], sys.flags.optimize)
    walk.add(*(f"{name}={value!r}" for name, value in sorted(options.items())))
    walk.add(*_toolchain())
    walk.add(*_kernel())
    expanded = [p for program in programs for p in program.expand()]
    walk.programs(expanded)
    for p in expanded:
        if p.kind == "tracepoint":
            walk.add(_read(f"/sys/kernel/tracing/events/{p.args[0]}/{p.args[1]}/format"))
    return walk.digest(), walk.decls


class Walk:
    """Collects everything the programs refer to; `digest` hashes it."""

    __slots__ = (
        "_arena",
        "_chunks",
        "_functions",
        "_hints",
        "_keep",
        "_modules",
        "_seen",
        "_texts",
        "_within",
        "decls",
        "structs",
    )

    def __init__(self) -> None:
        self._modules = False  # what it names may be of a module
        self._arena = False  # pointers lead into one, which programs need not name
        self._chunks: list[bytes] = []
        self._functions: list[Any] = []
        self._hints: dict[int, str] = {}  # the name a map or global was first found by
        self._keep: list[Any] = []  # keeps the ids in _seen valid
        self._seen: dict[int, int] = {}
        self._texts: dict[str, list[str]] = {}
        self._within: set[tuple[int, int]] = set()  # (function, object) whose attributes were taken
        self.decls: list[Decl] = []
        self.structs: dict[str, StructType] = {}

    def add(self, *parts: object) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
            self._chunks.append(b"%d:" % len(data))
            self._chunks.append(data)

    def digest(self) -> str:
        try:
            from _blake2 import blake2b  # hashlib's, without the 3 ms of loading OpenSSL
        except ImportError:
            from hashlib import blake2b
        return blake2b(b"".join(self._chunks), digest_size=16).hexdigest()

    # ---- objects ----

    def programs(self, programs: list[ProgramDecl]) -> None:
        """Add the programs and all they lead to, and name what has no name."""
        for p in programs:
            self.value(p)
        done = 0
        while done < len(self._functions):
            self._function(self._functions[done])
            done += 1
        if self._modules:
            self.add(*_modules())
        if self._arena:
            for fn in self._functions:
                for name, obj in fn.__globals__.items():
                    if isinstance(obj, MapDecl) and obj.kind == _ARENA:
                        self.value(obj, name)
        taken = {*(p.name for p in programs), *(fn.__name__ for fn in self._functions)}
        for d in self.decls:
            d.name = _unique(d.name or self._hints[id(d)], taken)
            self.add(d.name)

    def value(self, obj: Any, hint: str = "") -> None:
        """Add an object by value; `hint` is the name it was found by."""
        if isinstance(obj, _PLAIN):
            self.add(type(obj).__name__, repr(obj))
            if type(obj).__module__ != "builtins":
                self.add(type(obj).__qualname__, getattr(obj, "value", ""))
            return
        at = self._seen.get(id(obj))
        if at is not None:
            self.add("again", at)
            return
        self._seen[id(obj)] = len(self._seen)
        self._keep.append(obj)
        if isinstance(obj, (ScalarType, CharType, BitsType)):
            self.add(repr(obj))
        elif isinstance(obj, ArrayType):
            self.add("array", obj.n)
            self.value(obj.elem)
        elif isinstance(obj, EnumType):
            self.add("enum", repr(obj), *(f"{n}={m.value!r}" for n, m in obj.cls.__members__.items()))
        elif isinstance(obj, PtrType):
            self.add("pointer")
            if hasattr(obj, "scope"):  # into the arena
                self._arena = True
                self.value(obj.target())  # type: ignore[attr-defined]
            else:
                self.value(obj.to)
        elif isinstance(obj, StructType):
            self._struct(obj)
        elif isinstance(obj, (MapDecl, Var)):
            self._declared(obj, hint)
        elif isinstance(obj, ProgramDecl):
            self.add("program", obj.kind, repr(obj.args), obj.name)
            self._modules = self._modules or obj.kind.removesuffix(".s") in _OF_MODULES
            self.value(obj.fn)
            for name, target in obj.targets():
                self.value(target, name)
        elif isinstance(obj, GlobalFunction):
            self.add("global function")
            self.value(obj.fn)
        elif isinstance(obj, _Function):
            self.add("function", obj.__module__, obj.__qualname__)
            self._functions.append(obj)
        elif isinstance(obj, (tuple, list)):
            self.add(type(obj).__name__, len(obj))
            for item in list(obj):
                self.value(item)
        elif isinstance(obj, dict):
            self.add("dict", len(obj))
            for key, item in list(obj.items()):
                self.value(key)
                self.value(item)
        elif isinstance(obj, (set, frozenset)):
            self.add(type(obj).__name__, *sorted(map(repr, obj)))
        elif isinstance(obj, (_Module, type)):
            self.add(type(obj).__name__, obj.__name__)
            self._modules = self._modules or obj.__name__ == "kfunc"
        else:
            kind = type(obj)
            self.add("object", kind.__module__, kind.__qualname__, repr(obj) if hasattr(obj, "_ir_") else "")
            if hasattr(obj, "_ir_") and hasattr(obj, "to"):  # a list, a kptr
                self.value(obj.to)
            if hasattr(kind, "__members__"):  # a member of an enum
                self.add(obj.name)
                self.value(obj.value)

    def _struct(self, cls: StructType) -> None:
        other = self.structs.setdefault(cls.__name__, cls)
        if other is not cls and other._fields_ != cls._fields_ and not _same_layout(other, cls):
            raise CompileError(
                f"two different structs are named {cls.__name__}",
                advice="rename one; in a notebook, run the cells that use the old one again",
            )
        self.add("struct", cls.__name__, cls._size_, cls._align_, cls._union_, cls._core_, len(cls._fields_))
        self.add(getattr(cls, "_key_", ""))  # of a header: where its bits are
        for f in cls._fields_:
            self.add(f.name, f.offset, f.shift)
            self.value(f.type)

    def _declared(self, d: Decl, hint: str) -> None:
        self._hints[id(d)] = hint
        self.decls.append(d)
        self.add(type(d).__name__)
        if isinstance(d, Var):
            self.value(d.type)
            self._default(d.default)
            self.add(d.section)
            if isinstance(d, Global) and d.arena is not None:
                self.value(d.arena, "arena")
        else:
            self.add(d.kind, d.max_entries, d.flags, d.pin, d.numa_node, d.extra)
            self.value(d.key)
            self.value(d.value)
            if d.inner is not None:
                self.add("inner", type(d.inner).__name__, d.inner.max_entries, d.inner.flags, d.inner.extra)
                self.value(d.inner.key)
                self.value(d.inner.value)
            for index, program in sorted(d.programs.items()):
                self.add(index, program.name)
                self.value(program)

    def _default(self, value: Any) -> None:
        """The default of a global: compared by value, whatever object holds it."""
        self.add(repr(value))

    # ---- functions ----

    def _function(self, fn: Any) -> None:
        module = fn.__globals__.get("__name__", "")
        if module.startswith("probee.lang."):  # the library: part of the toolchain
            return
        code: CodeType = fn.__code__
        text = self._code(code)
        names = {name: None for c in _codes(code) for name in c.co_names}
        used = set(names)
        names.update(dict.fromkeys(_words(_region(text, code))))  # annotations of locals are not in the code
        try:
            annotations = fn.__annotations__
        except Exception:  # evaluated lazily since Python 3.14; the text is in the key
            annotations = {}
        for name, written in annotations.items():
            self.add(name)
            if isinstance(written, str):
                names.update(dict.fromkeys(_words(written)))
            self.value(written)
        self.value(fn.__defaults__)
        self.value(fn.__kwdefaults__)
        for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
            try:
                self._named(fn, names, name, cell.cell_contents)
            except ValueError:
                self.add("empty cell", name)
        for name in names:
            if name in fn.__globals__:
                obj = fn.__globals__[name]
                if name in used or not isinstance(obj, (MapDecl, Var)):  # a comment does not use a map
                    self._named(fn, names, name, obj)
            elif hasattr(builtins, name):
                self.add("builtin", name)

    def _named(self, fn: Any, names: dict[str, None], name: str, obj: Any) -> None:
        """Add what a name stands for, and its attributes as far as the function mentions their names."""
        self.add(name)
        self.value(obj, name)
        if isinstance(obj, (*_PLAIN, MapDecl, Var, ProgramDecl, _Function, StructType, ScalarType, CharType)):
            return
        if isinstance(obj, _Module) and _ours(obj.__name__):
            return
        if (id(fn), id(obj)) in self._within:
            return
        self._within.add((id(fn), id(obj)))
        members = getattr(obj, "__members__", None) if isinstance(obj, type) else None
        if members is not None:  # an enum
            self.add(*(f"{n}={m.value!r}" for n, m in members.items()))
            return
        for space in _spaces(obj):
            for attribute in names:
                if attribute in space:
                    self._named(fn, names, attribute, space[attribute])

    def _code(self, code: CodeType) -> list[str]:
        """Add a code object and its file's text; gives the lines of the text."""
        file = code.co_filename
        self.add(file, code.co_firstlineno, code.co_name, code.co_code, code.co_linetable)
        self.add(code.co_flags, code.co_argcount, code.co_names, code.co_varnames, code.co_freevars)
        for const in code.co_consts:
            if isinstance(const, type(code)):
                self._code(const)
            else:
                self.add(_stable(const))
        text = self._texts.get(file)
        if text is None:
            data = _text(file)
            self.add(data)
            text = self._texts[file] = data.decode("utf-8", "replace").splitlines()
        return text


def _stable(const: Any) -> str:
    """repr() of a constant, with sets in an order that does not change from run to run."""
    if isinstance(const, frozenset):
        return f"frozenset({sorted(map(_stable, const))})"
    return f"({', '.join(map(_stable, const))})" if isinstance(const, tuple) else repr(const)


def _text(file: str) -> bytes:
    """The source text that goes into line information."""
    if file[:1] != "<":
        text = _read(file)
        if text:
            return text
    cached: Any = getattr(sys.modules.get("linecache"), "cache", {}).get(file)
    return "".join(cached[2]).encode("utf-8", "surrogatepass") if cached and len(cached) > 2 else b""


def _spaces(obj: Any) -> Iterator[Any]:
    """The namespaces that `obj.attribute` looks into, nothing computed."""
    if isinstance(obj, type):
        for base in obj.__mro__:
            if base is not object:
                yield base.__dict__
    else:
        yield getattr(obj, "__dict__", {})
        if not isinstance(obj, _Module):
            for base in type(obj).__mro__:
                if base.__module__ != "builtins":
                    yield base.__dict__


def _ours(module: str) -> bool:
    """Modules of the toolchain, whose files are in the key anyway; tools are programs like the user's."""
    return module == "probee" or (module.startswith("probee.") and not module.startswith("probee.tools."))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, type(code)):
            yield from _codes(const)


def _region(lines: list[str], code: CodeType) -> str:
    """The text of a function: to its last line with code, and on as long as lines are blank or indented."""
    first = code.co_firstlineno - 1
    last = max((n for c in _codes(code) for _, _, n in c.co_lines() if n), default=first + 1)
    if not 0 <= first < last <= len(lines):
        return ""
    margin = lines[first][: len(lines[first]) - len(lines[first].lstrip())] + " "
    while last < len(lines) and (not lines[last].strip() or lines[last].expandtabs(1).startswith(margin)):
        last += 1
    return "\n".join(lines[first:last])


def _words(text: str) -> list[str]:
    """Everything in a text that may be a name."""
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def _same_layout(a: StructType, b: StructType) -> bool:
    def shape(cls: StructType) -> list[object]:
        return [
            (f.name, f.offset, shape(f.type) if isinstance(f.type, StructType) else f.type)
            for f in cls._fields_
        ]

    return shape(a) == shape(b)


def _unique(name: str, taken: set[str]) -> str:
    """A name that the object file can have and nothing else in it has."""
    name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name) or "map"
    out, n = name, 1
    while out in taken:
        n += 1
        out = f"{name}_{n}"
    taken.add(out)
    return out


# ---- the world outside ----

_toolchain_lines: list[str] = []
_kernel_lines: list[bytes] = []


def _toolchain() -> list[str]:
    """probee's compiler and LLVM's library, by name, size and time."""
    if not _toolchain_lines:
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for room in ("lang", "btf", "isa", "sys"):
            for name, s in sorted(_sources(os.path.join(root, room), room), key=lambda found: found[0]):
                _toolchain_lines.append(f"{name} {s.st_size} {s.st_mtime_ns}")
        for folder in sys.path:
            try:
                s = os.stat(os.path.join(folder, "llvmlite", "binding", "libllvmlite.so"))
            except OSError:
                continue
            _toolchain_lines.append(f"{folder} {s.st_size} {s.st_mtime_ns}")
            break
    return _toolchain_lines


def _sources(folder: str, name: str) -> Iterator[tuple[str, os.stat_result]]:
    """The Python files under a folder."""
    with os.scandir(folder) as entries:
        for e in entries:
            if e.name.endswith(".py"):
                yield f"{name}/{e.name}", e.stat()
            elif "." not in e.name and e.name != "__pycache__" and e.is_dir():
                yield from _sources(e.path, f"{name}/{e.name}")


def _kernel() -> list[bytes]:
    """Which kernel this is: release, build (its notes hold the build id), and size of its BTF."""
    if not _kernel_lines:
        uname = os.uname()
        chosen = os.environ.get("PROBEE_BTF", "")  # see btf.choose
        try:
            size = os.stat("/sys/kernel/btf/vmlinux").st_size
        except OSError:
            size = 0
        facts = f"{uname.machine} {uname.release} {uname.version} {size} {chosen}"
        _kernel_lines.extend((facts.encode(), _read("/sys/kernel/notes")))
    return _kernel_lines


def _modules() -> list[str]:
    """The modules with BTF that are loaded, and the size of it."""
    try:
        with os.scandir("/sys/kernel/btf") as entries:
            return sorted(f"{e.name} {e.stat().st_size}" for e in entries)
    except OSError:
        return []


def _read(path: str) -> bytes:
    """A file's content, b"" if it can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    try:
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError:
        return b""
    finally:
        os.close(fd)
