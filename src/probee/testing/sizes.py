"""How many instructions programs have, kept in a file beside the tests, so that growth is seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "bpf_sizes.json"


def sizes(of: Any) -> dict[str, int]:
    """Instructions of each program of a machine, a session or a mapping of programs, by name."""
    programs = getattr(of, "programs", of)
    if not isinstance(programs, Mapping):
        programs = {of.name: of}
    return {name: _size(program) for name, program in programs.items()}


def _size(program: Any) -> int:
    if isinstance(program, int):
        return program
    linked = getattr(program, "linked", None) or program.spec.link()
    return len(linked.insns) // 8


class Snapshots:
    """The file of one folder. `update` writes what is measured instead of comparing."""

    def __init__(self, path: Path, update: bool) -> None:
        self.path = path
        self.update = update
        self.smaller: list[str] = []
        self._changed = False
        self._kept: dict[str, dict[str, int]] = {}
        if path.exists():
            try:
                self._kept = json.loads(path.read_text(encoding="utf-8"))
                if not all(isinstance(v, dict) for v in self._kept.values()):
                    raise ValueError("it holds no objects of numbers")
            except (ValueError, AttributeError) as error:
                raise AssertionError(f"{path} is not what --bpf-update writes: {error}") from None

    def check(self, test: str, measured: dict[str, int]) -> None:
        """Raise AssertionError if a program is bigger than noted for this test, or was never noted.

        Programs made for the debugger have other sizes: they are not looked at.
        """
        __tracebackhide__ = True
        from .. import machine_target

        if machine_target.build:
            return
        if self.update:
            if self._kept.get(test) != measured:
                self._kept[test] = measured
                self._changed = True
            return
        known = self._kept.get(test)
        if known is None:
            raise AssertionError(
                f"no sizes are noted for {test} in {self.path.name}: run pytest --bpf-update, look at the "
                "numbers, and check the file in"
            )
        lines = []
        for name, size in measured.items():
            before = known.get(name)
            if before is None:
                lines.append(f"{name}: {size} instructions, new")
            elif size > before:
                lines.append(f"{name}: {before} → {size} instructions ({size - before:+})")
            elif size < before:
                self.smaller.append(f"{test}: {name} {before} → {size}")
        lines += [f"{name}: {known[name]} instructions, gone" for name in known if name not in measured]
        if lines:
            text = "\n  ".join(lines)
            raise AssertionError(
                f"programs grew or changed:\n  {text}\nif that is meant: pytest --bpf-update"
            )

    def save(self) -> None:
        """Write the file if something changed."""
        if self._changed:
            text = json.dumps(dict(sorted(self._kept.items())), indent=2, ensure_ascii=False)
            self.path.write_text(text + "\n", encoding="utf-8")
            self._changed = False


def assert_size(program: Any, most: int) -> None:
    """A program has no more than `most` instructions; given a machine, each of its programs."""
    __tracebackhide__ = True
    large = [f"{name}: {size} instructions" for name, size in sizes(program).items() if size > most]
    if large:
        raise AssertionError(f"more than {most} instructions:\n  " + "\n  ".join(large))
