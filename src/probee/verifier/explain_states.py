"""What the verifier knew of a register: its state as the log prints it, as facts and in words."""

from __future__ import annotations

import re

_LONGEST = 2000  # characters of a state that are looked at

_KINDS = {
    "map_value": "a value",
    "map_value_or_null": "a value, or None",
    "ringbuf_mem": "a ring buffer record",
    "ringbuf_mem_or_null": "a ring buffer record, or None",
    "alloc_mem": "a ring buffer record",
    "alloc_mem_or_null": "a ring buffer record, or None",
    "mem": "a piece of memory",
    "mem_or_null": "a piece of memory, or None",
    "rdonly_mem": "a piece of memory that may only be read",
    "rdonly_mem_or_null": "a piece of memory that may only be read, or None",
    "ctx": "the context",
    "pkt": "a pointer into the packet",
    "pkt_meta": "a pointer to the packet's metadata",
    "pkt_end": "the end of the packet",
    "map_ptr": "a map",
    "sock": "a socket",
    "sock_or_null": "a socket, or None",
    "sock_common": "a socket",
    "sock_common_or_null": "a socket, or None",
    "tcp_sock": "a TCP socket",
    "tcp_sock_or_null": "a TCP socket, or None",
    "buf": "a buffer of the kernel's",
    "func": "a function of the program",
    "arena": "a pointer into the arena",
    "dynptr_ptr": "a dynptr",
}


class Register:
    """A register at the failing instruction.

    `text` is the state as printed, `kind` its type (`scalar`, `map_value`, `pkt` …), `facts` what stands in
    brackets (`{"umax": "15"}`), `words` the state for people.
    """

    __slots__ = ("facts", "kind", "text")

    def __init__(self, text: str) -> None:
        self.text = text[:_LONGEST]
        kind, _, inside = self.text.partition("(")
        self.kind = kind
        self.facts = _facts(inside.rstrip(")"))

    def __repr__(self) -> str:
        return f"Register({self.text!r})"

    @property
    def words(self) -> str:
        return words_for(self.text)

    @property
    def value(self) -> int | None:
        """The number that the register holds, if the verifier knew it."""
        found = re.fullmatch(r"(?:invP?|P)?(-?(?:0x[0-9a-f]{1,16}|\d{1,20}))", self.text)
        return int(found[1], 0) if found and not _octal(found[1]) else None

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The least and the largest number it may hold, or may be added to a pointer; None: not known."""
        value = self.value
        return _bounds(self.facts) if value is None else (value, value)

    @property
    def or_null(self) -> bool:
        """Whether it may be NULL."""
        return "or_null" in self.kind


def words_for(state: str) -> str:
    """A register's state as the verifier prints it, in words: `scalar(umax=15)` is "a number up to 15"."""
    register = Register(state)
    kind, facts = register.kind, register.facts
    if register.value is not None:
        return f"the number {register.value}"
    if kind.startswith("fp"):
        span = _span(facts)
        place = facts.get("off") or kind[2:].rpartition("]")[2] or "0"
        return f"the stack at {place}" + (f" plus {span}" if span else "")
    if kind in ("scalar", "inv", "invP"):
        return _number(facts)
    if kind in _KINDS:
        text, comma, none = _KINDS[kind].partition(", or")
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
    pointer = re.fullmatch(r"((?:trusted_|rcu_|untrusted_|percpu_|user_)*)ptr_(or_null_)?(\w*)", kind)
    if pointer:
        trust = pointer[1]
        article = "an untrusted" if "untrusted_" in trust else "a trusted" if "trusted_" in trust else "a"
        return f"{article} pointer to {pointer[3] or 'kernel memory'}" + (", or None" if pointer[2] else "")
    return state


def stack_words(state: str) -> str:
    """The state of eight bytes of stack in words: what was spilled there, or what kind of bytes they are."""
    kinds = {"m": "numbers", "0": "zeros", "?": "bytes that were never written", "r": "a saved register"}
    bytes_ = set(state)
    if bytes_ and bytes_ <= {*"m0?rdif"}:
        return " and ".join(dict.fromkeys(kinds.get(byte, "data of the kernel's") for byte in state))
    return words_for(state)


def _octal(text: str) -> bool:
    digits = text.lstrip("-")
    return len(digits) > 1 and digits[0] == "0" and digits.isdigit()


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
