"""The program's functions: what their types say, walking the global ones by themselves, how deep the stack
gets.
"""

from __future__ import annotations

from probee.btf.kinds import DECL_TAG, ENUMS, FUNC_PROTO, INT, MODIFIERS, PTR, STRUCT
from probee.isa.helpers import BY_ID
from probee.isa.insn import CALL, JMP, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_KFUNC_CALL
from probee.verifier import flowgraph, older_rules
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.state import (
    ARENA,
    BTF_ID,
    CTX,
    DYNPTR,
    MAYBE_NULL,
    MEM,
    SCALAR,
    TRUSTED,
    UNKNOWN_REG,
    UNTRUSTED,
    Frame,
    Reg,
    State,
    pointer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk

MAX_STACK = 512


class Parameter:
    """A parameter of a global function: `kind` is "any", "ctx", "dynptr", "mem", "btf", "arena"."""

    __slots__ = ("btf_id", "flags", "kind", "size")

    def __init__(self, kind: str, *, flags: int = 0, size: int = 0, btf_id: int = 0) -> None:
        self.kind = kind
        self.flags = flags
        self.size = size
        self.btf_id = btf_id


def check_declared(context: Context) -> None:
    """Subprograms and the types the program tells of them go together.

    Raises:
        Reject: they don't.
    """
    graph = context.graph
    info = context.program.func_info
    if info and context.program.btf is not None:
        if len(info) != len(graph.subprogs):
            raise Reject("number of funcs in func_info doesn't match number of subprogs", 0)
        for (start, _), sub in zip(info, graph.subprogs, strict=True):
            if start != sub.start:
                raise Reject("func_info BTF section doesn't match subprog layout in BPF program", 0)


def parameters(context: Context, subprog: int) -> list[Parameter]:
    """What a function takes, by its type.

    Raises:
        Reject: it has a parameter that global functions can't have.
    """
    known = context.parameters.get(subprog)
    if known is not None:
        return known
    btf, id = context.program.btf, context.functions.get(subprog)
    assert btf is not None
    assert id is not None
    function = btf.type(id)
    proto = btf.type(function.type)
    name = function.name
    if proto.kind != FUNC_PROTO:
        raise Reject(f"Invalid type of function {name}()")
    params = proto.params
    if len(params) > 5:
        raise Reject(f"Global function {name}() with {len(params)} > 5 args. Buggy compiler.")
    result = btf.type(_plain(btf, proto.type)) if proto.type else None
    if result is None or (result.kind != INT and result.kind not in ENUMS):
        raise Reject(f"Global function {name}() doesn't return scalar. Only those are supported.")
    tags: dict[int, set[str]] = {}
    for tag in btf.own_types(DECL_TAG) if context.at_least(6, 8) else ():
        if tag.type == id and tag.name.startswith("arg:"):
            tags.setdefault(tag.component_idx, set()).add(tag.name[4:])
    found = [
        _parameter(context, btf, name, at, type_id, tags.get(at, set()))
        for at, (_, type_id) in enumerate(params)
    ]
    context.parameters[subprog] = found
    return found


def _plain(btf: Btf, id: int) -> int:
    for _ in range(64):
        type = btf.type(id)
        if type.kind not in MODIFIERS:
            return id
        id = type.type
        if not id:
            return 0
    return id


_TAGS = {"ctx", "trusted", "nonnull", "nullable", "arena", "untrusted"}


def _parameter(context: Context, btf: Btf, name: str, at: int, id: int, tags: set[str]) -> Parameter:
    if tags - _TAGS:
        raise Reject(f"arg#{at} has unsupported set of tags")
    plain = _plain(btf, id)
    type = btf.type(plain) if plain else None
    if type is None or type.kind != PTR:
        if tags:
            raise Reject(f"arg#{at} has pointer tag, but is not a pointer type")
        if type is not None and (type.kind == INT or type.kind in ENUMS):
            return Parameter("any")
        kind = type.kind_name.upper() if type is not None else "VOID"
        raise Reject(f"Arg#{at} type {kind} in {name}() is not supported yet.")
    target_id = _plain(btf, type.type) if type.type else 0
    target = btf.type(target_id) if target_id else None
    struct = target.name if target is not None and target.kind == STRUCT else ""
    if "ctx" in tags or _is_context(context, btf, type.type, struct):
        if tags - {"ctx"}:
            raise Reject(f"arg#{at} has invalid combination of tags")
        return Parameter("ctx")
    if struct == "bpf_dynptr":
        if tags:
            raise Reject(f"arg#{at} has invalid combination of tags")
        return Parameter("dynptr")
    if "trusted" in tags:
        if "nonnull" in tags:
            raise Reject(f"arg#{at} has invalid combination of tags")
        _, kernel_id = context.kernel_type(struct)
        return Parameter("btf", flags=TRUSTED | (MAYBE_NULL if "nullable" in tags else 0), btf_id=kernel_id)
    if "untrusted" in tags:
        if tags - {"untrusted"}:
            raise Reject(f"arg#{at} untrusted cannot be combined with any other tags")
        if struct:
            _, kernel_id = context.kernel_type(struct)
            return Parameter("btf", flags=UNTRUSTED, btf_id=kernel_id)
        return Parameter("mem", flags=UNTRUSTED)
    if "arena" in tags:
        if tags - {"arena"}:
            raise Reject(f"arg#{at} arena cannot be combined with any other tags")
        return Parameter("arena")
    if "nullable" in tags:
        raise Reject(f"arg#{at} has invalid combination of tags")
    try:
        size = btf.size_of(target_id) if target is not None else 0
    except Exception as error:
        raise Reject(f"arg#{at} reference type size cannot be determined: -22") from error
    if target is None or target.kind in (FUNC_PROTO, 7):
        kind = target.kind_name.upper() if target is not None else "UNKNOWN"
        label = target.name if target is not None else ""
        raise Reject(f"arg#{at} reference type('{kind} {label}') size cannot be determined: -22")
    if not context.at_least(5, 12):
        raise Reject(f"Arg#{at} type PTR in {name}() is not supported yet.")
    return Parameter("mem", flags=0 if "nonnull" in tags else MAYBE_NULL, size=size)


def _is_context(context: Context, btf: Btf, id: int, struct: str) -> bool:
    from probee.verifier import context_rules

    name = context_rules.CONTEXTS.get(context.kind, "")
    if context.kind in ("kprobe",):
        named = btf.type(id) if id else None
        return struct in ("pt_regs", "user_pt_regs", "bpf_user_pt_regs_t") or (
            named is not None and named.name == "bpf_user_pt_regs_t"
        )
    if context.kind == "perf_event" and struct == "bpf_perf_event_data":
        return True
    if context.kind in ("raw_tracepoint", "tracing") and struct == "bpf_raw_tracepoint_args":
        return context.kind == "raw_tracepoint"
    return bool(struct) and struct == name


def argument_regs(context: Context, subprog: int, w: Walk) -> list[Reg]:
    """What a global function is walked with: R1 on."""
    regs = []
    for parameter in parameters(context, subprog):
        kind = parameter.kind
        if kind in ("any", "arena"):
            regs.append(UNKNOWN_REG)
        elif kind == "ctx":
            regs.append(pointer(CTX))
        elif kind == "dynptr":
            regs.append(pointer(DYNPTR, detail=("local", True), id=w.new_id()))
        elif kind == "mem":
            regs.append(pointer(MEM | parameter.flags, size=parameter.size, id=w.new_id()))
        else:
            regs.append(
                pointer(
                    BTF_ID | parameter.flags,
                    btf=context.kernel_btf,
                    btf_id=parameter.btf_id,
                    id=w.new_id(),
                )
            )
    return regs


def check_call(w: Walk, callee: int) -> None:
    """The registers fit what a global function takes.

    Raises:
        Reject: they don't.
    """
    context = w.context
    try:
        _check_arguments(w, callee)
    except Reject as reject:
        name = context.name_of(callee)
        raise Reject(f"{reject.message}\nCaller passes invalid args into func#{callee} ('{name}')") from None


def _check_arguments(w: Walk, callee: int) -> None:
    from probee.verifier import calls, dynptrs

    for at, parameter in enumerate(parameters(w.context, callee)):
        number = at + 1
        reg = w.regs[number]
        kind = parameter.kind
        if kind == "any":
            if reg.type != SCALAR:
                raise Reject(f"R{number} is not a scalar")
        elif kind == "ctx":
            calls.check_argument_offset(w, number)
            if reg.type != CTX:
                raise Reject(f"arg#{at} expects pointer to ctx")
        elif kind == "mem":
            calls.check_argument_offset(w, number)
            if parameter.flags & UNTRUSTED:
                continue
            check_block(w, number, parameter.size)
            if not parameter.flags & MAYBE_NULL and (reg.type & MAYBE_NULL or calls.is_null(reg)):
                raise Reject(f"arg#{at} is expected to be non-NULL")
        elif kind == "arena":
            if reg.type not in (ARENA, SCALAR):
                raise Reject(f"R{number} is not a pointer to arena or scalar.")
        elif kind == "dynptr":
            calls.check_argument_offset(w, number)
            dynptrs.check_argument(w, number, reg, "dynptr")
        else:
            if calls.is_null(reg) and parameter.flags & MAYBE_NULL:
                continue
            if parameter.flags & UNTRUSTED:
                continue
            assert w.context.kernel_btf is not None
            name = w.context.kernel_btf.type(parameter.btf_id).name
            calls.check_type(
                w, number, f"btf:{name}", bool(parameter.flags & MAYBE_NULL), readonly=False, args=None
            )
            calls.check_argument_offset(w, number)


def check_block(w: Walk, number: int, size: int) -> None:
    """Register `number` points to `size` bytes that may be read and written, or is NULL."""
    from probee.verifier import calls

    reg = w.regs[number]
    if calls.is_null(reg):
        return
    if reg.type & MAYBE_NULL:
        from probee.verifier.jumps import not_null

        w.regs[number] = not_null(w, reg)
    try:
        calls.check_memory(w, number, size, write=False, zero_allowed=True)
        calls.check_memory(w, number, size, write=True, zero_allowed=True)
    finally:
        w.regs[number] = reg


def check_removed(w: Walk) -> None:
    """Functions that are never reached are taken out. An address of one that is used all the same becomes
    that of the next function; behind the last there is none, and compiling fails.

    Raises:
        Reject: there is such a use.
    """
    seen = w.seen_insns
    kept = [sub.start for sub in w.graph.subprogs if seen[sub.start]]
    if len(kept) < 2:
        return  # a program alone is compiled in another way
    last = kept[-1]
    for index, insn in enumerate(w.insns):
        used = insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC and seen[index]
        if used and index + insn.imm + 1 > last:
            raise Reject(f"verifier bug: No program to jit at insn {index} (subprog < 0)", index)


def walk_all(w: Walk) -> None:
    """The main program, then each global function that is called, then the stack.

    Raises:
        Reject: Linux refuses the program.
    """
    context = w.context
    graph = w.graph

    def is_iter_next(index: int) -> bool:
        return context.is_iter_next(index)

    flowgraph.check_flow(graph, is_iter_next, context.callback_kfunc)
    if not context.at_least(6, 8):
        older_rules.check_back_edges(graph)
    jumps = flowgraph.Jumps(graph)
    flowgraph.find_live(graph, jumps, context.call_registers, context.is_fastcall)
    flowgraph.find_loops(graph, jumps)
    for number, sub in enumerate(graph.subprogs):
        if number and (sub.has_tail_call or sub.has_ld_abs) and context.functions:
            _check_abnormal(context, number)
    _walk_one(w, 0)
    done: set[int] = set()
    if context.exception_callback >= 0:
        context.called.add(context.exception_callback)
    while True:
        waiting = sorted(context.called - done)
        if not waiting:
            break
        for subprog in waiting:
            done.add(subprog)
            _walk_one(w, subprog)
    check_depth(w)


def _check_abnormal(context: Context, number: int) -> None:
    """Packet loads and tail calls may leave a function with an int, so that is what it has to return."""
    btf = context.program.btf
    id = context.functions.get(number)
    if btf is None or id is None:
        return
    proto = btf.type(btf.type(id).type)
    result = _plain(btf, proto.type) if proto.type else 0
    good = bool(result) and btf.type(result).kind in (INT, *ENUMS)
    sub = context.graph.subprogs[number]
    if not good:
        word = "LD_ABS" if sub.has_ld_abs else "tail_call"
        raise Reject(f"{word} is only allowed in functions that return 'int'.", sub.start)


def _walk_one(w: Walk, subprog: int) -> None:
    context = w.context
    start = w.graph.subprogs[subprog].start
    state = State()
    state.branches = 1
    state.first_insn = start
    state.last_insn = -1
    frame = Frame(0, subprog, -1)
    state.frames = [frame]
    w.use(state)
    w.index, w.previous = start, -1
    w.path_start = w.processed
    w.explored.clear()
    w.visits.clear()
    w.pending.clear()
    w.enter_function(subprog)
    if subprog:
        regs = argument_regs(context, subprog, w)
        if subprog == context.exception_callback:
            frame.in_exception = True
            if len(regs) != 1 or regs[0] is not UNKNOWN_REG:
                raise Reject("exception cb only supports single integer argument")
        frame.regs[1 : 1 + len(regs)] = regs
    else:
        frame.regs[1] = pointer(CTX)
    w.run()


def effects_of(context: Context, subprog: int) -> tuple[bool, bool]:
    """(may move the packet, may sleep) of a function and all it calls, by its instructions alone."""
    known = context.effects.get(subprog)
    if known is not None:
        return known
    context.effects[subprog] = (False, False)
    sub = context.graph.subprogs[subprog]
    changes = sleeps = False
    for index in range(sub.start, sub.end):
        insn = context.program.insns[index]
        if insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC:
            other = effects_of(context, context.graph.start_of[index + insn.imm + 1])
        elif insn.opcode != JMP | CALL:
            continue
        elif insn.src == PSEUDO_CALL:
            other = effects_of(context, context.graph.start_of[index + insn.imm + 1])
        elif insn.src == PSEUDO_KFUNC_CALL:
            other = context.kfunc_effects(index)
        else:
            proto = BY_ID.get(insn.imm)
            other = (proto.changes, proto.sleeps) if proto is not None else (False, False)
        changes, sleeps = changes or other[0], sleeps or other[1]
    context.effects[subprog] = changes, sleeps
    return changes, sleeps


# Depth of the stack

_PRIVATE = {"kprobe", "tracepoint", "perf_event", "raw_tracepoint"}


def check_depth(w: Walk) -> None:
    """The frames of all chains of calls fit the stack.

    Raises:
        Reject: they don't.
    """
    subs = w.graph.subprogs
    context = w.context
    private = (
        not any(sub.has_tail_call for sub in subs)
        and context.at_least(6, 13)
        and (context.kind in _PRIVATE or context.checks_recursion())
    )
    normal: set[int] = set()
    for number in range(len(subs) - 1, -1, -1):
        if number == 0 or number in context.async_callbacks:
            _depth_below(w, number, private and number == 0, normal)


def _round(context: Context, depth: int) -> int:
    return (depth + 15) & ~15 if context.at_least(6, 8) else (max(depth, 1) + 31) & ~31


def _depth_below(w: Walk, top: int, private: bool, normal: set[int]) -> None:
    subs = w.graph.subprogs
    insns = w.insns
    context = w.context

    def visit(number: int, depth: int, chain: list[int]) -> None:
        sub = subs[number]
        if not private:
            normal.add(number)
        in_callback = any(subs[item].is_callback for item in (*chain, number))
        if sub.has_ld_abs and in_callback:
            raise Reject("cannot use BPF_LD_[ABS|IND] within callback", sub.start)
        if number and sub.has_tail_call and depth >= 256:
            raise Reject(
                f"tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large",
                sub.start,
            )
        own = _round(context, w.stack_depth[number])
        if private and number not in normal and own >= 64:
            if own > MAX_STACK:
                raise Reject(f"stack size of subprog {number} is {own}. Too large", sub.start)
        else:
            depth += own
            if depth > MAX_STACK:
                raise Reject(
                    f"combined stack size of {len(chain) + 1} calls is {depth}. Too large", sub.start
                )
        for index in range(sub.start, sub.end):
            insn = insns[index]
            called = insn.opcode == JMP | CALL and insn.src == PSEUDO_CALL
            if not called and not (insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC):
                kernel = insn.opcode == JMP | CALL and insn.src == PSEUDO_KFUNC_CALL
                if kernel and in_callback and context.is_throw(index):
                    raise Reject(
                        f"bpf_throw kfunc (insn {index}) cannot be called from callback subprog {number}",
                        index,
                    )
                continue
            callee = w.graph.start_of[index + insn.imm + 1]
            if callee in context.async_callbacks:
                if not called:
                    continue
                if subs[callee].is_exception_callback:
                    raise Reject(f"insn {index} cannot call exception cb directly", index)
            if len(chain) + 1 >= 8:
                raise Reject(f"the call stack of {len(chain) + 1} frames is too deep !", index)
            visit(callee, depth, [*chain, number])

    visit(top, 0, [])


__all__ = ["Unsupported", "check_call", "check_depth", "effects_of", "walk_all"]
