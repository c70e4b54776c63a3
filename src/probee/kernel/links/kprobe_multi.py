"""Many kprobes in one link: `kprobe.multi`, `kretprobe.multi`, `kprobe.session`."""

from __future__ import annotations

import errno
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links.base import Link, refused
from probee.sys.native import Pinned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TRACE_KPROBE_MULTI, TRACE_KPROBE_SESSION = 42, 56  # enum bpf_attach_type
BPF_F_KPROBE_MULTI_RETURN = 1
_EXTRA = Struct("=IIQQQ")
_SHOWN = 3


def attach(
    program_fd: int,
    pattern: str = "",
    *,
    functions: Sequence[str] = (),
    addresses: Sequence[int] = (),
    returns: bool = False,
    session: bool = False,
    cookies: Sequence[int] = (),
    cookie: int = 0,
) -> Link:
    """Run a program of type `kprobe` at each of many functions, or (`returns`) at their returns (Linux 5.18).

    The functions are those whose name matches `pattern` (`*`, `?`), or are named, or start at `addresses`.
    `cookies` has one for each of `functions` or `addresses`, `cookie` is for all. `session` runs the program
    at start and return, and the program decides at the start whether it wants the return (6.10).
    """
    kind = "kprobe.session" if session else "kretprobe.multi" if returns else "kprobe.multi"
    names = list(functions)
    hook = f"{kind} {pattern or _few(names or [hex(address) for address in addresses])}"
    if bool(pattern) + bool(names) + bool(addresses) != 1:
        raise AttachError(f"{hook}: one of a pattern, functions, addresses", hook=hook)
    if cookies and (pattern or len(cookies) != len(names) + len(addresses)):
        raise AttachError(f"{hook}: one cookie for each function, or cookie= for all", hook=hook)
    if pattern:
        names = matching(hook, pattern)
    marks = list(cookies) or ([cookie] * len(names or addresses) if cookie else [])
    try:
        fd = _create(program_fd, names, addresses, marks, returns, session)
    except OSError as error:
        raise _refused(hook, names, session, error) from None
    return Link(fd, hook if not pattern else f"{hook} ({len(names)} functions)")


def _create(
    program_fd: int,
    names: list[str],
    addresses: Sequence[int],
    cookies: list[int],
    returns: bool,
    session: bool,
) -> int:
    where: Pinned | None = None
    symbols: Pinned | None = None
    texts: list[Pinned] = []
    if addresses:
        where = _numbers(addresses)
    else:
        texts = [Pinned(name.encode() + b"\0") for name in names]
        symbols = _numbers([text.address for text in texts])
    marks = _numbers(cookies) if cookies else None
    extra = _EXTRA.pack(
        BPF_F_KPROBE_MULTI_RETURN if returns and not session else 0,
        len(addresses) or len(names),
        symbols.address if symbols else 0,
        where.address if where else 0,
        marks.address if marks else 0,
    )
    attach_type = TRACE_KPROBE_SESSION if session else TRACE_KPROBE_MULTI
    return kernel_calls.kernel().link_create(program_fd, 0, attach_type, extra=extra)


def _numbers(values: Sequence[int]) -> Pinned:
    from array import array

    return Pinned(array("Q", values))


def matching(hook: str, pattern: str) -> list[str]:
    """The functions that ftrace can hook and that match. Each once: the kernel refuses names of several."""
    from probee.kernel.links.kprobe import lacking
    from probee.symbols.ftrace import Traceable

    try:
        names = Traceable.read().matching(pattern)
    except FileNotFoundError:
        raise lacking() from None
    except OSError as error:
        raise refused(hook, error) from None
    if not names:
        raise AttachError(
            f"{hook}: no function that can be traced matches {pattern}", hook=hook, errno=errno.ENOENT
        )
    return names


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _refused(hook: str, names: list[str], session: bool, error: OSError) -> Exception:
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        return refused(hook, error)
    if number in (errno.EOPNOTSUPP, errno.EINVAL):
        return Unsupported(
            f"{hook}: the kernel has no such links, or the program was not loaded for one "
            f"(section {'kprobe.session' if session else 'kprobe.multi'}, CONFIG_FPROBE)",
            feature="kprobe.session" if session else "kprobe.multi",
            since="6.10" if session else "5.18",
        )
    missing = _untraceable(names) if number in (errno.ESRCH, errno.ENOENT) else []
    if missing:
        from probee.kernel.links.functions import untraceable

        return untraceable(hook, missing[0], number)
    return refused(hook, error)


def _untraceable(names: list[str]) -> list[str]:
    from probee.symbols.ftrace import Traceable

    try:
        traceable = Traceable.read()
    except OSError:
        return []
    return [name for name in names if name not in traceable]
