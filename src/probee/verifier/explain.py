"""What a rejection means: from the kernel verifier's log to the line of the source, the cause and a fix.

Imported only after a rejection. Works on the log of any kernel since 5.10: places come from the program's own
line info, not from the comments in the log (which have file and line only since Linux 6.9).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from probee.btf.parser import Btf

_TAIL = 400_000  # characters of a log that are looked at: enough for the last few thousand instructions
_INSN = re.compile(r"^(?:from \d+ to \d+: )?(\d+): \(([0-9a-f]{2})\) (.*)$")
_STATE_ONLY = re.compile(r"^(?:from \d+ to )?(\d+): R\d")
_STATE = re.compile(r"\bR(\d+)(?:_[a-zA-Z]+)?=((?:[^\s()]|\((?:[^()]|\([^()]*\))*\))+)")
_COMMENT = re.compile(r"^; (.*?)(?: @ ([^@]*):(\d+))?$")
_NOISE = re.compile(
    r"^(processed \d+ insns|verification time|stack depth|mark_precise:|last_idx|regs=|parent |"
    r"arg#\d+ reference type\(|cur state:|old state:|Live regs|func#|max_states|-- |\s*$)"
)
_REGISTER = re.compile(r"\bR(\d+)\b")


class Place:
    """A line of source: `file` and `source` are as the compiler recorded them, `line` and `column` from 1."""

    __slots__ = ("column", "file", "line", "source")

    def __init__(self, file: str, line: int, column: int, source: str) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.source = source.strip()

    def __repr__(self) -> str:
        return f"Place({self.file}:{self.line})"


class LineTable:
    """The line info of a loaded program: which source line an instruction belongs to."""

    __slots__ = ("_places", "_starts")

    def __init__(self, line_info: bytes, btf: Btf | None, endian: str = "little") -> None:
        order = "<" if endian == "little" else ">"
        self._starts: list[int] = []
        self._places: list[Place] = []
        if btf is None:
            return
        records = struct.iter_unpack(order + "IIII", line_info[: len(line_info) // 16 * 16])
        for insn, file, text, position in sorted(records):
            self._starts.append(insn)
            self._places.append(Place(btf.string(file), position >> 10, position & 1023, btf.string(text)))

    def at(self, insn: int) -> Place | None:
        """The line of instruction number `insn`; compiler-made instructions (line 0) get the one before."""
        at = bisect_right(self._starts, insn) - 1
        while at > 0 and not self._places[at].line:
            at -= 1
        return self._places[at] if at >= 0 and self._places[at].line else None


class Explanation:
    """What a verifier log says.

    `insn` is the instruction it stopped at (-1: none), `place` its source line or None, `last_words` the
    verifier's own verdict, `known` what it knew of the registers that mattered, in words, `cause` and `fix`
    are empty where the verdict is not a common one.
    """

    __slots__ = ("cause", "fix", "insn", "known", "last_words", "place")

    def __init__(self) -> None:
        self.insn = -1
        self.place: Place | None = None
        self.last_words = ""
        self.known = ""
        self.cause = ""
        self.fix = ""

    def advice(self) -> str:
        """Cause, knowledge and fix as text of one line."""
        parts = [self.cause, f"known there: {self.known}" if self.known else "", self.fix]
        return "; ".join(part for part in parts if part)

    def message(self, program: str) -> str:
        """The rejection in one line."""
        where = f"{self.place.file}:{self.place.line}: " if self.place else ""
        code = f" at `{self.place.source}`" if self.place and self.place.source else ""
        words = self.last_words or "no reason given"
        advice = self.advice()
        tail = f" ({advice})" if advice else ""
        return f"{where}the verifier refuses {program}{code}: {words}{tail}"


class _Reading:
    """The parts of a log that the explanation is made of."""

    __slots__ = ("comment", "insn", "lines", "program", "states", "text", "verdict")

    def __init__(self, log: str) -> None:
        self.insn = -1
        self.text = ""
        self.states: dict[int, str] = {}
        self.comment: Place | None = None
        self.lines: dict[int, str] = {}  # the last text of each instruction
        self.verdict: list[str] = []
        for line in log[-_TAIL:].splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        found = _INSN.match(line)
        if found:
            self.insn = int(found[1])
            text, _, state = found[3].partition("; ")
            # A branch that is left prints the state of the next instruction behind its own text.
            text, _, other = re.split(r"\s(?=\d+: R)", text, maxsplit=1)[0], "", text
            self.text = text.strip()
            self.lines[self.insn] = self.text
            self.states.update((int(r), value) for r, value in _STATE.findall(state or other))
            self.verdict = []
            return
        if _STATE_ONLY.match(line):
            self.states.update((int(r), value) for r, value in _STATE.findall(line))
            self.verdict = []
            return
        comment = _COMMENT.match(line)
        if comment:
            if comment[2]:
                self.comment = Place(comment[2], int(comment[3]), 0, comment[1])
            else:
                self.comment = Place("", 0, 0, comment[1])
            return
        if not _NOISE.match(line):
            self.verdict.append(line.strip())


def explain(
    log: str,
    lines: LineTable | None = None,
    poisoned: Mapping[int, str] | None = None,
    jumps: Sequence[int] | None = None,
) -> Explanation:
    """Explain a rejection.

    `poisoned`: for instructions that CO-RE poisoned, what is missing. `jumps`: the instructions that end the
    program's loops, if known; the first stands for a log that names no instruction.
    """
    reading = _Reading(log)
    result = Explanation()
    result.insn = reading.insn if reading.insn >= 0 or not jumps else jumps[0]
    words = _verdict(reading.verdict)
    result.last_words = words
    named = re.search(r"\binsn (\d+)\b", words)
    if named and (reading.insn < 0 or "at insn" in words or "unreachable" in words or "from insn" in words):
        result.insn = int(named[1])
    result.place = (lines.at(result.insn) if lines and result.insn >= 0 else None) or reading.comment
    registers = _registers(words, reading)
    result.known = ", ".join(
        f"r{r} is {words_for(reading.states[r])}" for r in registers if r in reading.states
    )
    for pattern, rule in _RULES:
        match = pattern.search(words)
        if match:
            result.cause, result.fix = rule(match, reading)
            break
    if jumps is not None and not jumps and "too large" in words:
        result.cause = "the verifier walks every path, up to 1,000,000 instructions, and there are more"
        result.fix = "use fewer branches one after the other, or split the work with tail calls"
    allocation = re.search(r"alloc_insn=(\d+)", words)
    if allocation:
        _leak(result, int(allocation[1]), lines)
    missing = (poisoned or {}).get(result.insn)
    if missing or "unknown#195896080" in words:
        result.cause = missing or "a CO-RE relocation failed: a field or type is not in this kernel"
        result.fix = "test for it first (hasattr, bpf_core_field_exists, bpf_ksym_exists)"
        result.known = ""
    return result


def _verdict(lines: list[str]) -> str:
    """The verifier's last words in one line; the two lines of some verdicts both say something."""
    return "; ".join(lines[-2:])


def _registers(words: str, reading: _Reading) -> list[int]:
    """The registers a verdict is about: those it names, else those the instruction reads."""
    named = [int(r) for r in _REGISTER.findall(words)]
    if "!read_ok" in words or "At program exit" in words:
        return []
    if not named and reading.text and "call" not in reading.text:
        side = reading.text.partition(" = ")[2] if "] = r0" not in reading.text else reading.text
        named = [int(r) for r in re.findall(r"\b[rw](\d+)\b", side or reading.text)]
    return list(dict.fromkeys(named))


def _leak(result: Explanation, insn: int, lines: LineTable | None) -> None:
    made = lines.at(insn) if lines else None
    if made is None:
        return
    leaving = result.place
    result.place = made
    if leaving and leaving.line != made.line:
        result.cause += f"; the way out without it is at line {leaving.line}: `{leaving.source}`"


# ---- register states in words

_KINDS = {
    "map_value": "a value",
    "map_value_or_null": "a value, or None",
    "ringbuf_mem": "a ring buffer record",
    "ringbuf_mem_or_null": "a ring buffer record, or None",
    "alloc_mem": "a ring buffer record",
    "alloc_mem_or_null": "a ring buffer record, or None",
    "mem": "a piece of memory",
    "mem_or_null": "a piece of memory, or None",
    "ctx": "the context",
    "pkt": "a pointer into the packet",
    "pkt_meta": "a pointer to the packet's metadata",
    "pkt_end": "the end of the packet",
    "map_ptr": "a map",
    "sock": "a socket",
    "sock_or_null": "a socket, or None",
}


def words_for(state: str) -> str:
    """A register's state as the verifier prints it, in words: `scalar(umax=15)` is "a number up to 15"."""
    kind, _, inside = state.partition("(")
    facts = _facts(inside.rstrip(")"))
    if re.fullmatch(r"-?(0x[0-9a-f]+|\d+)", state):
        return f"the number {int(state, 0)}"
    if kind.startswith("fp"):
        return f"the stack at {kind[2:] or '0'}"
    if kind in ("scalar", "inv", "invP"):
        return _number(facts)
    if kind in _KINDS:
        text, comma, none = _KINDS[kind].partition(", ")
        if "map" in facts:
            text += f" of map {facts['map']}" if kind != "map_ptr" else f" ({facts['map']})"
        if "vs" in facts and kind.startswith("map_value"):
            text += f" ({facts['vs']} bytes)"
        if "sz" in facts:
            text += f" of {facts['sz']} bytes"
        if kind == "pkt":
            text += f" of which {facts.get('r', '0')} bytes are checked"
        span = _span(facts)
        return text + (f" plus {span}" if span and kind != "map_ptr" else "") + comma + none
    pointer = re.fullmatch(r"(trusted_|rcu_|untrusted_|percpu_|user_)*ptr_(or_null_)?(\w*)", kind)
    if pointer:
        trust = "an untrusted" if "untrusted_" in kind else "a trusted" if "trusted_" in kind else "a"
        return f"{trust} pointer to {pointer[3] or 'kernel memory'}" + (", or None" if pointer[2] else "")
    return state


def _facts(inside: str) -> dict[str, str]:
    """`smin=smax=1,umax=2` as a mapping: several names may share a value."""
    facts: dict[str, str] = {}
    for part in re.split(r",(?![^()]*\))", inside):
        *names, value = part.split("=")
        for name in names:
            facts[name] = value
    return facts


def _bounds(facts: dict[str, str]) -> tuple[int | None, int | None]:
    def first(*names: str) -> int | None:
        for name in names:
            if name in facts:
                try:
                    return int(facts[name], 0)
                except ValueError:
                    return None
        return None

    low = first("smin", "smin_value", "umin", "umin_value")
    high = first("smax", "smax_value", "umax", "umax_value")
    return low, high


def _number(facts: dict[str, str]) -> str:
    low, high = _bounds(facts)
    if low is None and high is None:
        return "any number"
    if low is None:
        return f"a number up to {high}"
    if high is None:
        return f"a number from {low}"
    return f"a number from {low} to {high}"


def _span(facts: dict[str, str]) -> str:
    low, high = _bounds(facts)
    if low is None and high is None:
        return ""
    return f"{0 if low is None else low} to {'any number' if high is None else high} bytes"


# ---- causes and fixes

if TYPE_CHECKING:
    _Rule = Callable[[re.Match[str], _Reading], tuple[str, str]]


def _says(cause: str, fix: str) -> _Rule:
    return lambda match, reading: (cause, fix)


def _null(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    if "ringbuf" in match[1] or "alloc_mem" in match[1]:
        return "reserving fails when the ring buffer is full", "test the record for None (NULL) first"
    if "map_value" in match[1]:
        return (
            "a look-up finds nothing when the key is not in the map",
            "test the value for None (NULL) first",
        )
    return "the pointer may be None (NULL)", "test it first"


def _outside(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    size, offset, width = (int(group) for group in match.groups())
    if offset < 0:
        cause = f"the access may begin {-offset} bytes before the value"
    else:
        cause = f"the access may reach byte {offset + width} of a value of {size}"
    return cause, "limit the index to the array's length first, with an `if` or `&`"


def _context(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    if reading.text.startswith("*("):
        return (
            f"the hook's context can't be written at byte {match[1]}",
            "write only what this hook lets change",
        )
    return (
        f"the hook's context has nothing a program may read at byte {match[1]}, {match[2]} bytes wide",
        "use fields that this hook has",
    )


def _helper(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    name = next(group for group in match.groups() if group).partition("#")[0]
    return (
        f"the helper {name} is not open to programs at this kind of hook, or not in this kernel",
        "use another helper, or another kind of hook",
    )


def _unread(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    return (
        f"r{match[1]} holds nothing there: a variable is read that some path never set",
        "set it on every path (a call also forgets r1 to r5)",
    )


def _argument(match: re.Match[str], reading: _Reading) -> tuple[str, str]:
    called = re.match(r"call (\S+?)(#|$)", reading.text)
    name = called[1] if called else "the function"
    return f"argument {match[1]} of {name} is {match[2]}, it wants {match[3].strip(', ')}", ""


_LOOP = _says(
    "the verifier follows every turn of a loop, up to 1,000,000 instructions, and saw no end",
    "give the loop a bound: `for i in range(N)` with a small constant N",
)
_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"invalid mem access '(\w*_or_null\w*)'", _null),
        (
            r"Possibly NULL pointer passed|may be NULL|trusted_ptr_or_null",
            _says("the pointer may be None (NULL)", "test it first"),
        ),
        (
            r"invalid mem access '(?:scalar|inv|invP)'",
            _says(
                "it is a number to the verifier, not a pointer it can vouch for",
                "read kernel memory with probe_read_kernel, user memory with probe_read_user",
            ),
        ),
        (
            r"unbounded memory access|min value is negative|unbounded min value|"
            r"variable .*access .*(?:var_off|unbounded)|unbounded variable-offset",
            _says(
                "the index or length has no bound the verifier can see",
                "limit it first, as in `i & 7` or `if i < 8`",
            ),
        ),
        (r"invalid access to map value, value_size=(\d+) off=(-?\d+) size=(\d+)", _outside),
        (r"invalid access to memory, mem_size=(\d+) off=(-?\d+) size=(\d+)", _outside),
        (
            r"invalid access to packet|outside of the packet",
            _says(
                "the packet may be shorter than that",
                "compare with the end of the packet first (data + N > data_end)",
            ),
        ),
        (
            r"back-edge|infinite loop|jumps is too complex|program is too large|BPF program is too large",
            _LOOP,
        ),
        (r"invalid bpf_context access off=(-?\d+) size=(\d+)", _context),
        (r"R(\d+) !read_ok", _unread),
        (
            r"invalid (?:indirect )?read from stack|invalid (?:zero-sized|indirect access to) stack|"
            r"invalid (?:unbounded |variable-offset |indirect )*(?:read|access|write) (?:from|to|of) stack",
            _says(
                "bytes on the stack are read that were never written, or that lie outside the variable",
                "set the whole variable first (padding counts)",
            ),
        ),
        (
            r"combined stack size|stack depth|stack frames? .*too",
            _says("a program and all it calls have 512 bytes of stack together", "move large data to a map"),
        ),
        (
            r"cannot use helper (\S+)|unknown func (bpf_\S+)|helper call (\S+) is not allowed",
            _helper,
        ),
        (
            r"cannot call GPL|GPL.compatible",
            _says(
                "the kernel keeps this for programs under a GPL-compatible licence", "set the licence to GPL"
            ),
        ),
        (
            r"Unreleased reference|reference leak|would lead to reference",
            _says(
                "what was reserved or acquired here is not submitted, discarded or released on every path", ""
            ),
        ),
        (
            r"only read is supported|cannot write into|write into map forbidden|cannot write|read-only",
            _says("this memory may only be read", "copy it and change the copy"),
        ),
        (
            r"access beyond struct (\w+) at off (\d+) size (\d+)",
            lambda m, _: (f"struct {m[1]} ends before byte {int(m[2]) + int(m[3])}", ""),
        ),
        (r"R(\d) type=(\S+) expected=(.*)", _argument),
        (
            r"At program exit the register R0 has .*should have been in (.*)",
            lambda m, _: (f"programs at this hook return a value in {m[1]}", ""),
        ),
        (
            r"unknown opcode|invalid BPF_\w+ opcode|BPF_\w+ uses reserved fields",
            _says(
                "this kernel does not know the instruction", "compile for an older instruction set (cpu v3)"
            ),
        ),
        (r"unreachable insn", _says("some instructions can't be reached", "remove the dead code")),
        (r"misaligned", _says("the access is not aligned to its size", "")),
    )
)
