"""The functions of a program or library: `list_functions("libc.so.6", "mem*")`."""

from __future__ import annotations

from probee.errors import AttachError, ObjectError
from probee.symbols.locate import find_functions, image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.symbols.elf import Symbol


class Function:
    """A function. `offset` is bytes into the file `path`, `size` bytes of code, 0 if unknown.

    `name` is what the file has; `words` is the same for people, where that is a mangled C++ or Rust name.
    """

    __slots__ = ("name", "offset", "path", "size")

    def __init__(self, symbol: Symbol, path: str, offset: int) -> None:
        self.name = symbol.name
        self.path = path
        self.offset = offset
        self.size = symbol.size

    def __repr__(self) -> str:
        return f"Function({self.name}, {self.path}+{self.offset:#x})"

    @property
    def words(self) -> str:
        from probee.symbols.demangle import demangle

        return demangle(self.name)


def list_functions(binary: str, pattern: str = "*", *, pid: int | None = None) -> list[Function]:
    """The functions of `binary` whose name matches `pattern` (`*`, `?`; of C++ names, with `::`), by address.

    `binary` is a path, a library ("c", "libc.so.6"), an executable on PATH, or `archive!/member`; with `pid`,
    as that process names it. Functions of one place come once. Those of a stripped file are looked for in its
    debug files. Raises `AttachError` if the file isn't there or is no ELF file.
    """
    with image(binary, pid) as elf:
        try:
            found = find_functions(elf, pattern)
        except ObjectError as error:
            raise AttachError(f"can't list functions of {binary}: {error}", hook=binary) from None
        places = [(symbol, elf.file_offset(symbol.address)) for symbol in found]
        return [Function(symbol, elf.path, offset) for symbol, offset in places if offset is not None]
