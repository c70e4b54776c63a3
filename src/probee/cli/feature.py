"""`probee feature`: what this kernel's BPF can do, and which Linux brought each thing."""

from __future__ import annotations

from ..errors import ProbeeError
from ..isa.tables import ATTACH_TYPES, LINK_TYPES, MAP_TYPES, PROG_TYPES
from ..kernel.features import FEATURES, POLICY, PRIVILEGE, Answer
from ..kernel.features.inventory import MAP_FLAGS
from ..kernel.features.survey import BUILTINS, CONFIG, MISC, Survey, survey
from .grammar import Words, Wrong, command, keyword
from .output import Output
from .style import bold, dim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HELP = """
usage: probee feature [probe] [kernel | dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]
       probee feature list_builtins {prog_types|map_types|attach_types|link_types|helpers}

Tries what this kernel's BPF can do: types of programs and maps, the helpers of each program type, hooks,
BTF, the verifier, JIT and limits. Each thing is tried, not guessed from the version; the version that
brought it is shown beside it.

  dev NAME        what a network device takes for offload
  full            ask for helpers too whose mention makes the kernel warn in its log
  unprivileged    what a process without capabilities may do
  macros          as C macros, each name after PREFIX
  -j, --json      bpftool's JSON fields, then ours;  -p, --pretty: the same, indented

examples:
  sudo probee feature
  sudo probee feature -j | jq '.features | map_values(select(.have | not) | .reason)'
"""
_COMPONENTS = ("kernel", "dev", "full", "unprivileged", "macros", "prefix")
_SECTIONS: tuple[tuple[str, str], ...] = (
    ("btf", "BTF"),
    ("maps", "Maps"),
    ("programs", "Programs"),
    ("links", "Hooks and links"),
    ("verifier", "Verifier"),
)
_UNPRIVILEGED = {
    0: "unprivileged processes may load some programs",
    1: "needs privilege, until the next boot",
    2: "needs privilege; an administrator can change that",
}
_JIT = {0: "off", 1: "on", 2: "on, with debugging output in the kernel's log"}
_HARDENING = {0: "off", 1: "on for unprivileged users", 2: "on for everyone"}


def main(argv: list[str]) -> int:
    first = next((word for word in argv if not word.startswith("-")), "")
    if first and not keyword(first, ("probe", "list_builtins", "help")) and keyword(first, _COMPONENTS):
        argv = ["probe", *argv]
    return command("feature", {"probe": _probe, "list_builtins": _builtins}, HELP, argv)


def _probe(words: Words, output: Output) -> None:
    device = prefix = ""
    full = unprivileged = macros = False
    while words:
        word = words.one_of(*_COMPONENTS)
        if word == "dev":
            device = words.next("NAME")
        elif word == "full":
            full = True
        elif word == "unprivileged":
            unprivileged = True
        elif word == "macros":
            macros = True
        elif word == "prefix":
            prefix = words.next("PREFIX")
    if prefix and not macros:
        raise Wrong("a prefix is for macros")
    if device and unprivileged:
        raise Wrong("a device is asked with privilege only")
    found = _survey(device, full, unprivileged)
    if output.json:
        output.emit(found.json())
    elif macros:
        print("\n".join(macro_lines(found, prefix)))
    else:
        _show(found, output)


def _survey(device: str, full: bool, unprivileged: bool) -> Survey:
    ifindex = 0
    if device:
        import socket

        try:
            ifindex = socket.if_nametoindex(device)
        except OSError:
            raise ProbeeError(f"there is no network device {device}") from None
    if unprivileged:
        from ..sys import caps

        caps.drop_all()
    return survey(full=full, ifindex=ifindex, unprivileged=unprivileged)


def _builtins(words: Words, output: Output) -> None:
    names = list(BUILTINS[words.one_of(*BUILTINS)])
    words.end()
    if output.json:
        output.emit(names)
    else:
        print("\n".join(names))


# ---- for people


def _show(found: Survey, output: Output) -> None:
    if not found.ifindex:
        _title("System")
        output.facts(_system(found))
    _types("Program types", found.programs, PROG_TYPES, output)
    _types("Map types", found.maps, MAP_TYPES, output)
    if not found.ifindex:
        flags = {name: (bit, since) for name, (bit, since, _) in MAP_FLAGS.items()}
        _types("Map flags", found.map_flags, flags, output)
        _types("Attach types", found.attach_types, ATTACH_TYPES, output)
        _types("Link types", found.link_types, LINK_TYPES, output)
        for area, title in _SECTIONS:
            _title(title)
            rows = [
                (name, _word(answer), FEATURES[name].since, FEATURES[name].what, answer.detail)
                for name, answer in found.features.items()
                if FEATURES[name].area == area
            ]
            output.table(("feature", "here", "Linux", "what", "why not"), rows)
    for kind, names in found.helpers.items():
        if names:
            _title(f"Helpers of {kind} programs ({len(names)})")
            print(_columns(names))


def _title(text: str) -> None:
    print(f"\n{bold(text)}")


def _types(
    title: str, answers: Mapping[str, Answer], table: Mapping[str, tuple[int, str]], output: Output
) -> None:
    _title(title)
    rows = [(name, _word(answer), table[name][1], answer.detail) for name, answer in answers.items()]
    output.table(("name", "here", "Linux", "why not"), rows)


def _word(answer: Answer) -> str:
    if answer:
        return "yes"
    return {POLICY: "refused", PRIVILEGE: "?"}.get(answer.reason, "no")


def _columns(names: Iterable[str], room: int = 100) -> str:
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) + 1 > room:
            lines.append(line)
            line = ""
        line += (" " if line else "  ") + name
    return dim("\n".join([*lines, line]))


def _system(found: Survey) -> list[tuple[str, str]]:
    values = found.system
    limit = values["bpf_jit_limit"]
    config = found.config
    facts = [
        ("bpf() system call", "yes" if found.have_bpf else "no: this kernel was built without it"),
        ("who may use it", _of(_UNPRIVILEGED, values["unprivileged_bpf_disabled"])),
        ("JIT compiler", _of(_JIT, values["bpf_jit_enable"])),
        ("JIT hardening", _of(_HARDENING, values["bpf_jit_harden"])),
        ("JIT symbols", _of({0: "hidden", 1: "shown to root"}, values["bpf_jit_kallsyms"])),
        ("JIT memory", f"{limit} bytes for unprivileged users" if limit else ""),
        ("lockdown", found.lockdown),
        ("security modules", ", ".join(found.security_modules)),
        ("capabilities", ", ".join(name for name, have in found.capabilities.items() if have) or "none"),
    ]
    if config is None:
        facts.append(("kernel configuration", "not readable here"))
        return facts
    off = [name for name in CONFIG if not config.get(name)]
    return [*facts, ("built without", " ".join(off))]


def _of(words: Mapping[int, str], value: int | None) -> str:
    return "" if value is None else words.get(value, str(value))


# ---- for C


def macro_lines(found: Survey, prefix: str = "") -> list[str]:
    """C macros, one for each thing that is there and a `NO_` one for each that is not; bpftool's names."""
    lines = ["/*** System call availability ***/", _macro(prefix, "HAVE_BPF_SYSCALL", found.have_bpf)]
    lines += ["", "/*** eBPF program types ***/"]
    lines += [_macro(prefix, f"HAVE_{name.upper()}_PROG_TYPE", a.yes) for name, a in found.programs.items()]
    lines += ["", "/*** eBPF map types ***/"]
    lines += [_macro(prefix, f"HAVE_{name.upper()}_MAP_TYPE", a.yes) for name, a in found.maps.items()]
    lines += ["", "/*** eBPF helper functions ***/", *_helper_macros(found, prefix)]
    if not found.ifindex:
        lines += ["", "/*** eBPF misc features ***/"]
        lines += [_macro(prefix, name.upper(), found.features[ours].yes) for name, ours in MISC.items()]
    return lines


def _macro(prefix: str, name: str, have: bool) -> str:
    return f"#define {prefix}{'' if have else 'NO_'}{name}"


def _helper_macros(found: Survey, prefix: str) -> list[str]:
    helper = f"{prefix}HAVE_PROG_TYPE_HELPER"
    lines = [
        f"/* {helper}(program type, helper): 1 if programs of the type may call the helper, 0 if not */",
        f"#define {helper}(prog_type, helper) \\",
        f"\t{prefix}BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper",
    ]
    for kind, names in found.helpers.items():
        have = {f"bpf_{name}" for name in names}
        lines += [
            f"#define {prefix}BPF__PROG_TYPE_{kind}__HELPER_{name} {int(name in have)}"
            for name in BUILTINS["helpers"]
        ]
    return lines
