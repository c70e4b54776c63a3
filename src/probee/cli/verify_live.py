"""The running kernel's verdict on a program that is told as `verifier.Program`: its maps are made, it is
loaded, run where that is asked for, and closed again.
"""

from __future__ import annotations

import errno
import os
import re
import struct

from ..btf import Btf
from ..errors import ProbeeError
from ..isa.insn import Insn, encode
from ..isa.tables import MAP_TYPES, PROG_TYPES, name_of
from ..kernel.rejection import raise_memlock
from ..kernel.sanitize import load_sanitized
from ..sys import kernel as running_kernel
from ..sys.bpf import ProgAttr, VerifierLog
from ..verifier.kernels import Rules
from ..verifier.program import MapInfo, Program
from ..verifier.verdict import ACCEPT, REJECT, UNSUPPORTED, Verdict

_LOG_SIZE = 1 << 20
_STATS = 4
_STATE = re.compile(
    r"^(?:\d+: |cur state|old state|from \d+ to |R\d+[_=]|; |"
    r"processed |verification time|stack depth |frame\d|$)"
)
_PROCESSED = re.compile(
    r"processed (\d+) insns .*?max_states_per_insn \d+ total_states (\d+) peak_states (\d+)"
)
_DEPTH = re.compile(r"^stack depth (\S+)", re.MULTILINE)
_TAIL_CALL = 12
# Flags that only make tests stricter, and the first Linux that knows them.
_TEST_FLAGS = {1 << 2: "5.3", 1 << 7: "6.8"}


class LiveKernel:
    """Loads programs into the running kernel. Maps are made once; `close` gives everything back."""

    def __init__(self) -> None:
        self._kernel = running_kernel()
        self._maps: dict[int, int] = {}
        self._blobs: dict[int, int] = {}
        self._kept: list[object] = []
        rules = Rules("live")
        self._no_flags = sum(flag for flag, first in _TEST_FLAGS.items() if not rules.since(first))
        if not rules.since("5.11"):
            raise_memlock()

    def close(self) -> None:
        for fd in [*self._maps.values(), *self._blobs.values()]:
            os.close(fd)
        self._maps, self._blobs, self._kept = {}, {}, []

    def __enter__(self) -> LiveKernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(
        self, program: Program, runs: list[tuple[bytes, int]] | None = None, *, level: int = _STATS
    ) -> tuple[Verdict, list[int]]:
        """The verdict, and what came back in r0 from each of `runs` (data, expected r0).

        Raises ProbeeError where this kernel can't say: a map that can't be made.
        """
        try:
            insns = self._described(program)
            attr = ProgAttr(program.prog_type, encode(insns), "GPL" if program.gpl else "Proprietary")
            attr.attach_type = program.attach_type
            attr.attach_btf_id = program.attach_btf_id
            attr.flags = program.flags & ~self._no_flags
            if program.btf is not None:
                attr.btf_fd = self._btf(program.btf)
                attr.func_info = b"".join(struct.pack("=II", *entry) for entry in program.func_info)
        except OSError as error:
            raise ProbeeError(f"what the program needs can't be made: {error.strerror}") from None
        log = VerifierLog(_LOG_SIZE, level)
        try:
            fd = self._kernel.prog_load(attr, log)
        except OSError as error:
            return self._refused(error, log.text), []
        try:
            return _said(ACCEPT, log.text), self._run(fd, runs or [])
        finally:
            os.close(fd)

    def _refused(self, error: OSError, text: str) -> Verdict:
        words = last_words(text)
        if error.errno in (errno.EPERM, errno.EACCES) and not words:
            return Verdict(UNSUPPORTED, f"this kernel refuses this kind of program: {error.strerror}")
        verdict = _said(REJECT, text)
        verdict.message = words or os.strerror(error.errno or 0)
        return verdict

    def _described(self, program: Program) -> list[Insn]:
        """The instructions with the descriptors of maps."""
        insns = list(program.insns)
        for place, info in program.map_refs.items():
            insn = insns[place]
            insns[place] = Insn(insn.opcode, insn.dst, insn.src or 1, insn.off, self._map(info, program))
        return insns

    def _btf(self, btf: Btf) -> int:
        known = self._blobs.get(id(btf))
        if known is None:
            try:
                known = self._kernel.btf_load(btf.raw)
            except OSError as error:
                known, why = load_sanitized(btf.raw, error)
                if known < 0:
                    raise ProbeeError(f"what the program needs can't be made: {why}") from None
            self._blobs[id(btf)] = known
            self._kept.append(btf)
        return known

    def _map(self, info: MapInfo, program: Program) -> int:
        known = self._maps.get(id(info))
        if known is not None:
            return known
        told = info.btf is not None and info.value_type
        fd = self._kernel.map_create(
            info.type,
            info.key_size,
            info.value_size,
            info.max_entries,
            flags=info.flags,
            inner_fd=self._map(info.inner, program) if info.inner is not None else 0,
            btf_fd=self._btf(info.btf) if info.btf is not None and told else 0,
            key_type_id=info.key_type if told else 0,
            value_type_id=info.value_type if told else 0,
        )
        self._maps[id(info)] = fd
        self._kept.append(info)
        if info.data is not None:
            self._kernel.map_update(fd, bytes(4), info.data)
            self._kernel.map_freeze(fd)
        kind = name_of(MAP_TYPES, info.type)
        if kind == "prog_array" and program.prog_type != PROG_TYPES["tracing"][0]:
            self._fill(fd, info, program)
        return fd

    def _fill(self, fd: int, info: MapInfo, program: Program) -> None:
        """What test_verifier puts into its program arrays: programs that return 42, call on, return 24."""
        if info.name not in ("prog1", "prog2"):
            return
        first, again, last = (0, 1, 2) if info.name == "prog1" else (7, 1, 2)
        exits = [Insn(0xB7, 0, 0, 0, 42), Insn(0x95)]
        loops = [
            Insn(0xB7, 3, 0, 0, again),
            Insn(0x18, 2, 1, 0, fd),
            Insn(0),
            Insn(0x85, 0, 0, 0, _TAIL_CALL),
            Insn(0xB7, 0, 0, 0, 41),
            Insn(0x95),
        ]
        for key, insns in ((first, exits), (again, loops), (last, [Insn(0xB7, 0, 0, 0, 24), Insn(0x95)])):
            held = self._kernel.prog_load(ProgAttr(program.prog_type, encode(insns), "GPL"))
            try:
                self._kernel.map_update(fd, struct.pack("=I", key), struct.pack("=I", held))
            finally:
                os.close(held)

    def _run(self, fd: int, runs: list[tuple[bytes, int]]) -> list[int]:
        found = []
        for data, _ in runs:
            try:
                found.append(self._kernel.prog_test_run(fd, data or bytes(64), repeat=1).retval)
            except OSError:  # this type of program can't be run so
                return []
        return found


def last_words(text: str) -> str:
    """What the verifier said last, without statistics and states."""
    for line in reversed(text.splitlines()):
        if not _STATE.match(line.strip()):
            return line.strip()
    return ""


def _said(verdict: str, text: str) -> Verdict:
    made = Verdict(verdict)
    made.log = text
    numbers = _PROCESSED.search(text)
    if numbers:
        made.insns_processed, made.total_states, made.peak_states = (
            int(number) for number in numbers.groups()
        )
    depth = _DEPTH.search(text)
    if depth:
        made.stack_depth = [int(part) for part in depth[1].split("+") if part.isdigit()]
    return made
