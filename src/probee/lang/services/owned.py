"""What a program has to give back: taken by a `with`, released at its end unless it was given away before."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import describe
from ..items import Item, Pointer, Ref
from ..scope import Fn
from ..with_ import Held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Owned:
    """A value that a `with` owns: `slot` holds it, and NULL when it was given away."""

    __slots__ = ("slot", "what")

    def __init__(self, slot: ir.Value, what: str) -> None:
        self.slot = slot
        self.what = what


def hold(
    f: Fn, value: ir.Value, release: Callable[[ir.Value], Any], what: str, item: Item | None = None
) -> Held:
    """Own `value`, which may be NULL: then the body is skipped."""
    b = f.b
    slot = b.local("owned", value.type)
    b.store(slot, value)
    body, none = b.new_block("owned"), b.new_block("none")
    without = f.live.copy()
    b.branch(b.truth(value), body, none)
    b.at(body)
    owned = Owned(slot, what)

    def give_back() -> None:
        left = b.load(slot)
        yes, end = b.new_block("release"), b.new_block("released")
        b.branch(b.truth(left), yes, end)
        b.at(yes)
        release(left)
        b.jump(end)
        b.at(end)

    return Held(
        give_back,
        item if item is not None else Ref(value),
        ended=(f"{{}} is {what} that was released at the end of its `with`", "use it inside the `with`"),
        failed=(none, without),
        owned=owned,
    )


def name_of(f: Fn, item: Item) -> str:
    """The name of the `with` that owns what the item refers to, "" if none does."""
    if isinstance(item, Ref):
        for name in item.origin:
            if isinstance(name, str) and name in f.owned:
                return name
    return ""


def give(f: Fn, item: Item, node: ast.AST, to: str, *, keep: bool = False) -> ir.Value:
    """The value of something owned, which belongs to another from here on."""
    name = name_of(f, item)
    if not name:
        f.fail(
            node,
            f"{to} takes what this program owns, and this is {describe(item)}",
            "take it with `with … as name:`, and give that name away in the body",
        )
    owned: Owned = f.owned[name]
    kind = owned.slot.type
    assert isinstance(item, (Ref, Pointer))
    value = f.b.load(owned.slot)
    f.b.store(owned.slot, ir.Const(kind.to, 0))  # type: ignore[attr-defined]
    if not keep:
        f.live.set.discard(name)
        f.notes[name] = (
            f"{name} was given to {to}, and is no longer this program's",
            "use it before, or take it back",
        )
    return value
