"""Per-CPU memory for what does not fit the 512 bytes of stack, chosen without being asked.

A function whose variables are too large gets a per-CPU array of its own; its largest variables live there. A
program may be interrupted on its CPU by another run of itself: each level (task, softirq, interrupt, NMI) has
its own part, taken by counting up at entry and given back at every return. Programs that may sleep can move
among CPUs and be overtaken on one, so they get no such memory; nor do those that leave by a tail call.
"""

from __future__ import annotations

from . import ir
from .types import U8, U32, U64, Array, Chars, Member, Struct
from .walk import Body, bodies_of

LEVELS = 4
ENOUGH = 320  # bytes of stack that are left in use: LLVM needs room of its own
SMALLEST = 32  # bytes of a variable that is worth moving
_STACK_ONLY = ("loop", "for_each_map_elem", "find_vma", "user_ringbuf_drain")  # their context is on the stack


class Scratch:
    """What a function keeps there: offsets by variable, in each of the parts of `size` bytes."""

    __slots__ = ("map", "offsets", "size")

    def __init__(self, map: ir.Map, offsets: dict[ir.Local, int], size: int) -> None:
        self.map = map
        self.offsets = offsets
        self.size = size


def stack(fn: ir.Function, uses: Body) -> tuple[int, ir.Local | None]:
    """Bytes of stack that the variables of a function need, and the largest of them."""
    lasting, passing = 0, 0
    largest: ir.Local | None = None
    for local in fn.locals:
        if local not in uses.of or uses.promoted(local) or (fn.scratch and local in fn.scratch.offsets):
            continue
        size = (local.of.size + 7) // 8 * 8
        if largest is None or size > largest.of.size:
            largest = local
        if uses.lifetime(local) is None:
            lasting += size
        else:
            passing = max(passing, size)
    return lasting + passing, largest


def place(module: ir.Module, limit: int, bodies: dict[ir.Function, Body] | None = None) -> None:
    """Give functions that need more than `limit` bytes of stack memory of their own, where that can be.

    What calls each other shares the stack: of a chain of calls that needs more together, those with the
    largest variables get such memory, one after the other.
    """
    if bodies is None:
        bodies = bodies_of(module)
    sleeping = any(_sleeps(fn) for fn in module.functions)
    needs = {}
    for fn, uses in bodies.items():
        needs[fn], _ = stack(fn, uses)
        if needs[fn] > limit:
            _move(module, fn, uses, min(ENOUGH, limit), limit, sleeping)
            needs[fn], _ = stack(fn, uses)
    if sum(map(framed, needs.values())) <= limit:
        return
    calls = {fn: body.called() for fn, body in bodies.items()}
    for fn in module.functions:
        if fn.section:
            _shrink(module, fn, needs, calls, bodies, limit, sleeping)


def _shrink(
    module: ir.Module,
    entry: ir.Function,
    needs: dict[ir.Function, int],
    calls: dict[ir.Function, list[ir.Function]],
    bodies: dict[ir.Function, Body],
    limit: int,
    sleeping: bool,
) -> None:
    tried: set[ir.Function] = set()
    while True:
        frames = chain(entry, needs, calls)
        over = sum(framed(needs[fn]) for fn in frames) - limit
        largest = max((fn for fn in frames if fn not in tried), key=lambda fn: needs[fn], default=None)
        if over <= 0 or largest is None or needs[largest] < SMALLEST:
            return
        tried.add(largest)
        if largest.scratch is None:
            uses = bodies[largest]
            _move(module, largest, uses, max(0, needs[largest] - over), limit, sleeping)
            needs[largest], _ = stack(largest, uses)


def framed(need: int) -> int:
    """Bytes that the verifier counts for a function that needs so many."""
    return (max(need, 1) + 31) // 32 * 32


def chain(
    fn: ir.Function,
    needs: dict[ir.Function, int],
    calls: dict[ir.Function, list[ir.Function]],
    above: tuple[ir.Function, ...] = (),
) -> list[ir.Function]:
    """The way through the calls of a function that needs the most stack, itself first."""
    ways: list[list[ir.Function]] = [[]]
    for callee in calls.get(fn, ()):
        if callee in needs and callee is not fn and callee not in above:
            ways.append(chain(callee, needs, calls, (*above, fn)))
    return [fn, *max(ways, key=lambda way: sum(framed(needs[f]) for f in way))]


def _move(module: ir.Module, fn: ir.Function, uses: Body, enough: int, limit: int, sleeping: bool) -> None:
    """Move the largest variables until `enough` bytes of stack do, if that brings it to `limit`."""
    if (sleeping and (not fn.section or _sleeps(fn))) or _calls(uses, "tail_call", *_STACK_ONLY):
        return
    movable = [v for v in fn.locals if v in uses.of and v.of.size >= SMALLEST and _movable(v, uses)]
    movable.sort(key=lambda v: -v.of.size)
    offsets: dict[ir.Local, int] = {}
    size = 0
    scratch = Scratch(ir.Map("", 6, U32, None, 1), offsets, 0)
    fn.scratch = scratch
    need, _ = stack(fn, uses)
    for local in movable:
        if need <= enough:
            break
        offsets[local] = size
        size += (local.of.size + 7) // 8 * 8
        need, _ = stack(fn, uses)
    if need > limit or not size or 8 + LEVELS * size > 32 * 1024:  # a per-CPU value has at most 32 KiB
        fn.scratch = None
        return
    scratch.size = size
    scratch.map.name = f"__scratch_{fn.name}"
    members = (Member("depth", U64, 0), Member("parts", Array(U8, LEVELS * size), 64))
    scratch.map.value = Struct(f"__scratch_of_{fn.name}", 8 + LEVELS * size, members)
    module.maps.append(scratch.map)


def _sleeps(fn: ir.Function) -> bool:
    kind = fn.section.removeprefix("?").partition("/")[0]
    return kind.endswith(".s") or kind == "syscall" or fn.section.startswith("struct_ops.s")


def _calls(body: Body, *names: str) -> bool:
    """Whether one of these helpers is called. The kernel may want a variable on the stack that can't be
    followed there, and after a tail call nothing is given back.
    """
    return any(op.name in names for op in body.ops.get(ir.Helper, ()))


def _movable(local: ir.Local, uses: Body) -> bool:
    """Not what the kernel wants on the stack: iterators, dynptrs, contexts of callbacks."""
    of = local.of
    if not isinstance(of, (Struct, Array, Chars)) or (isinstance(of, Struct) and of.core):
        return False
    if uses.promoted(local):
        return False
    for _, _, op, _ in uses.reach(local) or ():
        if isinstance(op, ir.Kfunc):
            return False
        if isinstance(op, ir.Helper) and (op.name in _STACK_ONLY or "dynptr" in op.name):
            return False
    return True
