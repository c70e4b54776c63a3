"""Verifier cases: programs with the verdict expected of them, as files of JSON (plain, or packed with xz).

A file is `{"meta": {…}, "tests": [case, …]}` or a list of cases. Two forms of case are read: those of the
kernel's `test_verifier` (`fixups` tell which of its maps go where) and those taken from BPF objects (`maps`,
`map_refs`, `kfunc_calls`, `section`). Kernel functions come with the ids of the kernel that the file was made
on; `CaseFile` finds out how far these are from the ids of the kernel at hand.
"""

from __future__ import annotations

import json
import lzma
import struct
from functools import cached_property

from probee.btf import Btf
from probee.errors import ProbeeError
from probee.isa.insn import CALL_IMM, PSEUDO_KFUNC_CALL, Insn, decode
from probee.isa.tables import ATTACH_TYPES, MAP_TYPES, PROG_TYPES, name_of
from probee.verifier.case_types import functions_btf
from probee.verifier.program import MapInfo, Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RDONLY_PROG, _WRONLY_PROG, _MMAPABLE, _NO_PREALLOC = 1 << 7, 1 << 8, 1 << 10, 1
_STRUCT, _FUNC, _TYPEDEF, _DECL_TAG = 4, 12, 8, 17
_DUMMY_OPS = "bpf_dummy_ops"  # what the kernel's own tests of struct_ops implement
_TEST_RND_HI32, _TEST_REG_INVARIANTS = 1 << 2, 1 << 7

# The maps of the kernel's test_verifier: type, key, value, entries, flags, type id of the value in its BTF.
_KNOWN: dict[str, tuple[str, int, int, int, int, int]] = {
    "map_hash_8b": ("hash", 8, 8, 1, 0, 0),
    "map_hash_48b": ("hash", 8, 48, 1, 0, 0),
    "map_hash_16b": ("hash", 8, 16, 1, 0, 0),
    "map_array_48b": ("array", 4, 48, 1, 0, 0),
    "prog1": ("prog_array", 4, 4, 4, 0, 0),
    "prog2": ("prog_array", 4, 4, 8, 0, 0),
    "map_in_map": ("array_of_maps", 4, 4, 1, 0, 0),
    "cgroup_storage": ("cgroup_storage", 16, 64, 0, 0, 0),
    "percpu_cgroup_storage": ("percpu_cgroup_storage", 16, 64, 0, 0, 0),
    "map_sockmap": ("sockmap", 4, 4, 1, 0, 0),
    "map_sockhash": ("sockhash", 4, 4, 1, 0, 0),
    "map_xskmap": ("xskmap", 4, 4, 1, 0, 0),
    "map_stacktrace": ("stack_trace", 4, 8, 1, 0, 0),
    "map_spin_lock": ("array", 4, 8, 1, 0, 3),
    "map_array_ro": ("array", 4, 48, 1, _RDONLY_PROG, 0),
    "map_array_wo": ("array", 4, 48, 1, _WRONLY_PROG, 0),
    "map_array_small": ("array", 4, 1, 1, 0, 0),
    "sk_storage_map": ("sk_storage", 4, 8, 0, _NO_PREALLOC, 3),
    "map_event_output": ("perf_event_array", 4, 4, 1, 0, 0),
    "map_reuseport_array": ("reuseport_sockarray", 4, 8, 1, 0, 0),
    "map_ringbuf": ("ringbuf", 0, 0, 4096, 0, 0),
    "map_timer": ("array", 4, 16, 1, 0, 5),
    "map_kptr": ("array", 4, 24, 1, 0, 14),
}
# What the first value of test_verifier's 48-byte arrays holds: `index`, then `foo[6]`.
FILLED = struct.pack("<I24xI", 28, 0xABCDEF12).ljust(48, b"\0")
POINTER_VALUE = 0xCAFE4A  # the r0 of runs that may leave any number there
FILLED_MAPS = ("map_array_48b", "map_array_ro", "map_array_wo")


class Case:
    """One case. `program` is what `verify` takes; `family` the file it comes from.

    `expected` is "accept" or "reject" as its authors meant it, `live` what a kernel said: `verdict`,
    `message`, `insns_processed`, `env` (why that kernel could not say). `runs`: data in and the r0 to come
    out of BPF_PROG_TEST_RUN. `problem` is not empty where the case can't be put together here.
    """

    __slots__ = ("expected", "family", "id", "live", "problem", "program", "runs")

    def __init__(self, id: str, family: str, program: Program) -> None:
        self.id = id
        self.family = family
        self.program = program
        self.expected = ""
        self.live: dict[str, Any] = {}
        self.runs: list[tuple[bytes, int]] = []
        self.problem = ""

    def __repr__(self) -> str:
        return f"Case({self.id!r})"


class CaseFile:
    """A file of cases. `kernel_btf` gives names to the kernel's types and functions."""

    def __init__(self, data: bytes, kernel_btf: Btf | None = None) -> None:
        """Raises ProbeeError for what is not a file of cases."""
        if data[:6] == b"\xfd7zXZ\0":
            try:
                data = lzma.decompress(data)
            except lzma.LZMAError as error:
                raise ProbeeError(f"the cases can't be unpacked: {error}") from None
        try:
            content = json.loads(data)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ProbeeError(f"the cases are not JSON: {error}") from None
        self._kernel = kernel_btf
        self.meta: dict[str, Any] = {}
        tests = content
        if isinstance(content, dict):
            tests = content.get("tests", content.get("cases"))
            self.meta = content.get("meta") or {}
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            raise ProbeeError('the file has no list of cases under "tests"')
        self._tests: list[dict[str, Any]] = tests

    def __len__(self) -> int:
        return len(self._tests)

    @cached_property
    def cases(self) -> list[Case]:
        """All cases. Raises ProbeeError for a case that lacks what it must have."""
        return [self._case(test) for test in self._tests]

    def _case(self, test: dict[str, Any]) -> Case:
        try:
            return self._made(test)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error) as error:
            raise ProbeeError(f"case {test.get('id', '?')}: {type(error).__name__}: {error}") from None

    def _made(self, test: dict[str, Any]) -> Case:
        insns = decode(bytes.fromhex(test["insns"]))
        kind = test.get("prog_type_nr") or PROG_TYPES.get(str(test.get("prog_type")), (0, ""))[0] or 1
        program = Program(insns, kind, attach_type=test.get("expected_attach_type") or 0)
        program.name = str(test.get("name") or "")
        made = Case(str(test.get("id") or program.name), str(test.get("file") or ""), program)
        made.expected = str(test.get("expected") or "")
        made.live = test.get("live") or {}
        if "fixups" in test or "kfunc_fixups" in test:
            self._old(test, made)
        else:
            self._new(test, made)
        return made

    # ---- test_verifier's form

    def _old(self, test: dict[str, Any], made: Case) -> None:
        program = made.program
        wanted = test.get("flags") or 0
        program.flags = (
            (2 if wanted & 1 else 0)
            | (1 if wanted & 2 else 0)
            | (wanted & ~3)
            | _TEST_RND_HI32
            | _TEST_REG_INVARIANTS
        )
        for name, places in (test.get("fixups") or {}).items():
            info = self.known_map(name, str(test.get("source") or ""))
            for place in places:
                program.map_refs[place] = info
                insn = program.insns[place]
                program.insns[place] = Insn(insn.opcode, insn.dst, insn.src, insn.off, 0)
        for fixup in test.get("kfunc_fixups") or []:
            self._kfunc(made, fixup["insn"], str(fixup["kfunc"]))
        target = str(test.get("kfunc") or "")
        if target:
            self._aim(made, target)
        if test.get("btf_types"):
            strings = bytes.fromhex(test.get("btf_strings") or "") or b"\0"
            program.btf = Btf.parse(raw_btf(bytes.fromhex(test["btf_types"]), strings))
        program.func_info = [(int(place), int(number)) for place, number in test.get("func_info") or []]
        if not test.get("runs_disabled"):
            for run in test.get("runs") or []:
                made.runs.append((bytes.fromhex(run.get("data") or ""), int(run["retval"]) & 0xFFFFFFFF))

    def known_map(self, name: str, source: str = "") -> MapInfo:
        """One of test_verifier's maps. Raises KeyError."""
        kind, key, value, entries, flags, type_id = _KNOWN[name]
        info = MapInfo(MAP_TYPES[kind][0], key, value, entries, flags=flags, name=name)
        if type_id:
            info.btf, info.key_type, info.value_type = self._known_btf(source), 1, type_id
        if name == "map_in_map":
            info.inner = MapInfo(MAP_TYPES["array"][0], 4, 4, 1)
        return info

    def _known_btf(self, source: str) -> Btf:
        meta = self.meta.get(source) or next(
            (held for held in self.meta.values() if isinstance(held, dict) and "btf_raw_types" in held), {}
        )
        types, strings = meta.get("btf_raw_types", ""), meta.get("btf_str_sec", "00")
        return Btf.parse(raw_btf(bytes.fromhex(types), bytes.fromhex(strings)))

    # ---- the form of BPF objects

    def _new(self, test: dict[str, Any], made: Case) -> None:
        program = made.program
        program.flags = test.get("prog_flags") or 0
        infos = [self._map(told, str(test.get("source") or "")) for told in test.get("maps") or []]
        for info in infos:
            if name_of(MAP_TYPES, info.type).endswith("_of_maps"):
                info.inner = MapInfo(MAP_TYPES["array"][0], 4, 4, 1)
        for ref in test.get("map_refs") or []:
            if ref["map"] < 0:
                continue  # the descriptor in the instruction is meant, which is none of a map
            insn = program.insns[ref["insn"]]
            program.insns[ref["insn"]] = Insn(insn.opcode, insn.dst, int(ref.get("pseudo") or 1), insn.off, 0)
            program.map_refs[ref["insn"]] = infos[ref["map"]]
        for place, number, *_ in test.get("kfunc_calls") or []:
            self._kfunc(made, place, number if isinstance(number, str) else self._kernel_name(number))
        if test.get("attach_btf_id"):
            self._aim(made, str(test.get("section") or "").partition("/")[2], int(test["attach_btf_id"]))
        func_info = test.get("func_info") or []
        if func_info:
            blob, numbers = functions_btf(program.insns, [tuple(entry) for entry in func_info])
            program.btf = Btf.parse(blob)
            program.func_info = [
                (int(entry[0]), number) for entry, number in zip(func_info, numbers, strict=True)
            ]
        result = _number(str(test.get("retval") or ""))
        if result is not None:
            made.runs.append((b"", result & 0xFFFFFFFF))

    def _map(self, told: dict[str, Any], source: str) -> MapInfo:
        """A map as the case tells it; one of test_verifier's has the types that it has there."""
        info = MapInfo(
            int(told["type"]),
            int(told["key_size"]),
            int(told["value_size"]),
            int(told["max_entries"]),
            flags=int(told.get("map_flags") or 0),
            name=str(told.get("name") or ""),
        )
        if told.get("btf"):
            info.btf = Btf.parse(bytes.fromhex(told["btf"]))
            info.key_type = int(told.get("btf_key_type_id") or 0)
            info.value_type = int(told.get("btf_value_type_id") or 0)
            return info
        typed = _KNOWN.get(info.name)
        if typed is not None and typed[5] and told.get("btf_value_type_id"):
            known = self.known_map(info.name, source)
            if (known.type, known.value_size) == (info.type, info.value_size) and known.btf is not None:
                info.btf, info.key_type, info.value_type = known.btf, known.key_type, known.value_type
        elif info.name.endswith(".rodata") and info.flags & _RDONLY_PROG:
            info.data = bytes(info.value_size)  # constants, whose values no case tells
        return info

    def _kernel_name(self, number: int) -> str:
        shifted = number + self.shift
        if self._kernel is None or not 0 < shifted < len(self._kernel):
            return ""
        found = self._kernel.type(shifted)
        return found.name if found.kind == _FUNC else ""

    @cached_property
    def shift(self) -> int:
        """How far the ids of kernel functions are from the file's: the nearest at which all are kfuncs."""
        if self._kernel is None:
            return 0
        wanted = {
            call[1]
            for test in self._tests
            for call in test.get("kfunc_calls") or []
            if isinstance(call[1], int)
        }
        there = kfunc_ids(self._kernel)
        for distance in range(1000):
            for shift in (distance, -distance):
                if all(number + shift in there for number in wanted):
                    return shift
        return 0

    def _kfunc(self, made: Case, place: int, name: str) -> None:
        program = made.program
        insn = program.insns[place]
        number = self._kernel.find(name, _FUNC) if self._kernel and name else None
        if not name:
            made.problem = "a kernel function without a name"
            return
        if number is not None:  # a loader leaves 0 for what the kernel lacks
            program.kfuncs[place] = name
        program.insns[place] = Insn(CALL_IMM, 0, PSEUDO_KFUNC_CALL, insn.off, number or 0)

    def _aim(self, made: Case, target: str, number: int = 0) -> None:
        """What a tracing, LSM or struct_ops program is attached to; `number`: by the file's kernel."""
        program = made.program
        program.target = target
        if self._kernel is None:
            made.problem = "the kernel's BTF is not at hand"
            return
        attach = name_of(ATTACH_TYPES, program.attach_type)
        if program.prog_type == PROG_TYPES["struct_ops"][0]:
            self._aim_struct(made, target, number)
            return
        name, kind = target, _FUNC
        if attach == "trace_raw_tp":
            name, kind = f"btf_trace_{target}", _TYPEDEF
        elif attach in ("lsm_mac", "lsm_cgroup"):
            name = f"bpf_lsm_{target}"
        elif attach == "trace_iter":
            name = f"bpf_iter_{target}"
        found = self._kernel.find(name, kind)
        if found is None:
            made.problem = f"the kernel has no {name}"
        else:
            program.attach_btf_id = found

    def _aim_struct(self, made: Case, member: str, number: int) -> None:
        """A struct_ops program is attached to a struct, its attach type is the member's number."""
        assert self._kernel is not None
        for found in (number + self.shift, self._kernel.find(_DUMMY_OPS, _STRUCT) or 0):
            if not 0 < found < len(self._kernel):
                continue
            held = self._kernel.type(found)
            at = made.program.attach_type
            if held.kind == _STRUCT and at < len(held.members) and held.members[at].name == member:
                made.program.target = f"{held.name}.{member}"
                made.program.attach_btf_id = found
                return
        made.problem = f"the kernel has no struct with operation {member}"


def _number(text: str) -> int | None:
    """A return value as the cases write it; None for a name that stands for no one number."""
    try:
        return int(text, 0)
    except ValueError:
        return {"INT_MIN": -(1 << 31), "INT_MAX": (1 << 31) - 1}.get(text)


def kfunc_ids(btf: Btf) -> set[int]:
    """The functions of a kernel's BTF that programs may call: those with the tag `bpf_kfunc` (Linux 6.10)."""
    found = set()
    for number in range(1, len(btf)):
        held = btf.type(number)
        if held.kind == _DECL_TAG and held.name == "bpf_kfunc":
            found.add(held.type)
    return found


def raw_btf(types: bytes, strings: bytes) -> bytes:
    """A BTF blob of a type section and a string section."""
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings
