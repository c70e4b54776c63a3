"""Assertions on maps, events and verdicts. Their messages list what differs, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..lang.decl import Struct

_SHOWN = 12  # differences that a message lists


def assert_map(map: Any, expected: Mapping[Any, Any], *, only: bool = True) -> None:
    """The map has these entries, and no others unless `only` is False.

    `map` is a declared map, a live one, or any mapping. Values may be dicts for structs, with those fields
    that matter.
    """
    __tracebackhide__ = True
    found = dict(map.items())
    name = getattr(map, "name", "") or "the map"
    lines = []
    for key, want in expected.items():
        if key not in found:
            lines.append(f"[{key!r}]: missing, expected {want!r}")
        else:
            lines += differences(found[key], want, f"[{key!r}]", labels=("is", "expected"), partial=True)
    if only:
        lines += [
            f"[{key!r}]: {found[key]!r}, expected no such entry" for key in found if key not in expected
        ]
    _complain(f"{name} is not as expected ({len(found)} entries)", lines)


def assert_events(
    events: Iterable[Any], expected: Sequence[Any], *, ordered: bool = True, only: bool = True
) -> None:
    """These are the events: records, or dicts with those fields that matter.

    `ordered=False` allows any order, `only=False` others among them.
    """
    __tracebackhide__ = True
    got = list(events)
    left = list(got)
    lines = []
    if ordered and only:
        for n, want in enumerate(expected):
            if n >= len(got):
                lines.append(f"event {n}: missing, expected {_short(want)}")
            else:
                lines += differences(got[n], want, f"event {n}", labels=("is", "expected"), partial=True)
        lines += [f"event {n}: {_short(got[n])}, expected no more" for n in range(len(expected), len(got))]
    else:
        at = 0
        for want in expected:
            start = at if ordered else 0
            match = next((n for n in range(start, len(left)) if _fits(left[n], want)), None)
            if match is None:
                lines.append(f"no event is {_short(want)}{_nearest(left[start:], want)}")
            elif ordered:
                at = match + 1
            else:
                del left[match]
        if only and not ordered:
            lines += [f"{_short(event)}: expected no such event" for event in left]
    if lines:
        lines += ["", f"the events were ({len(got)}):", *(f"  {_short(event)}" for event in got[:_SHOWN])]
        if len(got) > _SHOWN:
            lines.append(f"  … {len(got) - _SHOWN} more")
    _complain("the events are not as expected", lines, cut=False)


def assert_verdict(result: Any, expected: str | int) -> None:
    """A program's verdict ("DROP"), decision ("allow", "deny"), denial ("EPERM") or return value.

    `result` is what `fire`, `xdp`, `tc` and their like return; with several programs each must say so.
    """
    __tracebackhide__ = True
    runs = list(result) if isinstance(result, Sequence) and not isinstance(result, tuple) else [result]
    lines = []
    if not runs:
        lines.append("no program ran")
    for run in runs:
        words = [w for w in (run.verdict, getattr(run, "decision", ""), getattr(run, "errno", "")) if w]
        if expected not in (words if isinstance(expected, str) else [run.retval]):
            said = " ".join(words) or "no verdict"
            name = getattr(run, "program", "the program")
            lines.append(f"{name}: {said} (returned {run.retval}), expected {expected}")
    _complain("the verdict is not as expected", lines)


def differences(
    left: Any,
    right: Any,
    path: str = "",
    *,
    labels: tuple[str, str] = ("machine", "kernel"),
    partial: bool = False,
) -> list[str]:
    """Where two values differ, one line for each place. `partial`: a dict on the right has only the fields
    of a struct on the left that matter.
    """
    if isinstance(left, Struct) and isinstance(right, (Struct, Mapping)):
        left = left._asdict()
    if isinstance(right, Struct):
        right = right._asdict()
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        out = []
        for key in right if partial else dict.fromkeys((*left, *right)):
            place = f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]"
            if key not in left or key not in right:
                side = labels[0] if key in left else labels[1]
                out.append(f"{place}: only {side}: {(left if key in left else right)[key]!r}")
            else:
                out += differences(left[key], right[key], place, labels=labels, partial=partial)
        return out
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        out = []
        for n in range(max(len(left), len(right))):
            place = f"{path}[{n}]"
            if n >= len(left) or n >= len(right):
                side, value = (labels[0], left[n]) if n < len(left) else (labels[1], right[n])
                out.append(f"{place}: only {side}: {value!r}")
            else:
                out += differences(left[n], right[n], place, labels=labels, partial=partial)
        return out
    if left == right:
        return []
    return [f"{path or 'the result'}: {labels[0]} {left!r}, {labels[1]} {right!r}"]


def _fits(event: Any, want: Any) -> bool:
    return not differences(event, want, partial=True)


def _nearest(events: Sequence[Any], want: Any) -> str:
    if not events:
        return ""
    found = min((differences(e, want, "", labels=("is", "not"), partial=True) for e in events), key=len)
    return f"; the nearest differs in {', '.join(line.lstrip('.') for line in found[:3])}"


def _short(event: Any) -> str:
    text = repr(event)
    return text if len(text) <= 200 else text[:199] + "…"


def _complain(head: str, lines: list[str], cut: bool = True) -> None:
    __tracebackhide__ = True
    if not lines:
        return
    shown = lines[:_SHOWN] if cut else lines
    if len(shown) < len(lines):
        shown.append(f"… {len(lines) - len(shown)} more")
    raise AssertionError("\n".join([f"{head}:", *(f"  {line}" for line in shown)]))
