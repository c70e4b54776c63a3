"""`probee prog load|loadall`: objects into the kernel, pinned; or only verified, program by program."""

from __future__ import annotations

import os

from ..errors import ProbeeError
from ..isa.sections import SECTIONS
from ..kernel.attach_all import attaches_alone
from ..kernel.collection import Collection
from ..kernel.each import Verdict, load_each
from ..kernel.objects import load, open_object
from ..kernel.pinning import pin, unpin
from ..kernel.pins import pin_name
from ..obj import ObjectSpec
from . import seek
from .grammar import Words, Wrong
from .output import Output
from .pins import ready
from .run import check_file


class _Asked:
    """The options of `load`."""

    def __init__(self, output: Output) -> None:
        self.section = ""
        self.maps: list[tuple[str, int, seek.Handle]] = []
        self.pinmaps = ""
        self.autoattach = False
        self.btf = output.btf

    def take(self, words: Words) -> None:
        while words:
            what = words.one_of(
                "type", "map", "pinmaps", "autoattach", "kernel_btf", "dev", "offload_dev", "xdpmeta_dev"
            )
            if what == "type":
                self.section = _section(words.next("TYPE"))
            elif what == "map":
                by = words.one_of("idx", "name")
                number = words.number("N") if by == "idx" else -1
                name = words.next("NAME") if by == "name" else ""
                self.maps.append((name, number, seek.map_(words)))
            elif what == "pinmaps":
                self.pinmaps = words.next("FOLDER")
            elif what == "autoattach":
                self.autoattach = True
            elif what == "kernel_btf":
                self.btf = words.next("FILE")
            else:
                words.next("NAME")
                raise ProbeeError(f"probee can't load for a network device ({what})")

    def replacements(self, spec: ObjectSpec) -> dict[str, int]:
        """Descriptors of maps to use instead of the object's, by name."""
        names = list(spec.maps)
        found: dict[str, int] = {}
        for name, number, handle in self.maps:
            if not name:
                if number >= len(names):
                    raise ProbeeError(f"{spec.name} has no map {number}; it has {len(names)}, counted from 0")
                name = names[number]
            if name not in spec.maps:
                raise ProbeeError(f"{spec.name} has no map {name!r}; it has {', '.join(names) or 'none'}")
            if name in found:
                raise Wrong(f"map {name} is replaced twice")
            found[name] = handle.fd
        return found

    def close(self) -> None:
        for _, _, handle in self.maps:
            handle.close()


def _section(word: str) -> str:
    """The section name that a TYPE is: `xdp`, `tracepoint`, with or without a slash."""
    name = word.rstrip("/")
    if name in SECTIONS:
        return name
    near = [section for section in SECTIONS if section.startswith(name)]
    raise Wrong(f"there is no program type {word!r}; there are {', '.join((near or list(SECTIONS))[:12])} …")


def load_first(words: Words, output: Output) -> int:
    return _load(words, output, every=False)


def load_all(words: Words, output: Output) -> int:
    return _load(words, output, every=True)


def _load(words: Words, output: Output, *, every: bool) -> int:
    path = words.next("OBJECT.o")
    check_file(path)
    if output.all:
        words.end()
        return try_each(path, output)
    place = words.next("FOLDER" if every else "PATH")
    asked = _Asked(output)
    try:
        asked.take(words)
        spec = open_object(path, lenient=output.lenient)
        if not spec.programs:
            raise ProbeeError(f"{path} has no programs")
        if asked.section:
            prog_type, attach_type, _ = SECTIONS[asked.section]
            for program in spec.programs.values():
                program.prog_type, program.attach_type = prog_type, attach_type
        level = 7 if output.debug else 0
        maps = asked.replacements(spec)
        with load(spec, maps=maps, btf=asked.btf or None, log_level=level) as collection:
            if output.debug:
                for name, live in collection.programs.items():
                    output.note(f"{name}: the verifier's log\n{live.log}")
            _pin(collection, place, asked, every, output)
    finally:
        asked.close()
    if not output.json:
        count = len(collection.programs) if every else 1
        print(f"{count} program{'s'[: count != 1]} pinned {'in' if every else 'at'} {place}")
    output.done()
    return 0


def _pin(collection: Collection, place: str, asked: _Asked, every: bool, output: Output) -> None:
    """Pin what bpftool pins, where it does; all or nothing."""
    ready(place, output)
    done: list[str] = []
    programs = list(collection.programs.values())
    try:
        for program in programs if every else programs[:1]:
            path = os.path.join(place, pin_name(program.name)) if every else place
            fd, what = program.fd, f"program {program.name}"
            if asked.autoattach:
                if attaches_alone(program.spec):
                    link = collection.links[program.name] = program.attach()
                    fd, what = link.fd, f"the link of program {program.name}"
                else:
                    output.note(f"{program.name} does not say what to attach it to; the program is pinned")
            pin(fd, path, what)
            done.append(path)
        if asked.pinmaps:
            ready(asked.pinmaps, output)
            for name, live in collection.maps.items():
                title = collection.spec.maps[name].kernel_name if name.startswith(".") else name
                path = os.path.join(asked.pinmaps, pin_name(title))
                pin(live.fd, path, f"map {name}")
                done.append(path)
    except BaseException:
        for path in done:
            unpin(path)
        raise


# ---- every program on its own terms


def try_each(path: str, output: Output) -> int:
    """What the kernel says of each program of an object. Exit code 0 if it takes all of them."""
    verdicts = load_each(path, btf=output.btf or None, lenient=output.lenient)
    refused = [verdict for verdict in verdicts if verdict.error is not None]
    if output.json:
        output.emit([verdict.as_dict() for verdict in verdicts])
        return 1 if refused else 0
    heads = ("PROGRAM", "SECTION", "TYPE", "TAG", ">INSNS", "VERDICT")
    output.table(heads, [_row(verdict) for verdict in verdicts], empty=f"{path} has no programs")
    for verdict in refused:
        print(f"\n{verdict.name}: {verdict.error}")
        if output.debug and verdict.log:
            print(verdict.log)
    return 1 if refused else 0


def _row(verdict: Verdict) -> tuple[object, ...]:
    if verdict.error is None:
        return (verdict.name, verdict.section, verdict.type, verdict.tag, verdict.insns, "loads")
    return (verdict.name, verdict.section, verdict.type, "", "", type(verdict.error).__name__)
