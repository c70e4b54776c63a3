"""Rust's mangled names in words: the old form (`_ZN…17h…E`) and v0 (`_R…`).

v0 is Rust RFC 2603 and the rustc book's "v0 Symbol Format"; the old form is what rustc has used since 2013.
"""

from __future__ import annotations

_ESCAPES = {
    "SP": "@",
    "BP": "*",
    "RF": "&",
    "LT": "<",
    "GT": ">",
    "LP": "(",
    "RP": ")",
    "C": ",",
}
_BASIC = {
    "a": "i8",
    "b": "bool",
    "c": "char",
    "d": "f64",
    "e": "str",
    "f": "f32",
    "h": "u8",
    "i": "isize",
    "j": "usize",
    "l": "i32",
    "m": "u32",
    "n": "i128",
    "o": "u128",
    "p": "_",
    "s": "i16",
    "t": "u16",
    "u": "()",
    "v": "...",
    "x": "i64",
    "y": "u64",
    "z": "!",
}
_SIGNED = "ilxnas"
_UNSIGNED = "hjmoty"
_HASH_DIGITS = 16
_DEEPEST = 128
_LONGEST = 16384  # characters of a demangled name; back references can make a short name explode
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def demangle(name: str, *, hash: bool = False) -> str | None:
    """`name` as a Rust path; `None` if it is no mangled Rust name.

    With `hash` also what tells crates and instances of one name apart, as `core[4c8a…]` or `::h0123…`.
    """
    if name.startswith("_R"):
        found, rest = _v0(name[2:], hash)
    elif name.startswith("_ZN"):
        found, rest = _legacy(name[3:], hash)
    else:
        return None
    if found is None or not rest or rest.startswith(".llvm."):  # of a function made visible, for LLVM's sake
        return found
    return f"{found} [clone {rest}]"


# ---- the old form


def _legacy(text: str, hash: bool) -> tuple[str | None, str]:
    parts = []
    at = 0
    while at < len(text) and text[at].isdecimal() and text[at].isascii():
        start = at
        while at < len(text) and text[at].isdecimal() and text[at].isascii():
            at += 1
        if at - start > 6:
            return None, ""
        size = int(text[start:at])
        if not size or at + size > len(text):
            return None, ""
        parts.append(text[at : at + size])
        at += size
    if at >= len(text) or text[at] != "E" or len(parts) < 2 or not _is_hash(parts[-1]):
        return None, ""
    rest = text[at + 1 :]
    if rest and not rest.startswith("."):  # what LLVM adds to copies of a function
        return None, ""
    if not hash:
        parts.pop()
    try:
        return "::".join(_unescape(part) for part in parts), rest
    except ValueError:
        return None, ""


def _is_hash(part: str) -> bool:
    return len(part) == _HASH_DIGITS + 1 and part[0] == "h" and all(c in _DIGITS[:16] for c in part[1:])


def _unescape(part: str) -> str:
    out = []
    if part.startswith("_$"):
        part = part[1:]
    at = 0
    while at < len(part):
        if part[at] == "$":
            end = part.find("$", at + 1)
            if end < 0:
                raise ValueError(part)
            word = part[at + 1 : end]
            if word in _ESCAPES:
                out.append(_ESCAPES[word])
            elif word.startswith("u") and all(c in _DIGITS[:16] for c in word[1:]):
                out.append(chr(int(word[1:] or "x", 16)))
            else:
                raise ValueError(part)
            at = end + 1
        elif part.startswith("..", at):
            out.append("::")
            at += 2
        else:
            out.append(part[at])
            at += 1
    return "".join(out)


# ---- v0


class _Broken(Exception):
    pass


def _v0(text: str, hash: bool) -> tuple[str | None, str]:
    body, dot, rest = text.partition(".")  # what LLVM adds to copies of a function
    if not body or not body.isascii() or not body[0].isupper():
        return None, ""
    reader = _V0(body, hash)
    try:
        reader.path(value=True)
        if reader.at < len(body) and reader.peek().isupper():  # the crate that the instance was made in
            reader.silent += 1
            reader.path(value=False)
        if reader.at != len(body):
            return None, ""
    except (_Broken, ValueError, OverflowError):
        return None, ""
    return "".join(reader.out), dot + rest


class _V0:
    """Reads a v0 name from `at` on and writes words to `out`."""

    __slots__ = ("at", "bound", "depth", "hash", "length", "out", "silent", "text")

    def __init__(self, text: str, hash: bool) -> None:
        self.text = text
        self.hash = hash
        self.at = 0
        self.out: list[str] = []
        self.length = 0
        self.silent = 0
        self.depth = 0
        self.bound = 0  # lifetimes named by the binders around

    # -- letters

    def peek(self) -> str:
        if self.at >= len(self.text):
            raise _Broken
        return self.text[self.at]

    def take(self) -> str:
        letter = self.peek()
        self.at += 1
        return letter

    def eat(self, letter: str) -> bool:
        if self.at < len(self.text) and self.text[self.at] == letter:
            self.at += 1
            return True
        return False

    def write(self, text: str) -> None:
        if self.silent:
            return
        self.length += len(text)
        if self.length > _LONGEST:
            raise _Broken
        self.out.append(text)

    # -- numbers and identifiers

    def base62(self) -> int:
        if self.eat("_"):
            return 0
        value = 0
        while not self.eat("_"):
            value = value * 62 + _DIGITS.index(self.take())
            if value >> 64:
                raise _Broken
        return value + 1

    def optional62(self, mark: str) -> int:
        """0 if `mark` is not there, otherwise 1 more than the number behind it."""
        return self.base62() + 1 if self.eat(mark) else 0

    def identifier(self) -> str:
        coded = self.eat("u")
        digits = self.take()
        if not digits.isdecimal():
            raise _Broken
        if digits != "0":
            while self.peek().isdecimal() and len(digits) < 8:
                digits += self.take()
        self.eat("_")
        size = int(digits)
        text = self.text[self.at : self.at + size]
        if len(text) != size:
            raise _Broken
        self.at += size
        if not coded:
            return text
        head, mark, tail = text.rpartition("_")
        try:
            return (f"{head}-{tail}" if mark else tail).encode().decode("punycode")
        except UnicodeError:
            raise _Broken from None

    def back(self) -> int:
        """Where a back reference points to: before itself."""
        start = self.at - 1
        target = self.base62()
        if target >= start:
            raise _Broken
        return target

    def again(self, what: str, **options: bool) -> None:
        """Follow a back reference, and come back."""
        target = self.back()
        if self.silent:
            return
        here, self.at = self.at, target
        self.enter()
        getattr(self, what)(**options)
        self.depth -= 1
        self.at = here

    def enter(self) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Broken

    # -- paths

    def path(self, *, value: bool) -> None:
        self.enter()
        letter = self.take()
        if letter == "C":
            number = self.optional62("s")
            self.write(self.identifier())
            self.write(f"[{number:x}]" if self.hash and number else "")
        elif letter == "N":
            self.nested(value)
        elif letter in "MX":
            self.optional62("s")
            self.silent += 1
            self.path(value=False)  # where the impl stands, which nobody wants to read
            self.silent -= 1
            self.write("<")
            self.type()
            if letter == "X":
                self.write(" as ")
                self.path(value=False)
            self.write(">")
        elif letter == "Y":
            self.write("<")
            self.type()
            self.write(" as ")
            self.path(value=False)
            self.write(">")
        elif letter == "I":
            self.path(value=value)
            self.write("::<" if value else "<")
            self.generics()
            self.write(">")
        elif letter == "B":
            self.again("path", value=value)
        else:
            raise _Broken
        self.depth -= 1

    def nested(self, value: bool) -> None:
        space = self.take()
        if not space.isalpha():
            raise _Broken
        self.path(value=value)
        number = self.optional62("s")
        name = self.identifier()
        if space.isupper():
            kind = {"C": "closure", "S": "shim"}.get(space, space)
            self.write(f"::{{{kind}{':' + name if name else ''}#{number}}}")
        elif name:
            self.write(f"::{name}")

    def generics(self) -> None:
        first = True
        while not self.eat("E"):
            self.write("" if first else ", ")
            first = False
            if self.eat("L"):
                self.lifetime(self.base62())
            elif self.eat("K"):
                self.constant(inside=False)
            else:
                self.type()

    def lifetime(self, index: int) -> None:
        if not index:
            self.write("'_")
            return
        depth = self.bound - index
        if depth < 0:
            raise _Broken
        self.write("'" + (chr(ord("a") + depth) if depth < 26 else f"_{depth}"))

    def binder(self) -> int:
        """Write `for<'a, 'b> ` if lifetimes are bound here. Returns how many."""
        count = self.optional62("G")
        if not count:
            return 0
        if count > 1000:
            raise _Broken
        self.write("for<")
        for index in range(count):
            self.write(", " if index else "")
            self.bound += 1
            self.lifetime(1)
        self.write("> ")
        return count

    # -- types

    def type(self) -> None:
        letter = self.peek()
        if letter in _BASIC:
            self.at += 1
            self.write(_BASIC[letter])
            return
        self.enter()
        if letter in "CNMXYI":
            self.path(value=False)
            self.depth -= 1
            return
        self.at += 1
        if letter in "AS":
            self.write("[")
            self.type()
            if letter == "A":
                self.write("; ")
                self.constant(inside=True)
            self.write("]")
        elif letter == "T":
            self.tuple()
        elif letter in "RQ":
            self.write("&")
            if self.eat("L"):
                index = self.base62()
                if index:
                    self.lifetime(index)
                    self.write(" ")
            self.write("mut " if letter == "Q" else "")
            self.type()
        elif letter in "PO":
            self.write("*const " if letter == "P" else "*mut ")
            self.type()
        elif letter == "F":
            self.function()
        elif letter == "D":
            self.dynamic()
        elif letter == "B":
            self.again("type")
        else:
            raise _Broken
        self.depth -= 1

    def tuple(self) -> None:
        self.write("(")
        count = 0
        while not self.eat("E"):
            self.write(", " if count else "")
            self.type()
            count += 1
        self.write(",)" if count == 1 else ")")

    def function(self) -> None:
        bound = self.binder()
        if self.eat("U"):
            self.write("unsafe ")
        if self.eat("K"):
            abi = "C" if self.eat("C") else self.identifier().replace("_", "-")
            self.write(f'extern "{abi}" ')
        self.write("fn(")
        first = True
        while not self.eat("E"):
            self.write("" if first else ", ")
            first = False
            self.type()
        self.write(")")
        if not self.eat("u"):
            self.write(" -> ")
            self.type()
        self.bound -= bound

    def dynamic(self) -> None:
        self.write("dyn ")
        bound = self.binder()
        first = True
        while not self.eat("E"):
            self.write("" if first else " + ")
            first = False
            self.bounded()
        self.bound -= bound
        if not self.eat("L"):
            raise _Broken
        index = self.base62()
        if index:
            self.write(" + ")
            self.lifetime(index)

    def bounded(self) -> None:
        """A trait of a `dyn` type, with `Item = T` inside its generic arguments."""
        opened = self.open_path()
        while self.eat("p"):
            self.write(", " if opened else "<")
            opened = True
            self.write(self.identifier() + " = ")
            self.type()
        if opened:
            self.write(">")

    def open_path(self) -> bool:
        """A path whose `>` is left to the caller. Returns whether there is one to write."""
        if self.eat("B"):
            target = self.back()
            here, self.at = self.at, target
            self.enter()
            opened = self.open_path()
            self.depth -= 1
            self.at = here
            return opened
        if self.eat("I"):
            self.path(value=False)
            self.write("<")
            self.generics()
            return True
        self.path(value=False)
        return False

    # -- constants

    def constant(self, *, inside: bool) -> None:
        """A constant; `inside` brackets it needs no braces of its own."""
        self.enter()
        letter = self.take()
        if letter == "B":
            self.again("constant", inside=inside)
        elif letter == "p":
            self.write("_")
        elif letter in _UNSIGNED:
            self.write(str(self.hexadecimal()))
        elif letter in _SIGNED:
            self.write(("-" if self.eat("n") else "") + str(self.hexadecimal()))
        elif letter == "b":
            value = self.hexadecimal()
            if value > 1:
                raise _Broken
            self.write("true" if value else "false")
        elif letter == "c":
            value = self.hexadecimal()
            if value > 0x10FFFF or 0xD800 <= value < 0xE000:
                raise _Broken
            self.write(_quoted(chr(value)))
        else:
            self.compound(letter, inside)
        self.depth -= 1

    def compound(self, letter: str, inside: bool) -> None:
        if not inside:
            self.write("{")
        if letter in "RQ":
            if letter == "R" and self.eat("e"):
                self.write(self.string())
            else:
                self.write("&" if letter == "R" else "&mut ")
                self.constant(inside=True)
        elif letter == "e":
            self.write("*" + self.string())
        elif letter == "A":
            self.write("[")
            self.constants()
            self.write("]")
        elif letter == "T":
            self.write("(")
            count = self.constants()
            self.write(",)" if count == 1 else ")")
        elif letter == "V":
            self.structure()
        else:
            raise _Broken
        if not inside:
            self.write("}")

    def structure(self) -> None:
        shape = self.take()
        self.path(value=True)
        if shape == "T":
            self.write("(")
            self.constants()
            self.write(")")
        elif shape == "S":
            self.write(" { ")
            first = True
            while not self.eat("E"):
                self.write("" if first else ", ")
                first = False
                self.optional62("s")
                self.write(self.identifier() + ": ")
                self.constant(inside=True)
            self.write(" }")
        elif shape != "U":
            raise _Broken

    def constants(self) -> int:
        count = 0
        while not self.eat("E"):
            self.write(", " if count else "")
            self.constant(inside=True)
            count += 1
        return count

    def digits(self) -> str:
        start = self.at
        while not self.eat("_"):
            if self.take() not in _DIGITS[:16]:
                raise _Broken
        return self.text[start : self.at - 1]

    def hexadecimal(self) -> int:
        return int(self.digits() or "0", 16)

    def string(self) -> str:
        return _quoted(bytes.fromhex(self.digits()).decode(), '"')


def _quoted(text: str, mark: str = "'") -> str:
    plain = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", mark: "\\" + mark}
    return (
        mark + "".join(plain.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text) + mark
    )
