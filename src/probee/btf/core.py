"""CO-RE: what an instruction compiled against one set of types must say on a machine that has another.

A relocation names a local type, a path of accesses into it ("0:1:2") and a question: the offset of that
field, its size, whether it exists… The question is answered for every *candidate*, a target type with the
same name up to the flavour (`task_struct___old`) and the same kind. All candidates in which the path exists
must give the same answer. If it exists in none, the answer is 0 where that makes sense (existence, type sizes
and ids), else the instruction is poisoned: replaced by a call of an impossible helper, which the verifier
refuses only if it can be reached.

The rules are libbpf's, since objects are compiled for them. The numbers are `enum bpf_core_relo_kind` of the
UAPI header `linux/bpf.h`.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import (
    ARRAY,
    COMPOSITES,
    ENUM,
    ENUM64,
    ENUMS,
    FLOAT,
    FUNC_PROTO,
    FWD,
    INT,
    INT_SIGNED,
    PTR,
    STRUCT,
    UNION,
    VOID,
)
from probee.btf.parser import essential_name
from probee.errors import LoadError, ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probee.btf.ext import CoreReloc
    from probee.btf.parser import Btf, BtfType

    # (local id, target id, behind a pointer?) -> verdict. Without it broken BTF could take exponential time.
    _Known = dict[tuple[int, int, bool], bool]

FIELD_BYTE_OFFSET = 0
FIELD_BYTE_SIZE = 1
FIELD_EXISTS = 2
FIELD_SIGNED = 3
FIELD_LSHIFT_U64 = 4
FIELD_RSHIFT_U64 = 5
TYPE_ID_LOCAL = 6
TYPE_ID_TARGET = 7
TYPE_EXISTS = 8
TYPE_SIZE = 9
ENUMVAL_EXISTS = 10
ENUMVAL_VALUE = 11
TYPE_MATCHES = 12

KIND_NAMES = (
    "byte_off",
    "byte_sz",
    "field_exists",
    "signed",
    "lshift_u64",
    "rshift_u64",
    "local_type_id",
    "target_type_id",
    "type_exists",
    "type_size",
    "enumval_exists",
    "enumval_value",
    "type_matches",
)

_FIELD_KINDS = frozenset(range(FIELD_BYTE_OFFSET, FIELD_RSHIFT_U64 + 1))
_TYPE_KINDS = frozenset((TYPE_ID_LOCAL, TYPE_ID_TARGET, TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES))
_ENUM_KINDS = frozenset((ENUMVAL_EXISTS, ENUMVAL_VALUE))

MAX_PATH = 64  # accesses in a path, and depth of anonymous nesting; libbpf's limit
MAX_DEPTH = 32  # nesting of types that are compared; libbpf's limit

# The imm of the call that stands for a poisoned instruction: 0xbad2310, "bad relo" in leetspeak.
POISON_IMM = 195896080

_U64 = (1 << 64) - 1


class _Access:
    """One step of a path: member `index` (called `name`) of a struct, or, without a name, an array index."""

    __slots__ = ("index", "name", "type_id")

    def __init__(self, type_id: int, index: int, name: str | None) -> None:
        self.type_id = type_id
        self.index = index
        self.name = name


class _Spec:
    """A path in one BTF: its named and indexing steps, and the bit offset they lead to."""

    __slots__ = ("bit_offset", "btf", "depth", "root", "steps")

    def __init__(self, btf: Btf, root: int) -> None:
        self.btf = btf
        self.root = root
        self.steps: list[_Access] = []
        self.bit_offset = 0
        self.depth = 0  # raw steps, those into anonymous members included

    def deeper(self) -> None:
        if self.depth == MAX_PATH:
            raise ObjectError(f"CO-RE path into type {self.root} is longer than {MAX_PATH} steps")
        self.depth += 1


class CoreResult:
    """What to write into the instruction.

    `orig_val` is what the compiler wrote there for the local type (checked if `validate`), `new_val` what
    belongs there. `poison`: the instruction must not be reached. `why`: what the target lacks, "" if nothing.
    `orig_sz` and `new_sz` are the field's sizes in bytes where known (else 0); if they differ, loads and
    stores change their width too, unless `fail_memsz_adjust`, then that poisons. `text` is the relocation in
    words.
    """

    __slots__ = (
        "bit_offset",
        "fail_memsz_adjust",
        "new_sz",
        "new_val",
        "orig_sz",
        "orig_val",
        "poison",
        "text",
        "validate",
        "why",
    )

    def __init__(self) -> None:
        self.orig_val = 0
        self.new_val = 0
        self.orig_sz = 0
        self.new_sz = 0
        self.bit_offset = 0
        self.poison = False
        self.validate = True
        self.fail_memsz_adjust = False
        self.text = ""
        self.why = ""

    def __repr__(self) -> str:
        new = "poison" if self.poison else str(self.new_val)
        return f"<CoreResult {self.text}: {self.orig_val} -> {new}>"


def _same_kind(a: BtfType, b: BtfType) -> bool:
    return a.kind == b.kind or (a.kind in ENUMS and b.kind in ENUMS)


def _item_size(btf: Btf, id: int) -> int:
    """Size of a type, or of the innermost element if it is an array."""
    t = btf.type(id)
    for _ in range(MAX_DEPTH):
        if t.kind != ARRAY:
            break
        id = btf.strip(t.array[0])
        t = btf.type(id)
    return btf.size_of(id)


# --- the local side -------------------------------------------------------------------------------


def _path(access: str) -> list[int]:
    out = []
    for word in access.split(":"):
        if not (word.isascii() and word.isdigit()) or len(word) > 10:
            raise ObjectError(f"broken CO-RE access string {access!r}")
        out.append(int(word))
    if len(out) > MAX_PATH:
        raise ObjectError(f"CO-RE access string of {len(out)} steps; {MAX_PATH} are allowed")
    return out


def _is_flexible(btf: Btf, step: _Access, nelems: int) -> bool:
    """Is the array reached by `step` the open end of its struct?"""
    return step.name is not None and not nelems and step.index == btf.type(step.type_id).vlen - 1


def _parse(btf: Btf, reloc: CoreReloc) -> _Spec:
    spec = _Spec(btf, reloc.type_id)
    kind = reloc.kind
    if kind in _TYPE_KINDS:
        if reloc.access_str != "0":
            raise ObjectError(f"broken CO-RE access string {reloc.access_str!r} of a type relocation")
        return spec
    path = _path(reloc.access_str)
    id = btf.strip(reloc.type_id)
    t = btf.type(id)
    first = path[0]
    if kind in _ENUM_KINDS:
        if t.kind not in ENUMS or len(path) > 1 or first >= t.vlen:
            raise ObjectError(f"CO-RE enum relocation {reloc.access_str!r} does not fit type {reloc.type_id}")
        spec.steps.append(_Access(id, first, t.enumerators[first][0]))
        return spec
    if kind not in _FIELD_KINDS:
        raise ObjectError(f"CO-RE relocation kind {kind} is unknown")
    spec.steps.append(_Access(id, first, None))
    spec.bit_offset = first * btf.size_of(id) * 8
    for index in path[1:]:
        id = btf.strip(id)
        t = btf.type(id)
        if t.kind in COMPOSITES:
            if index >= t.vlen:
                raise ObjectError(f"CO-RE path {reloc.access_str!r}: type {id} has no member {index}")
            m = t.members[index]
            spec.bit_offset += m.bit_offset
            if m.name:
                spec.steps.append(_Access(id, index, m.name))
            id = m.type
        elif t.kind == ARRAY:
            elem, _, nelems = t.array
            if index >= nelems and not _is_flexible(btf, spec.steps[-1], nelems):
                raise ObjectError(f"CO-RE path {reloc.access_str!r}: index {index} of {nelems} elements")
            id = btf.strip(elem)
            spec.steps.append(_Access(id, index, None))
            spec.bit_offset += index * btf.size_of(id) * 8
        else:
            raise ObjectError(f"CO-RE path {reloc.access_str!r} goes into a {t.kind_name} (type {id})")
    return spec


# --- fields ---------------------------------------------------------------------------------------


def _fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """May a field of one type be read where one of the other is? Generous: programs check the rest."""
    for _ in range(MAX_DEPTH):
        a = local.type(local.strip(local_id))
        b = target.type(target.strip(target_id))
        if a.kind in COMPOSITES and b.kind in COMPOSITES:
            return True
        if not _same_kind(a, b):
            return False
        if a.kind in (PTR, FLOAT):
            return True
        if a.kind in ENUMS or a.kind == FWD:
            x, y = essential_name(a.name), essential_name(b.name)
            return not x or not y or x == y
        if a.kind == INT:
            return not a.offset and not b.offset
        if a.kind != ARRAY:
            return False
        local_id, target_id = a.array[0], b.array[0]
    raise ObjectError("broken BTF: arrays nested too deep")


def _match_member(local: Btf, step: _Access, spec: _Spec, target_id: int, barren: set[int]) -> int | None:
    """Find the member `step` names in a target type, also inside anonymous members.

    Appends to `spec` and returns the member's type id, or None if there is none that fits. `barren` collects
    types in which it is not, so that broken BTF cannot make us search them over and over.
    """
    target = spec.btf
    t = target.type(target.strip(target_id))
    if t.kind not in COMPOSITES or t.id in barren:
        return None
    for index, m in enumerate(t.members):
        spec.deeper()
        spec.bit_offset += m.bit_offset
        if not m.name:
            found = _match_member(local, step, spec, m.type, barren)
            if found is not None:
                return found
        elif m.name == step.name:
            member = local.type(step.type_id).members[step.index]
            if not _fields_compatible(local, member.type, target, m.type):
                return None
            spec.steps.append(_Access(t.id, index, m.name))
            return m.type
        spec.bit_offset -= m.bit_offset
        spec.depth -= 1
    barren.add(t.id)
    return None


def _match_path(local: _Spec, target: Btf, id: int) -> tuple[_Spec | None, int]:
    """The same path in a target type, or None, and how many of its steps could be taken."""
    spec = _Spec(target, id)
    for at, step in enumerate(local.steps):
        id = target.strip(id)
        if step.name is not None:
            found = _match_member(local.btf, step, spec, id, set())
            if found is None:
                return None, at
            id = found
            continue
        if at:
            t = target.type(id)
            if t.kind != ARRAY:
                return None, at
            elem, _, nelems = t.array
            if step.index >= nelems and not _is_flexible(target, spec.steps[-1], nelems):
                return None, at
            id = target.strip(elem)
        spec.deeper()
        spec.steps.append(_Access(id, step.index, None))
        spec.bit_offset += step.index * target.size_of(id) * 8
    return spec, len(local.steps)


def _field_value(kind: int, spec: _Spec) -> tuple[int, int, int, bool]:
    """(value, size of the field for loads, its type id, validate the value found in the instruction?)"""
    btf = spec.btf
    step = spec.steps[-1]
    if step.name is None:  # a[n]
        if kind == FIELD_BYTE_OFFSET:
            return spec.bit_offset // 8, _item_size(btf, btf.strip(step.type_id)), step.type_id, True
        if kind == FIELD_BYTE_SIZE:
            return btf.size_of(step.type_id), 0, 0, True
        raise ObjectError(f"CO-RE relocation {KIND_NAMES[kind]} cannot be applied to an array access")
    m = btf.type(step.type_id).members[step.index]
    field_id = btf.strip(m.type)
    t = btf.type(field_id)
    bit_off = spec.bit_offset
    bit_sz = m.bit_size
    bitfield = bit_sz > 0
    if bitfield:
        # The smallest naturally aligned word that holds all of it, starting from the declared type.
        byte_sz = t.size
        if not byte_sz:
            raise ObjectError(f"broken BTF: bitfield {m.name} of a {t.kind_name}")
        byte_off = bit_off // 8 // byte_sz * byte_sz
        while bit_off + bit_sz > (byte_off + byte_sz) * 8:
            if byte_sz >= 8:
                raise ObjectError(f"bitfield {m.name} cannot be read with one 64-bit load")
            byte_sz *= 2
            byte_off = bit_off // 8 // byte_sz * byte_sz
    else:
        byte_sz = btf.size_of(field_id)
        byte_off = bit_off // 8
        bit_sz = byte_sz * 8
    # Compilers may read a bitfield by other words than these, so what they wrote proves nothing.
    validate = not bitfield
    if kind == FIELD_BYTE_OFFSET:
        if bitfield:
            return byte_off, 0, 0, validate
        return byte_off, _item_size(btf, field_id), field_id, validate
    if kind == FIELD_BYTE_SIZE:
        return byte_sz, 0, 0, validate
    if kind == FIELD_SIGNED:
        signed = t.kflag if t.kind in ENUMS else t.kind == INT and bool(t.encoding & INT_SIGNED)
        return int(signed), 0, 0, True
    if kind == FIELD_LSHIFT_U64:
        if btf.endian == "little":
            return 64 - (bit_off + bit_sz - byte_off * 8) & _U64, 0, 0, validate
        return (8 - byte_sz) * 8 + (bit_off - byte_off * 8) & _U64, 0, 0, validate
    return 64 - bit_sz & _U64, 0, 0, True  # FIELD_RSHIFT_U64


def _may_resize(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """May a load of one width be turned into one of the other? Only where zero extension gives the value."""
    a, b = local.type(local_id), target.type(target_id)
    if a.kind == PTR and b.kind == PTR:
        return True
    return a.kind == INT and b.kind == INT and a.encoding != INT_SIGNED and b.encoding != INT_SIGNED


# --- types ----------------------------------------------------------------------------------------


def types_compatible(
    local: Btf, local_id: int, target: Btf, target_id: int, known: _Known, level: int = MAX_DEPTH
) -> bool:
    """Are two types of the same shape, as far as existence and size questions care? Names don't matter."""
    if not _same_kind(local.type(local_id), target.type(target_id)):
        return False
    for _ in range(MAX_DEPTH):
        a = local.type(local.strip(local_id))
        b = target.type(target.strip(target_id))
        if not _same_kind(a, b):
            return False
        kind = a.kind
        if kind in COMPOSITES or kind in ENUMS or kind in (VOID, FWD):
            return True
        if kind == INT:
            return not a.offset and not b.offset
        if kind == PTR:
            local_id, target_id = a.type, b.type
        elif kind == ARRAY:
            local_id, target_id = a.array[0], b.array[0]
        elif kind == FUNC_PROTO:
            if a.vlen != b.vlen:
                return False
            if a.vlen and level <= 0:
                raise ObjectError("CO-RE: function types nested too deep")
            for (_, x), (_, y) in zip(a.params, b.params, strict=True):
                pair = local.strip(x), target.strip(y), False
                if pair not in known:
                    known[pair] = types_compatible(local, pair[0], target, pair[1], known, level - 1)
                if not known[pair]:
                    return False
            local_id, target_id = local.strip(a.type), target.strip(b.type)
        else:
            return False
    raise ObjectError("CO-RE: types nested too deep")


def _enums_match(a: BtfType, b: BtfType) -> bool:
    if a.size != b.size or a.vlen > b.vlen:
        return False
    there = {essential_name(name) for name, _ in b.enumerators}
    return all(essential_name(name) in there for name, _ in a.enumerators)


def _members_match(local: Btf, a: BtfType, target: Btf, b: BtfType, known: _Known, level: int) -> bool:
    if a.vlen > b.vlen:
        return False
    there: dict[str, list[int]] = {}
    for m in b.members:
        there.setdefault(essential_name(m.name), []).append(m.type)
    return all(
        any(
            _types_match(local, m.type, target, type, known, False, level - 1)
            for type in there.get(essential_name(m.name), ())
        )
        for m in a.members
    )


def _types_match(
    local: Btf,
    local_id: int,
    target: Btf,
    target_id: int,
    known: _Known,
    behind: bool = False,
    level: int = MAX_DEPTH,
) -> bool:
    """BPF_CORE_TYPE_MATCHES: is the local type a subset of the target's, by names and types of all members?

    `behind` a pointer only the name and kind of structs count.
    """
    pair = local_id, target_id, behind
    if pair not in known:
        known[pair] = _match_types(local, local_id, target, target_id, known, behind, level)
    return known[pair]


def _match_types(
    local: Btf, local_id: int, target: Btf, target_id: int, known: _Known, behind: bool, level: int
) -> bool:
    if level <= 0:
        raise ObjectError("CO-RE: types nested too deep to be matched")
    for _ in range(MAX_DEPTH):
        a = local.type(local.strip(local_id))
        b = target.type(target.strip(target_id))
        if essential_name(a.name) != essential_name(b.name):
            return False
        kind = a.kind
        if kind == FWD:
            if b.kind == FWD:
                return a.kflag == b.kflag
            return behind and b.kind == (UNION if a.kflag else STRUCT)
        if kind in ENUMS:
            return b.kind in ENUMS and _enums_match(a, b)
        if kind in COMPOSITES:
            if behind:
                return kind == b.kind or (b.kind == FWD and (kind == UNION) == b.kflag)
            return kind == b.kind and _members_match(local, a, target, b, known, level)
        if kind != b.kind:
            return False
        if kind == VOID:
            return True
        if kind == INT:
            return a.size == b.size and not (a.encoding ^ b.encoding) & INT_SIGNED
        if kind == PTR:
            behind = True
            local_id, target_id = a.type, b.type
        elif kind == ARRAY:
            if a.array[2] != b.array[2]:
                return False
            local_id, target_id = a.array[0], b.array[0]
        elif kind == FUNC_PROTO:
            if a.vlen != b.vlen:
                return False
            for (_, x), (_, y) in zip(a.params, b.params, strict=True):
                if not _types_match(local, x, target, y, known, behind, level - 1):
                    return False
            local_id, target_id = a.type, b.type
        else:
            return False
    raise ObjectError("CO-RE: types nested too deep to be matched")


# --- all together ---------------------------------------------------------------------------------


def _type_text(btf: Btf, id: int) -> str:
    t = btf.type(id)
    kind = "enum" if t.kind == ENUM64 else t.kind_name
    return f"{kind} {t.name or '<anonymous>'}"


def _step_text(steps: list[_Access]) -> str:
    out = ""
    for step in steps[1:]:
        out += f"[{step.index}]" if step.name is None else f".{step.name}"
    return out


class Relocator:
    """Resolves the relocations of one object. Candidates are kept between relocations of the same local type.

    As in libbpf, candidates in which an earlier field was found crowd out those in which it was not.
    `modules` is called, with the name, for the BTF of kernel modules that may have a type which the target
    has not got.
    """

    __slots__ = ("_candidates", "_modules", "_results", "local", "target")

    def __init__(
        self, local: Btf, target: Btf, modules: Callable[[str], Iterable[Btf]] | None = None
    ) -> None:
        self.local = local
        self.target = target
        self._modules = modules
        self._candidates: dict[int, list[tuple[Btf, int]]] = {}
        self._results: dict[tuple[int, str, int], CoreResult] = {}

    def candidates(self, type_id: int) -> list[tuple[Btf, int]]:
        """Target types of the local type's kind and essential name, with the BTF they are in."""
        found = self._candidates.get(type_id)
        if found is None:
            t = self.local.type(type_id)
            found = _candidates_in(self.target, t, 1)
            if not found and self._modules:
                for btf in self._modules(essential_name(t.name)):
                    found += _candidates_in(btf, t, btf.first_id)
            self._candidates[type_id] = found
        return found

    def resolve(self, reloc: CoreReloc) -> CoreResult:
        """Answer one relocation.

        Raises ObjectError if the relocation or its BTF is broken, LoadError if the target's candidates
        disagree about the answer.
        """
        question = reloc.type_id, reloc.access_str, reloc.kind
        found = self._results.get(question)
        if found is None:
            found = self._results[question] = self._resolve(reloc)
        return found

    def matches(self, reloc: CoreReloc) -> list[tuple[int, list[tuple[int, int, bool]]]]:
        """The places in the target that answer one relocation: a type and the steps of the path from it.

        A step is the type it starts in, an index, and whether that is of a member (or of an array's item).
        Raises ObjectError if the relocation or its BTF is broken.
        """
        if reloc.kind == TYPE_ID_LOCAL:
            return []
        spec = _parse(self.local, reloc)
        enum = reloc.kind in _ENUM_KINDS
        out = []
        for btf, id in self.candidates(reloc.type_id):
            match, _ = _match(spec, reloc.kind, btf, id)
            if match is not None and btf is self.target:
                steps = [] if enum else [(s.type_id, s.index, s.name is not None) for s in match.steps]
                out.append((id, steps))
        return out

    def _resolve(self, reloc: CoreReloc) -> CoreResult:
        local = self.local
        root = local.type(reloc.type_id)
        spec = _parse(local, reloc)
        if reloc.kind == TYPE_ID_LOCAL:
            result = CoreResult()
            result.text = f"{KIND_NAMES[reloc.kind]} of {_type_text(local, reloc.type_id)}"
            # Linking objects together renumbers types but not the instruction.
            result.validate = False
            result.orig_val = result.new_val = spec.root
            return result
        if not root.name:
            raise ObjectError(f"CO-RE relocation of the anonymous {root.kind_name} {reloc.type_id}")
        text = f"{KIND_NAMES[reloc.kind]} of {_type_text(local, reloc.type_id)}{_step_text(spec.steps)}"
        if reloc.kind in _ENUM_KINDS:
            text = f"{KIND_NAMES[reloc.kind]} of {spec.steps[0].name} in {_type_text(local, reloc.type_id)}"

        candidates = self.candidates(reloc.type_id)
        kept = []
        best: CoreResult | None = None
        reach = 0
        for btf, id in candidates:
            match, steps = _match(spec, reloc.kind, btf, id)
            reach = max(reach, steps)
            if match is None:
                continue
            result = _answer(reloc.kind, spec, match)
            if best is None:
                best = result
            elif result.bit_offset != best.bit_offset:
                raise LoadError(
                    f"CO-RE: ambiguous {text}: this kernel has types of that name with the field at bit"
                    f" {best.bit_offset} and at bit {result.bit_offset}"
                )
            elif result.poison != best.poison or result.new_val != best.new_val:
                raise LoadError(
                    f"CO-RE: ambiguous {text}: this kernel has types of that name that give"
                    f" {best.new_val} and {result.new_val}"
                )
            kept.append((btf, id))
        if best is None:
            best = _answer(reloc.kind, spec, None)
            best.why = _missing(spec, reloc, candidates, reach)
        else:
            self._candidates[reloc.type_id] = kept
        best.text = text
        return best


def _candidates_in(btf: Btf, local: BtfType, first: int) -> list[tuple[Btf, int]]:
    return [
        (btf, id)
        for id in btf.ids_by_essential_name(local.name)
        if id >= first and _same_kind(btf.type(id), local)
    ]


def _match(local: _Spec, kind: int, target: Btf, id: int) -> tuple[_Spec | None, int]:
    """The local path in a candidate, or None, and how many of its steps could be taken."""
    if kind in _TYPE_KINDS:
        same = _types_match if kind == TYPE_MATCHES else types_compatible
        return (_Spec(target, id) if same(local.btf, local.root, target, id, {}) else None), 0
    if kind in _ENUM_KINDS:
        spec = _Spec(target, id)
        stripped = target.strip(id)
        wanted = essential_name(local.steps[0].name or "")
        for index, (name, _) in enumerate(target.type(stripped).enumerators):
            if essential_name(name) == wanted:
                spec.steps.append(_Access(stripped, index, name))
                return spec, 1
        return None, 0
    return _match_path(local, target, id)


def _answer(kind: int, local: _Spec, target: _Spec | None) -> CoreResult:
    out = CoreResult()
    if target:
        out.bit_offset = target.bit_offset
    if kind in _TYPE_KINDS:
        out.orig_val, out.validate = _type_value(kind, local)
        if target:
            out.new_val = _type_value(kind, target)[0]
    elif kind in (FIELD_EXISTS, ENUMVAL_EXISTS):
        out.orig_val = 1
        out.new_val = int(target is not None)
    elif kind == ENUMVAL_VALUE:
        out.orig_val = _enum_value(local)
        if target:
            out.new_val = _enum_value(target)
        else:
            out.poison = True
    else:
        out.orig_val, out.orig_sz, local_id, out.validate = _field_value(kind, local)
        if not target:
            out.poison = True
            return out
        out.new_val, out.new_sz, target_id, _ = _field_value(kind, target)
        if out.orig_sz != out.new_sz:
            # 0 stands for void: an unknown size on one side, as of a bitfield, is never adjusted.
            out.fail_memsz_adjust = not _may_resize(local.btf, local_id, target.btf, target_id)
    return out


def _type_value(kind: int, spec: _Spec) -> tuple[int, bool]:
    """(value, validate?)"""
    if kind == TYPE_ID_TARGET:
        return spec.root, False
    if kind == TYPE_SIZE:
        return spec.btf.size_of(spec.root), True
    return 1, True


def _enum_value(spec: _Spec) -> int:
    """The enumerator as a 64-bit pattern. A 32-bit one is sign-extended, as libbpf does."""
    step = spec.steps[0]
    t = spec.btf.type(step.type_id)
    value = t.enumerators[step.index][1]
    if t.kind == ENUM:
        value = (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
    return value & _U64


def _missing(spec: _Spec, reloc: CoreReloc, candidates: list[tuple[Btf, int]], reach: int) -> str:
    """What of a relocation the target lacks, in words."""
    local = spec.btf
    root = (
        f"{_type_text(local, reloc.type_id).split(' ')[0]} {essential_name(local.type(reloc.type_id).name)}"
    )
    if not candidates:
        return f"this kernel has no {root}"
    if reloc.kind in _TYPE_KINDS:
        return f"this kernel's {root} is of another shape than the program's"
    if reloc.kind in _ENUM_KINDS:
        return f"this kernel's {root} has no {essential_name(spec.steps[0].name or '')}"
    step = spec.steps[min(reach, len(spec.steps) - 1)]
    before = root + _step_text(spec.steps[:reach])
    if step.name is None:
        return f"this kernel's {before} is no array with an element [{step.index}]"
    if any(_has_member(btf, id, spec.steps[1:reach], step.name) for btf, id in candidates):
        return f"this kernel's {before} has a field {step.name!r} of another kind than the program's"
    return f"this kernel's {before} has no field {step.name!r}"


def _has_member(btf: Btf, id: int, steps: list[_Access], name: str) -> bool:
    """Is there a member `name` at the end of a path, whatever its type?"""
    for step in steps:
        if step.name is None:
            t = btf.type(btf.strip(id))
            found = t.array[0] if t.kind == ARRAY else None
        else:
            found = _member_type(btf, id, step.name)
        if found is None:
            return False
        id = found
    return _member_type(btf, id, name) is not None


def _member_type(btf: Btf, id: int, name: str) -> int | None:
    """Type of the member `name` of a struct, anonymous members included."""
    todo = [btf.strip(id)]
    seen = set(todo)
    while todo:
        for m in btf.type(todo.pop()).members:
            if m.name == name:
                return m.type
            inner = 0 if m.name else btf.strip(m.type)
            if inner and inner not in seen:
                seen.add(inner)
                todo.append(inner)
    return None


def resolve(local: Btf, target: Btf, reloc: CoreReloc) -> CoreResult:
    """Answer one relocation by itself; see `Relocator.resolve`."""
    return Relocator(local, target).resolve(reloc)


# --- instructions ---------------------------------------------------------------------------------

_LD, _LDX, _ST, _STX, _ALU, _ALU64 = 0, 1, 2, 3, 4, 7
_LDDW = 0x18
_CALL = 0x85
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}  # size field of the opcode -> bytes
_SIZE_BITS = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}


def patch(insns: bytearray, reloc: CoreReloc, result: CoreResult, endian: str = "little") -> str:
    """Write a result into the instruction at byte `reloc.insn_off`.

    Returns "" or, if it was poisoned, why. Raises ObjectError if the instruction is not of a kind that can be
    relocated or holds another value than the one the compiler must have written.
    """
    at = reloc.insn_off
    if at % 8 or not 0 <= at <= len(insns) - 8:
        raise ObjectError(f"CO-RE relocation at byte {at} is outside the program")
    order = "<" if endian == "little" else ">"
    opcode, regs, off, imm = struct.unpack_from(order + "BBhi", insns, at)
    where = f"CO-RE: instruction {at // 8} ({result.text})"
    if result.poison:
        _poison(insns, at, order)
        return result.why or result.text

    new = result.new_val
    expected = result.orig_val
    cls = opcode & 7
    if cls in (_ALU, _ALU64):
        if opcode & 8:
            raise ObjectError(f"{where} has no immediate to relocate")
        if result.validate and imm & _U64 != expected:
            raise ObjectError(f"{where} holds {imm}, expected {expected}")
        struct.pack_into(order + "I", insns, at + 4, new & 0xFFFFFFFF)
    elif cls in (_LDX, _ST, _STX):
        if result.validate and off & _U64 != expected:
            raise ObjectError(f"{where} has offset {off}, expected {expected}")
        if new > 0x7FFF:
            raise ObjectError(f"{where} cannot hold the offset {new}: it is more than 32767")
        if result.fail_memsz_adjust:
            _poison(insns, at, order)
            return (
                f"{result.text}: the field has {result.new_sz} bytes on this kernel and {result.orig_sz} in"
                " the program; only pointers and unsigned integers may differ in size"
            )
        if result.new_sz != result.orig_sz:
            have = _SIZES[opcode & 0x18]
            if have != result.orig_sz:
                raise ObjectError(f"{where} accesses {have} bytes, expected {result.orig_sz}")
            if result.new_sz not in _SIZE_BITS:
                raise ObjectError(f"{where} cannot access {result.new_sz} bytes")
            insns[at] = opcode & 0xE7 | _SIZE_BITS[result.new_sz]
        struct.pack_into(order + "h", insns, at + 2, new)
    elif opcode == _LDDW:
        if at + 16 > len(insns):
            raise ObjectError(f"{where} is cut off")
        second, regs2, off2, high = struct.unpack_from(order + "BBhI", insns, at + 8)
        src = regs >> 4 if endian == "little" else regs & 0xF
        if src or off or second or regs2 or off2:
            raise ObjectError(f"{where} is a 64-bit load of an unexpected form")
        value = imm & 0xFFFFFFFF | high << 32
        if result.validate and value != expected:
            raise ObjectError(f"{where} loads {value}, expected {expected}")
        struct.pack_into(order + "I", insns, at + 4, new & 0xFFFFFFFF)
        struct.pack_into(order + "I", insns, at + 12, new >> 32 & 0xFFFFFFFF)
    else:
        raise ObjectError(f"{where} has opcode {opcode:#04x}, which cannot be relocated")
    return ""


def _poison(insns: bytearray, at: int, order: str) -> None:
    call = struct.pack(order + "BBhi", _CALL, 0, 0, POISON_IMM)
    if insns[at] == _LDDW and at + 16 <= len(insns):
        insns[at + 8 : at + 16] = call
    insns[at : at + 8] = call
