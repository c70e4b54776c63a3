"""Decorators of programs on the kernel's functions, hooks and iterators. Sections are libbpf's."""

from __future__ import annotations

from ..decl.programs import ProgramDecl
from ..decl.refuse import refuse, shown
from .decorators import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decorator = Callable[[Any], ProgramDecl]


def _section(kind: str, name: object, example: str, sleepable: bool = False, word: str = "") -> str:
    if not isinstance(name, str) or not name or any(c.isspace() for c in name):
        if callable(name):
            raise refuse(f"@{kind} needs a name", f"write @{example}")
        raise refuse(f"@{kind}: a name is needed, not {name!r}", f"write @{example}")
    return f"{word or kind}{'.s' if sleepable else ''}/{name}"


def _plain(kind: str, section: str) -> Decorator:
    return lambda fn: ProgramDecl(fn, kind, (section,))


def fentry(function: str, *, sleepable: bool = False) -> Decorator:
    """Run where a kernel function starts, with its typed arguments (Linux 5.5)."""
    return _plain("fentry", _section("fentry", function, 'fentry("do_nanosleep")', sleepable))


def fexit(function: str, *, sleepable: bool = False) -> Decorator:
    """Run where a kernel function returns: its arguments by position, and `ret` what it returned (5.5)."""
    return _plain("fexit", _section("fexit", function, 'fexit("do_nanosleep")', sleepable))


def fmod_ret(function: str, *, sleepable: bool = False) -> Decorator:
    """Run before a function that permits it; another result than 0 is returned in its place (5.7)."""
    return _plain("fmod_ret", _section("fmod_ret", function, 'fmod_ret("bpf_modify_return_test")', sleepable))


def lsm(hook: str, *, sleepable: bool = False) -> Decorator:
    """Decide at a hook of the Linux Security Modules: 0 allows, a negative errno denies (5.7)."""
    return _plain("lsm", _section("lsm", hook, 'lsm("file_open")', sleepable))


def lsm_cgroup(hook: str, cgroup: Any = None) -> Any:
    """Decide at an LSM hook for a cgroup's tasks: 1 allows, 0 denies (6.0)."""
    section = _section("lsm_cgroup", hook, 'lsm_cgroup("socket_bind")')
    return make("lsm_cgroup", section, cgroup, "attach_cgroup")


def iter(what: str, *, sleepable: bool = False) -> Decorator:
    """Run for each object of a kind: task, task_file, task_vma, bpf_map, tcp, udp, cgroup… (5.8).

    `print` in it writes to the reader: `session.links[0].text()`.
    """
    return _plain("iter", _section("iter", what, 'iter("task")', sleepable))


def iter_map(map: Any, *, sleepable: bool = False) -> Any:
    """Run for each element of a map (Linux 5.9): `ctx.key` and `ctx.value`."""
    made: Any = make("iter", f"iter{'.s' if sleepable else ''}/bpf_map_elem", None, "")

    def decorate(fn: Any) -> ProgramDecl:
        out: ProgramDecl = made(fn)
        out.attachment = ("attach_iter", (), {"map": map})
        return out

    return decorate


def kprobe(function: str, *, offset: int = 0) -> Decorator:
    """Run where a kernel function starts (or `offset` bytes into it), with its arguments (Linux 4.1)."""
    section = _section("kprobe", function, 'kprobe("do_nanosleep")')
    return _plain("kprobe", section + (f"+{offset:#x}" if offset else ""))


def kretprobe(function: str) -> Decorator:
    """Run where a kernel function returns. The parameter is what it returned (Linux 4.1)."""
    return _plain("kretprobe", _section("kretprobe", function, 'kretprobe("do_nanosleep")'))


def ksyscall(name: str) -> Decorator:
    """Run where a system call starts, with its arguments, by kprobe: `ksyscall("openat")`."""
    return _plain("ksyscall", _section("ksyscall", name, 'ksyscall("openat")'))


def kretsyscall(name: str) -> Decorator:
    """Run where a system call ends. The parameter is its result."""
    return _plain("kretsyscall", _section("kretsyscall", name, 'kretsyscall("openat")'))


def kprobe_multi(pattern: str) -> Decorator:
    """Run where each function that matches a pattern starts: one link for all (Linux 5.18)."""
    return _plain(
        "kprobe_multi", _section("kprobe_multi", pattern, 'kprobe_multi("vfs_*")', word="kprobe.multi")
    )


def kretprobe_multi(pattern: str) -> Decorator:
    """Run where each function that matches a pattern returns (Linux 5.18)."""
    return _plain(
        "kretprobe_multi",
        _section("kretprobe_multi", pattern, 'kretprobe_multi("vfs_*")', word="kretprobe.multi"),
    )


def kprobe_session(pattern: str) -> Decorator:
    """Run at start and return of functions (Linux 6.10). 1 at the start: not at the return."""
    return _plain(
        "kprobe_session",
        _section("kprobe_session", pattern, 'kprobe_session("vfs_*")', word="kprobe.session"),
    )


def _user(kind: str, word: str, binary: str, pattern: str, pid: int | None, sleepable: bool) -> Decorator:
    example = f'{kind}("libc", "getp*")'
    _section(kind, binary, example)
    _section(kind, pattern, example)
    section = f"{word}{'.s' if sleepable else ''}/{binary}:{pattern}"
    return lambda fn: ProgramDecl(fn, kind, (section,), pid)


def uprobe_multi(binary: str, pattern: str, *, pid: int | None = None, sleepable: bool = False) -> Decorator:
    """Run where each function of a binary that matches a pattern starts: one link for all (Linux 6.6)."""
    return _user("uprobe_multi", "uprobe.multi", binary, pattern, pid, sleepable)


def uretprobe_multi(
    binary: str, pattern: str, *, pid: int | None = None, sleepable: bool = False
) -> Decorator:
    """Run where each function of a binary that matches a pattern returns (Linux 6.6)."""
    return _user("uretprobe_multi", "uretprobe.multi", binary, pattern, pid, sleepable)


def uprobe_session(
    binary: str, pattern: str, *, pid: int | None = None, sleepable: bool = False
) -> Decorator:
    """Run at start and return of functions of a binary (Linux 6.13). 1 at the start: not at the return."""
    return _user("uprobe_session", "uprobe.session", binary, pattern, pid, sleepable)


def usdt(
    binary: str, provider: str, name: str, *, pid: int | None = None, sleepable: bool = False
) -> Decorator:
    """Run at a probe that a program was built with (USDT). `bp.arg(0)` is its first argument."""
    example = 'usdt("libstdc++.so.6", "libstdcxx", "throw")'
    for part in (binary, provider, name):
        _section("usdt", part, example)
    section = f"usdt{'.s' if sleepable else ''}/{binary}:{provider}:{name}"
    return lambda fn: ProgramDecl(fn, "usdt", (section,), pid)


def raw_tracepoint_writable(event: str) -> Decorator:
    """Run on a raw tracepoint whose first argument may be written (Linux 5.2)."""
    section = _section(
        "raw_tracepoint_writable",
        event,
        'raw_tracepoint_writable("bpf_test_finish")',
        word="raw_tp.w",
    )
    return _plain("raw_tracepoint_writable", section)


def struct_ops(struct: str, *, name: str = "") -> Any:
    """Over a class: its methods are functions of a struct of the kernel, other attributes its members (5.6).

    `@bp.struct_ops("tcp_congestion_ops")`. The struct is registered when the session starts, under `name`,
    by default that of the class.
    """
    _section("struct_ops", struct, 'struct_ops("tcp_congestion_ops")')

    def decorate(cls: type) -> type:
        if not isinstance(cls, type):
            raise refuse(
                f"@struct_ops stands on a class, not on {shown(cls)}", "make the functions its methods"
            )
        functions = {n: v for n, v in vars(cls).items() if hasattr(v, "__code__")}
        plain = {n: v for n, v in vars(cls).items() if n[:2] != "__" and n not in functions}
        values = tuple(sorted(plain.items()))
        for word, fn in functions.items():
            sleepable = ".s" if getattr(fn, "sleepable", False) else ""
            section = f"struct_ops{sleepable}/{word}"
            made = ProgramDecl(fn, "struct_ops", (section, struct, word, name or cls.__name__, values))
            made.attachment = ("", (), {})
            setattr(cls, word, made)
        return cls

    return decorate


def freplace(function: str, program: Any = None, *, like: str = "") -> Any:
    """Stand in place of a global function of another program (Linux 5.6).

    `program` is the live one, `session.programs["name"]`; without it nothing is attached. The parameters are
    the function's, numbers with their types. To replace a whole program, which is a function too, `like` is
    its section: "xdp", "tc"…
    """
    section = _section("freplace", function, 'freplace("decide")')

    def decorate(fn: Any) -> ProgramDecl:
        made = ProgramDecl(fn, "freplace", (section, like))
        made.replaces = program
        made.attachment = ("", (), {}) if program is None else ("attach_freplace", (), {})
        return made

    return decorate
