"""The names of the language for editors: `lang/names.pyi`, made from the helpers' prototypes.

`python -m probee.lang.services.stub_helpers` writes it again.
"""

from __future__ import annotations

import keyword
from pathlib import Path

from ...isa.helpers import PROTOTYPES, Prototype
from .. import builtins
from .helpers import INSTEAD, kinds_of

FILE = Path(__file__).parent.parent / "names.pyi"
HEAD = '''\
"""What programs call: kernel helpers, and the language's own names.

Made by `python -m probee.lang.services.stub_helpers`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeVar, overload

_T = TypeVar("_T")
'''
_SIZES = ("size", "size_or_zero")
_UNSEEN = ("ctx", "ctx?", "stack?")
_INTEGERS = "pid tid uid gid nsecs cpu rand cgroup"
_SECTIONS = "rcu preempt_off irq_off"
_OVER = "tasks vmas css css_tasks dmabufs kmem_caches list_of"
# Names whose parameters the table of builtins gives in words; `…` is what it is called with.
_SIGNATURES = {
    **dict.fromkeys(_INTEGERS.split(), "() -> int"),
    **dict.fromkeys(_SECTIONS.split(), "() -> AbstractContextManager[None]"),
    **dict.fromkeys(_OVER.split(), "(*args: Any) -> Iterator[Any]"),
    "threads": "(task: Any = None) -> Iterator[Any]",
    "bits": "(mask: Any) -> Iterator[int]",
    "comm": "() -> str",
    "current_task": "() -> Any",
    "curtask": "() -> Any",
    "kstack": "(stacks: Any, flags: int = 0) -> int",
    "ustack": "(stacks: Any, flags: int = 0) -> int",
    "kernel_str": "(address: Any) -> str",
    "user_str": "(address: Any) -> str",
    "tail_call": "(programs: Any, index: int) -> None",
    "jump": "(programs: Any, index: int) -> None",
    "sizeof": "(type_or_value: Any) -> int",
    "kernel_type_exists": "(name: str) -> bool",
    "kernel_type_matches": "(struct: Any) -> bool",
    "kfunc_exists": "(name: str) -> bool",
    "enum_value": "(enum: Any, enumerator: str) -> int",
    "enum_exists": "(enum: Any, enumerator: str) -> bool",
    "offsetof": "(struct: Any, field: str) -> int",
    "field_size": "(struct: Any, field: str) -> int",
    "printf": "(text: str) -> None",
    "bounded": "(n: int) -> bool",
    "can_loop": "() -> bool",
    "kconfig": "(name: str, type: Any, *, default: int = ...) -> Any",
    "reg": "(name: str) -> int",
    "static": "(value: _T) -> _T",
    "ksym_address": "(name: str) -> int",
    "throw": "(code: int = 0) -> NoReturn",
    "type_id": "(type: Any) -> int",
    "rdonly_cast": "(type: Any, address: Any) -> Any",
    "obj_new": "(struct: type[_T]) -> AbstractContextManager[_T]",
    "percpu_obj_new": "(struct: type[_T]) -> AbstractContextManager[_T]",
    "refcount_acquire": "(object: _T) -> AbstractContextManager[_T]",
    "loop": "(n: int, function: Any) -> int",
    "for_each_map_elem": "(map: Any, function: Any) -> int",
}
_CAST = '''\
@overload
def cast(type: type[int], address: Any) -> Any: ...
@overload
def cast(type: type[_T], address: Any) -> _T: ...
@overload
def cast(type: Any, address: Any) -> Any:
    """{doc}"""
'''


def render() -> str:
    """The text of the file."""
    own = {n: b for n, b in sorted(vars(builtins).items()) if isinstance(b, builtins.Builtin)}
    parts = [HEAD]
    for name, builtin in own.items():
        doc = _doc(builtin.__doc__ or "")
        if name == "cast":
            parts.append(_CAST.format(doc=doc))
            continue
        signature = _SIGNATURES.get(name, "(*args: Any) -> Any")
        parts.append(f'def {name}{signature}:\n    """{doc}"""\n')
    parts.append(
        "class _Kfuncs(type):\n    def __getattr__(cls, name: str) -> Any: ...\n\n"
        'class kfunc(metaclass=_Kfuncs):\n    """The kernel\'s own functions, by name."""\n'
    )
    parts.append(_atomic())
    for name, proto in sorted(PROTOTYPES.items()):
        if name not in own and not (name in INSTEAD and not proto.acquires):
            parts.append(_helper(proto))
    return "\n".join(parts)


def _atomic() -> str:
    """`bp.atomic` and its operations."""
    first = (builtins.atomic.__doc__ or "").partition("\n")[0]
    lines = ["class atomic:", f'    """{_doc(first)}"""', ""]
    for word, operation in sorted(vars(builtins.atomic).items()):
        if isinstance(operation, builtins.Builtin):
            names = [n.strip() for n in operation.form.strip("()").split(",")]
            result = "None" if word == "store" else "Any"
            lines += [
                "    @staticmethod",
                f"    def {word}({', '.join(f'{n}: Any' for n in names)}) -> {result}:",
                f'        """{_doc(operation.__doc__ or "")}"""',
                "",
            ]
    return "\n".join(lines)


def _doc(text: str) -> str:
    text = " ".join(text.split())
    if text.endswith('"'):
        text += " "
    return text.replace("\\", "\\\\")


def _helper(proto: Prototype) -> str:
    doc = f"{proto.doc} Since Linux {proto.since}.\n\n    C: `{proto.signature}`\n    "
    if proto.name in _SIGNATURES:
        return f'def {proto.name}{_SIGNATURES[proto.name]}:\n    """{doc}"""\n'
    ret = _result(proto)
    if any(kind in _SIZES for kind in proto.args):
        short = f"@overload\ndef {proto.name}({_parameters(proto, sizes=False)}) -> {ret}: ..."
        full = f'@overload\ndef {proto.name}({_parameters(proto, sizes=True)}) -> {ret}:\n    """{doc}"""\n'
        return f"{short}\n{full}"
    return f'def {proto.name}({_parameters(proto, sizes=True)}) -> {ret}:\n    """{doc}"""\n'


def _parameters(proto: Prototype, *, sizes: bool) -> str:
    out = []
    seen = [
        (kind, ctype, word)
        for kind, (ctype, word) in zip(kinds_of(proto), proto.parameters, strict=True)
        if kind not in _UNSEEN and (sizes or kind not in _SIZES)
    ]
    for i, (kind, ctype, word) in enumerate(seen):
        name = word + "_" if keyword.iskeyword(word) else word
        number = kind in (*_SIZES, "anything", "scalar", "alloc_size_or_zero") and not ctype.endswith("*")
        last = i == len(seen) - 1 and word == "flags"
        out.append(f"{name}: {'int' if number else 'Any'}{' = 0' if last else ''}")
    return ", ".join(out)


def _result(proto: Prototype) -> str:
    if proto.ret == "void":
        return "None"
    if proto.ret == "int":
        return "int"
    return "AbstractContextManager[Any]" if proto.acquires else "Any"


if __name__ == "__main__":
    FILE.write_text(render())
