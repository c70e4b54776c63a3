"""What a verdict means, for the causes whose words hold numbers and names: each gives (cause, fix)."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.verifier.explain_reading import Reading

    Rule = Callable[[re.Match[str], Reading], tuple[str, str]]

_IN_BOUNDS = "limit the index to the array's length first, with an `if` or `&`"


def says(cause: str, fix: str) -> Rule:
    """The same text always."""
    return lambda match, reading: (cause, fix)


def maybe_null(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    kind = match[1] or match[2]
    if "ringbuf" in kind or "alloc_mem" in kind:
        return "reserving fails when the ring buffer is full", "test the record for None (NULL) first"
    if "map_value" in kind:
        return (
            "a look-up finds nothing when the key is not in the map",
            "test the value for None (NULL) first",
        )
    return "the pointer may be None (NULL)", "test it first"


def no_pointer(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    call = reading.gone.get(int(match[1] or -1), "")
    if call:
        name = re.search(r"bpf_\w+", call)
        by = f" by {name[0]}" if name else ""
        return (
            f"what it pointed to was given back{by}, and isn't the program's any more",
            "use it before it is given back",
        )
    return (
        "it is a number to the verifier, not a pointer it can vouch for",
        "read kernel memory with probe_read_kernel, user memory with probe_read_user",
    )


def outside(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    size, offset, width = (int(group[:20]) for group in match.groups())
    if offset < 0:
        cause = f"the access may begin {-offset} bytes before the value"
    else:
        cause = f"the access may reach byte {offset + width} of a value of {size}"
    return cause, _IN_BOUNDS


def map_value(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    what = "less than 0" if match[1] == "min" else "more than the value holds"
    return f"the index or length can be {what}", _IN_BOUNDS


def map_flag(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    if match[1] == "read from":
        return (
            "the map was made with a flag that keeps programs from reading it",
            "create it without the flag",
        )
    return (
        "this memory may only be read: the map was made with a flag that keeps programs from changing it",
        "create it without the flag, or copy the value and change the copy",
    )


def map_kind(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    from probee.isa.tables import MAP_TYPES, name_of

    name = name_of(MAP_TYPES, int(match[1][:9])) or f"type {match[1]}"
    return (
        f"maps of the kind {name} can't be given to {match[2].partition('#')[0]}",
        "use another kind of map, or the helper that is made for this one",
    )


def context(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    if reading.text.startswith("*("):
        return (
            f"the hook's context can't be written at byte {match[1]}",
            "write only what this hook lets change",
        )
    return (
        f"the hook's context has nothing a program may read at byte {match[1]}, {match[2]} bytes wide",
        "use fields that this hook has",
    )


def helper(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    name = next((group for group in match.groups() if group), "").partition("#")[0]
    named = f"the helper {name}" if name.startswith("bpf_") else "the helper"
    return (
        f"{named} is not open to programs at this kind of hook, or not in this kernel",
        "use another helper, or another kind of hook",
    )


def kfunc(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    name = next((group for group in match.groups() if group), "")
    return (
        f"the kernel function {name} is not open to programs at this kind of hook",
        "use another kind of hook",
    )


def unread(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    return (
        f"r{match[1]} holds nothing there: a variable is read that some path never set",
        "set it on every path (a call also forgets r1 to r5)",
    )


def argument(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    wanted = match[3].strip(", ")
    return (
        f"argument {match[1]} of {called(reading)} is {match[2]}, it wants {wanted}",
        "test it for None (NULL) first"
        if "_or_null" in match[2]
        else "pass what the function takes: the address of a value or a local variable, a map, the context",
    )


def called(reading: Reading) -> str:
    """The function that the last instruction calls."""
    found = re.match(r"call (\S+?)(#|$)", reading.text)
    return found[1] if found and not found[1].startswith("pc") else "the function"


def misaligned(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    return (
        f"the access is not aligned to its size of {match[1]} bytes",
        "put the field at a multiple of its size, or copy it byte by byte",
    )


def beyond_struct(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    end = int(match[2][:20]) + int(match[3][:20])
    return f"struct {match[1]} ends before byte {end}", "use a field that it has"


def returns(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    return f"programs at this hook return a value in {match[1]}", "return one of those values on every path"


def global_call(match: re.Match[str], reading: Reading) -> tuple[str, str]:
    return (
        f"{match[1] or 'a global function'} is verified by itself, for all arguments of their types; "
        "these don't fit them",
        "make the function static, or test its arguments inside",
    )
