"""The causes of rejections: from the verifier's last words to what they mean and what to do.

Each cause has an id that stays the same whatever a kernel's words are. The first pattern that is found
decides, so the particular comes before the general.
"""

from __future__ import annotations

import re

from probee.verifier.explain_rules import (
    argument,
    beyond_struct,
    context,
    global_call,
    helper,
    kfunc,
    map_flag,
    map_kind,
    map_value,
    maybe_null,
    misaligned,
    no_pointer,
    outside,
    returns,
    says,
    unread,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.explain_reading import Reading
    from probee.verifier.explain_rules import Rule

_LONGEST = 4000  # characters of a verdict that are looked at


class Cause:
    """A cause of rejections. `kind`: "verifier", "core", "kfunc", "map", "license" or "btf"."""

    __slots__ = ("id", "kind", "pattern", "rule")

    def __init__(self, id: str, pattern: str, rule: Rule, kind: str = "verifier") -> None:
        self.id = id
        self.kind = kind
        self.pattern = re.compile(pattern)
        self.rule = rule


def find(words: str, reading: Reading) -> tuple[Cause | None, str, str]:
    """The cause that a verdict names, what it means here, and a fix."""
    words = words[:_LONGEST]
    for cause in CAUSES:
        match = cause.pattern.search(words)
        if match:
            return cause, *cause.rule(match, reading)
    return None, "", ""


_CALLBACK = says(
    "a function that is called back takes and returns what the helper says, 0 or 1 as a rule",
    "give it the arguments of the helper's documentation, and return 0 or 1",
)
_FIRST = (
    Cause(
        "missing-relocation",
        r"unknown#195896080",
        says("a CO-RE relocation failed: a field or type is not in this kernel", ""),
        "core",
    ),
    Cause(
        "license",
        r"cannot call GPL|GPL.compatible",
        says("the kernel keeps this for programs under a GPL-compatible licence", "set the licence to GPL"),
        "license",
    ),
    Cause(
        "maybe-null",
        r"invalid mem access '(\w*_or_null\w*)'|pointer arithmetic on (\w+_or_null) prohibited",
        maybe_null,
    ),
    Cause(
        "maybe-null",
        r"Possibly NULL pointer passed|may be NULL|trusted_ptr_or_null|null-check it first",
        says("the pointer may be None (NULL)", "test it first"),
    ),
    Cause(
        "global-call",
        r"(?:Caller passes invalid args into func#\d+(?: \('([^']*)'\))?|Global function)",
        global_call,
    ),
    Cause(
        "global-call",
        r"Arg#\d+ type \w+ in (\w+)\(\) is not supported",
        says(
            "on this kernel a global function takes only numbers and the context", "make the function static"
        ),
    ),
    Cause(
        "kfunc-not-open",
        r"calling kernel function (\w+) is not allowed|kernel function (\w+) is not allowed",
        kfunc,
        "kfunc",
    ),
    Cause(
        "kfunc-unknown",
        r"kernel btf_id \d+ is not a function|failed to find BTF for kernel func|kernel function btf_id|"
        r"calling kernel functions? (?:are|is) not allowed|kfunc_btf|module BTF",
        says("the call names no kernel function that programs may call", "look it up in the kernel's BTF"),
        "kfunc",
    ),
    Cause(
        "leak",
        r"Unreleased reference|reference leak|would lead to reference",
        says(
            "what was reserved or acquired here is not submitted, discarded or released on every path",
            "release it before each return, also where the program leaves early",
        ),
    ),
    Cause("callback", r"At (?:async )?callback return", _CALLBACK),
    Cause("return-value", r"At program exit the register R0 has .*should have been in (.*)", returns),
    Cause(
        "return-value",
        r"At program exit the register R\d is not a known value|R0 has value|At subprogram exit|"
        r"in functions that return 'int'",
        says(
            "the value that is returned here is not one that the kernel takes",
            "return one of the hook's constants on every path",
        ),
    ),
)

# Things that have to be done in an order.
_PROTOCOLS = (
    Cause(
        "dynptr",
        r"[Dd]ynptr|dynptr_ptr",
        says(
            "a dynptr is used out of order: it is made once, used as it is, and released or submitted once",
            "make it, use it and release it in the same function; don't touch its 16 bytes on the stack",
        ),
    ),
    Cause(
        "iterator",
        r"initialized iter_|iter_\w+ as arg|iterator",
        says(
            "an iterator is used out of order: new, then next, then destroy, each once on every path",
            "begin, walk and end it in the same function",
        ),
    ),
    Cause(
        "lock",
        r"bpf_spin_unlock (?:without|of different)|bpf_spin_lock cannot be accessed|spin_\{lock,unlock\}|"
        r"cannot use bpf_(?:spin_lock|timer|wq)|has no valid bpf_(?:spin_lock|res_spin_lock|timer|wq)|"
        r"Locking two|bpf_(?:timer|wq) cannot be accessed|held lock|unlock is missing|"
        r"map '.*' has to have BTF in order to use bpf_",
        says(
            "a lock or timer is a field of its own in a map's value; a lock is taken once, and given back "
            "before the program ends",
            "lock and unlock in pairs, in the same function, on every path",
        ),
    ),
    Cause(
        "section",
        r"while holding a lock|cannot be used inside|unmatched rcu|rcu_read_unlock|in non-preemptible|"
        r"attempt to restore|irq flag|in an? rcu|RCU CS|function calls are not allowed|"
        r"might sleep|bpf_throw kfunc|calls are not allowed",
        says(
            "this is not allowed while a lock is held, or inside an RCU, preemption or interrupt section",
            "end the section first: unlock before calls and before every return",
        ),
    ),
    Cause(
        "tree",
        r"rbtree|rb_node|rb_root|list_node|list_head|graph_node|non-owning",
        says(
            "nodes of lists and trees are handled under the lock of their root, and have one owner",
            "hold the root's lock, and release or insert each node once",
        ),
    ),
    Cause(
        "kptr",
        r"\bkptr\b|kptr_xchg",
        says(
            "a kernel pointer in a map is exchanged whole, with bpf_kptr_xchg, for one of its own type",
            "use bpf_kptr_xchg to store it; test what a load gives for None (NULL)",
        ),
    ),
    Cause(
        "release",
        r"must be referenced when passed to release|release kernel function|unacquired reference|"
        r"zero offset when passed to release|expects refcounted|reference has not been acquired|unowned",
        says(
            "the function gives back a reference, and what it is passed is none",
            "pass exactly what was acquired, once, without an offset",
        ),
    ),
    Cause(
        "trust",
        r"must be (?:referenced or trusted|an? rcu pointer|trusted)|rcu or trusted|"
        r"expected pointer to|must point to (?:scalar|struct)|arg#\d+ (?:doesn't point|pointer type)",
        says(
            "the function wants a pointer that the kernel vouches for: an argument of the hook, one that was "
            "acquired, or one that was read inside an RCU section",
            "acquire a reference first (bpf_…_acquire), or read the pointer inside bpf_rcu_read_lock()",
        ),
        "kfunc",
    ),
    Cause(
        "argument-memory",
        r"memory, len pair leads|leads to invalid memory access",
        says(
            "the memory and the length that are passed don't fit each other",
            "pass a buffer and a length that is at most its size",
        ),
    ),
)

_MAPS = (
    Cause("map-kind", r"cannot pass map_type (\d+) into func (\S+)", map_kind, "map"),
    Cause(
        "map-descriptor",
        r"is not pointing to valid bpf_map|tail_call abusing map|different maps",
        says("the instruction names no map that the program may use", "create the map before the program"),
        "map",
    ),
    Cause("map-flags", r"(read from|write into) map forbidden", map_flag, "map"),
    Cause(
        "map-value-address",
        r"direct value offset|invalid access to map value pointer",
        says("the address lies outside the map's value", "use an offset inside the value"),
        "map",
    ),
)

_MEMORY = (
    Cause(
        "not-a-pointer",
        r"(?:R(\d{1,2}) )?invalid mem access '(?:scalar|inv|invP)'",
        no_pointer,
    ),
    Cause(
        "wrong-pointer",
        r"invalid mem access '([^']+)'",
        says(
            "memory can't be read or written through this pointer",
            "use the function that is made for it, or the pointer it was made from",
        ),
    ),
    Cause(
        "stack-bounds",
        r"invalid (?:unbounded |variable-offset |indirect )*write to stack|invalid stack (?:off|type)|"
        r"invalid (?:unbounded )?(?:variable-offset )(?:read from|indirect access to|write to) stack|"
        r"invalid unbounded variable-offset",
        says(
            "the access lies outside the stack (512 bytes below r10), or its place is not known",
            "use a constant or a bounded index and a smaller buffer, or keep large data in a map",
        ),
    ),
    Cause(
        "unset-stack",
        r"invalid (?:indirect )?read from stack|uninitialized stack|"
        r"invalid (?:zero-sized|indirect) (?:read|access) (?:to|from) stack",
        says(
            "bytes on the stack are read that were never written, or that lie outside the variable",
            "set the whole variable first (padding counts)",
        ),
    ),
    Cause(
        "zero-size",
        r"invalid zero-sized read|_size=\d+ off=\d+ size=0\b",
        says("the length may be 0", "test that it is at least 1"),
    ),
    Cause(
        "unbounded",
        r"unbounded memory access|min value is negative|unbounded min value|invalid variable buffer offset|"
        r"variable \S+ access .*var_off|not a known constant|must be a known constant",
        says(
            "the index or length has no bound the verifier can see",
            "limit it first, as in `i & 7` or `if i < 8`",
        ),
    ),
    Cause("value-bounds", r"invalid access to map value, value_size=(\d+) off=(-?\d+) size=(\d+)", outside),
    Cause("value-bounds", r"invalid access to memory, mem_size=(\d+) off=(-?\d+) size=(\d+)", outside),
    Cause(
        "packet-bounds",
        r"invalid access to packet|outside of the packet",
        says(
            "the packet may be shorter than that",
            "compare with the end of the packet first (data + N > data_end)",
        ),
    ),
    Cause("value-bounds", r"(min|max) value is outside of the allowed memory range", map_value),
    Cause(
        "pointer-range",
        r"pointer be out of bounds|math between \w+ pointer and|pointer offset -?\d+ is not allowed",
        says(
            "the pointer would leave what it points to before it is used",
            "bound the offset before it is added to the pointer",
        ),
    ),
    Cause(
        "pointer-arithmetic",
        r"pointer arithmetic|pointer \+= pointer|on pointer prohibited|subtract pointer from scalar|"
        r"subtraction from stack pointer|pointer comparison prohibited|partial copy of pointer|"
        r"same insn cannot be used with different pointers|leaks addr|32-bit pointer",
        says(
            "the verifier loses track of a pointer after this operation",
            "only add numbers to a pointer, in 64 bits; take the difference of packet pointers only",
        ),
    ),
    Cause("context", r"invalid bpf_context access off=(-?\d+) size=(\d+)", context),
    Cause(
        "context-pointer",
        r"dereference of modified \w+ ptr|negative offset \w+ ptr|modified ctx|variable ctx access",
        says(
            "the context and other kernel pointers are used as they came: unmoved, with constant offsets",
            "keep the pointer as it is, and read its fields by name",
        ),
    ),
    Cause("unset-register", r"R(\d+) !read_ok", unread),
    Cause(
        "spill",
        r"register (?:fill|spill)|corrupted spill|attempt to corrupt spilled|cannot spill pointers",
        says(
            "a pointer that is kept on the stack is stored and read whole, in its own function",
            "don't overwrite a part of it, and don't read it in another width",
        ),
    ),
    Cause(
        "read-only",
        r"only read (?:is supported|from \w+ is supported)|cannot write into|frame pointer is read only|"
        r"BPF_ATOMIC stores into|read-only",
        says("this memory may only be read", "copy it and change the copy"),
    ),
    Cause("struct-access", r"access beyond struct (\w+) at off (\d+) size (\d+)", beyond_struct),
    Cause(
        "struct-access",
        r"access beyond the end of member|invalid \w+ access off=-?\d+ size=\d+|invalid negative access|"
        r"cannot access ptr member",
        says("the struct has no field there that programs may read in this width", "use its fields by name"),
    ),
    Cause("misaligned", r"misaligned .*size (\d+)", misaligned),
)

_CALLS = (
    Cause(
        "helper",
        r"cannot use helper (\S+)|unknown func (\S+)|helper call (\S+) is not allowed|invalid func (\S+)|"
        r"helper call (is not allowed)",
        helper,
    ),
    Cause("argument", r"R(\d) type=(\S+) expected=(.*)", argument),
    Cause(
        "helper-argument",
        r"helper access to the packet|doesn't support non-zero flags|expected constant|unsupported reg type|"
        r"in this context",
        says(
            "the helper does not take this argument here", "copy the data to the stack first; pass 0 as flags"
        ),
    ),
    Cause("callback", r"callback|exception cb", _CALLBACK),
    Cause(
        "stack-depth",
        r"combined stack size|stack frames? .*too|call stack of \d+ frames",
        says(
            "a program and all it calls have 512 bytes of stack together, and 8 calls in depth",
            "move large data to a map, and call less deeply",
        ),
    ),
)

_TOO_LONG = says(
    "the verifier follows every turn of a loop, up to 1,000,000 instructions, and saw no end",
    "give the loop a bound: `for i in range(N)` with a small constant N",
)
_FORM = (
    Cause("endless-loop", r"back-edge|infinite loop", _TOO_LONG),
    Cause(
        "too-many-ways",
        r"jumps is too complex",
        says(
            "each branch in a loop doubles the ways that are still to be walked, and more than 8,192 wait",
            "let fewer branches in the loop depend on what is read there, or give it fewer turns",
        ),
    ),
    Cause("too-complex", r"program is too large", _TOO_LONG),
    Cause(
        "unused-function",
        r"No program to jit",
        says(
            "a function is given to a helper that never calls it, and is taken out all the same",
            "call it at least once (a loop of 0 turns doesn't), or take the reference out",
        ),
    ),
    Cause(
        "unknown-instruction",
        r"unknown opcode|invalid BPF_\w+ opcode|uses reserved fields|unrecognized bpf_ld_imm64|"
        r"unknown insn class",
        says(
            "this kernel does not know the instruction",
            "compile for an older instruction set (cpu v3; v2 for atomic operations before Linux 5.12)",
        ),
    ),
    Cause(
        "division",
        r"div(?:ision)? by zero",
        says("the program divides by a constant 0", "divide by another number"),
    ),
    Cause(
        "control-flow",
        r"unreachable insn|jump out of range|last insn is not|invalid destination|jump into the middle",
        says(
            "the control flow is malformed: each path ends in a return, and jumps stay inside their function",
            "end every path with a return; in assembly, check the labels",
        ),
    ),
    Cause(
        "malformed",
        r"invalid bpf_ld_imm64|R\d+ is invalid|invalid shift",
        says("the instruction is malformed", "compile or assemble the program again"),
    ),
    Cause(
        "attach-target",
        r"attach_btf_id|attach to unsupported member|is not a modifiable|not modified return|"
        r"Cannot (?:replace|extend|recursively)|can be sleepable|is not sleepable|is not a function",
        says(
            "the program can't be attached to this function, or not in this way",
            "choose another function, or another kind of program",
        ),
        "btf",
    ),
    Cause(
        "btf",
        r"func_info|line_info|(?i:invalid btf)|without BTF|missing func|BTF type",
        says("the type information does not fit the program", "compile the object again, with -g"),
        "btf",
    ),
)

CAUSES: tuple[Cause, ...] = (*_FIRST, *_PROTOCOLS, *_MAPS, *_MEMORY, *_CALLS, *_FORM)
