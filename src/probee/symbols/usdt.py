"""Statically defined probes (USDT) of programs and libraries: `list_probes("libc.so.6")`.

A probe is a `nop` in the code and a note in `.note.stapsdt` that tells of it: SystemTap's `sys/sdt.h` and its
wiki's "UserSpaceProbeImplementation".
"""

from __future__ import annotations

from probee.errors import AttachError, ObjectError
from probee.symbols.elf import ET_EXEC
from probee.symbols.glob import text_regex
from probee.symbols.locate import image
from probee.symbols.usdt_args import EM_X86_64, Argument, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.symbols.elf import Elf

_SECTION, _BASE = ".note.stapsdt", ".stapsdt.base"
_OWNER, _TYPE = b"stapsdt", 3
_LONGEST = 4096  # bytes of a note's words for arguments
_NOPS = bytes.fromhex("90 0f1f440000")  # nop, nopl 0(%rax,%rax,1)


class Probe:
    """A place of a probe. One probe (`provider:name`) can have many: it is inlined, or used more than once.

    `address` is virtual, as linked; `offset` and `semaphore` are bytes into the file `path`; `semaphore` is 0
    if the probe has none. `text` is the note's words for the arguments. `fixed` says that the code is loaded
    where it was linked; `symbols` are addresses of data that arguments are behind, by name. `fast` is where,
    behind the probe's `nop`, one of five bytes is that newer kernels probe without a trap, or 0.
    """

    __slots__ = (
        "address",
        "fast",
        "fixed",
        "machine",
        "name",
        "offset",
        "path",
        "provider",
        "semaphore",
        "symbols",
        "text",
        "word",
    )

    def __init__(
        self,
        provider: str,
        name: str,
        text: str,
        path: str,
        address: int,
        offset: int,
        semaphore: int,
        machine: int,
        word: int,
        fixed: bool = False,
    ) -> None:
        self.provider = provider
        self.name = name
        self.text = text
        self.path = path
        self.address = address
        self.offset = offset
        self.semaphore = semaphore
        self.machine = machine
        self.word = word
        self.fixed = fixed
        self.fast = 0
        self.symbols: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Probe({self.provider}:{self.name}, {self.path}+{self.offset:#x}, {self.text!r})"

    @property
    def arguments(self) -> list[Argument]:
        """Where the arguments are, in order."""
        return parse(self.text, self.machine, self.word)


def list_probes(
    binary: str = "", provider: str = "*", name: str = "*", *, pid: int | None = None
) -> list[Probe]:
    """The places of the probes of `binary` whose provider and name match the patterns (`*`, `?`), by address.

    `binary` is a path, a library ("c", "libc.so.6"), an executable on PATH, or `archive!/member`. With `pid`
    it is as that process names it, and "" means all files that process runs code from.
    Raises `AttachError` if the file isn't there or is no ELF file.
    """
    if binary or pid is None:
        with image(binary, pid, f"usdt {binary}") as elf:
            return _of(elf, provider, name)
    from probee.symbols.process import binaries

    found: list[Probe] = []
    for path in binaries(pid):
        try:
            with image(path, None, f"usdt {path}") as elf:
                found += _of(elf, provider, name)
        except AttachError:
            continue  # memory of devices and other things that are no programs
    return found


def _of(elf: Elf, provider: str, name: str) -> list[Probe]:
    try:
        probes = probes_of(elf)
    except ObjectError as error:
        raise AttachError(f"can't read the probes of {elf.path}: {error}", hook=f"usdt {elf.path}") from None
    providers, names = text_regex(provider), text_regex(name)
    return [probe for probe in probes if providers.fullmatch(probe.provider) and names.fullmatch(probe.name)]


def probes_of(elf: Elf) -> list[Probe]:
    """The places of all probes, by address; notes that make no sense are left out."""
    section = elf.section(_SECTION)
    if section is None:
        return []
    base = elf.section(_BASE)
    found = []
    for owner, type, value in elf.notes(elf.content(section)):
        if owner == _OWNER and type == _TYPE:
            probe = _probe(elf, value, base.address if base is not None else 0)
            if probe is not None:
                found.append(probe)
    return sorted(found, key=lambda probe: probe.address)


def _probe(elf: Elf, value: bytes, base: int) -> Probe | None:
    size = 3 * elf.word_size
    parts = value[size:].split(b"\0", 3)
    if len(value) < size or len(parts) < 3 or not parts[0] or not parts[1] or len(parts[2]) > _LONGEST:
        return None
    address, linked_base, semaphore = elf.words(value, 3)
    if base and linked_base:  # prelink moved the code since
        address += base - linked_base
        semaphore += base - linked_base if semaphore else 0
    offset = elf.file_offset(address)
    counter = elf.file_offset(semaphore) if semaphore else 0
    if offset is None or counter is None:
        return None
    provider, name, text = (part.decode(errors="replace") for part in parts[:3])
    if text.startswith(":"):  # no arguments, in an old form
        text = ""
    fixed = elf.type == ET_EXEC
    probe = Probe(provider, name, text, elf.path, address, offset, counter, elf.machine, elf.word_size, fixed)
    if elf.machine == EM_X86_64 and elf.peek(offset - elf.start, len(_NOPS)) == _NOPS:
        probe.fast = 1
    for argument in probe.arguments if "ip)" in text else ():
        symbol = elf.find(argument.symbol) if argument.symbol else None
        if symbol is not None:
            probe.symbols[argument.symbol] = symbol.address
    return probe
