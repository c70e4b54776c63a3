"""`probee link`: what is attached to what."""

from __future__ import annotations

from typing import Any

from .. import sys as kernel_calls
from ..errors import ProbeeError
from ..kernel import link_info
from ..tools._common import visible
from . import seek
from .grammar import Words, command
from .output import Output
from .prog_show import Scene
from .style import bold

HELP = """
usage: probee link show|list [LINK]
       probee link pin    LINK PATH
       probee link detach LINK
       probee link -o OUTPUT.o OBJECT.o OBJECT.o…        (a linker for BPF objects)

Links attach programs to hooks; one lives as long as a process holds it or a pin keeps it. `detach` takes the
program off its hook, whoever holds the link. Attachments without a link are shown by `probee net`, `probee
cgroup` and `probee perf`. Words and JSON (-j) are those of bpftool.

  LINK  id N | pinned PATH

options:
  -j, --json   JSON, with bpftool's fields        -p, --pretty  the same, indented
  -f, --bpffs  show where links are pinned

examples:
  probee link
  probee link show id 12
  probee link pin id 12 /sys/fs/bpf/mylink
  probee link detach pinned /sys/fs/bpf/mylink
"""
_MOST_FUNCTIONS = 20
_FLAG_WORDS = {"id", "type", "prog_id", "pids", "pinned", "funcs"}


def main(argv: list[str]) -> int:
    if any(word in ("-o", "--output") for word in argv):
        from .grammar import cold_module

        code: int = cold_module("gen").link(argv)
        return code
    return command("link", VERBS, HELP, argv)


def show(words: Words, output: Output) -> int:
    scene = Scene(output)
    if words:
        with seek.link(words) as handle:
            words.end()
            facts, hook = describe(handle, scene)
        if output.json:
            output.emit(facts)
        else:
            _print_one(facts, hook, scene)
        return 0
    found = [describe(handle, scene) for _, handle in seek.each(seek.LINK)]
    if output.json:
        output.emit([facts for facts, _ in found])
        return 0
    heads = (">ID", "TYPE", "HOOK", "PROGRAM", "HELD BY", "PINNED")
    output.table(heads, [_row(*one, scene) for one in found], empty="there are no links")
    return 0


def describe(handle: seek.Handle, scene: Scene) -> tuple[dict[str, Any], str]:
    """A link in bpftool's JSON, and its hook in words."""
    details = link_info.read(handle.fd)
    facts = details.to_dict()
    if scene.output.bpffs:
        facts["pinned"] = scene.pins.of(seek.LINK, details.id)
    owners = scene.owners.json(seek.LINK, details.id)
    if owners:
        facts["pids"] = owners
    return facts, details.hook


def program_name(id: int) -> str:
    """`name (id N)` of a program."""
    if not id:
        return ""
    try:
        with seek.open_id(seek.PROGRAM, id) as handle:
            return f"{seek.prog_name(handle, handle.program())} (id {id})".strip()
    except ProbeeError:
        return f"(id {id})"


def _row(facts: dict[str, Any], hook: str, scene: Scene) -> tuple[Any, ...]:
    return (
        facts["id"],
        facts["type"],
        hook.removeprefix(f"{facts['type']} "),
        program_name(facts["prog_id"]),
        scene.owners.text(seek.LINK, facts["id"]),
        " ".join(facts.get("pinned", ())),
    )


def _print_one(facts: dict[str, Any], hook: str, scene: Scene) -> None:
    print(bold(f"link {facts['id']}  {visible(hook)}"))
    pairs = [("type", facts["type"]), ("program", program_name(facts["prog_id"]))]
    for name, value in facts.items():
        if name not in _FLAG_WORDS and value not in ("", 0, False):
            text = f"{value:#x}" if name in ("addr", "offset", "ref_ctr_offset", "cookie") else value
            pairs.append((name.replace("_", " "), text))
    functions = facts.get("funcs", [])
    for function in functions[:_MOST_FUNCTIONS]:
        pairs.append(("function", _function(function)))
    if len(functions) > _MOST_FUNCTIONS:
        pairs.append(("function", f"… and {len(functions) - _MOST_FUNCTIONS} more (-j has them all)"))
    pairs += [
        ("pinned", ", ".join(scene.pins.of(seek.LINK, facts["id"]))),
        ("held by", scene.owners.text(seek.LINK, facts["id"])),
    ]
    scene.output.facts(pairs)


def _function(facts: dict[str, Any]) -> str:
    words = [str(facts["func"])] if facts.get("func") else []
    if facts.get("module"):
        words.append(f"[{facts['module']}]")
    words += [f"{key}={facts[key]:#x}" for key in ("addr", "offset", "ref_ctr_offset") if facts.get(key)]
    return " ".join(words + ([f"cookie={facts['cookie']:#x}"] if facts.get("cookie") else []))


def pin(words: Words, output: Output) -> int:
    from .pins import pin_at

    with seek.link(words) as handle:
        path = words.next("PATH")
        words.end()
        pin_at(handle.fd, path, "the link", output)
    output.done()
    return 0


def detach(words: Words, output: Output) -> int:
    with seek.link(words) as handle:
        words.end()
        try:
            kernel_calls.kernel().link_detach(handle.fd)
        except OSError as error:
            if error.errno in (22, 95, 524):
                kind = link_info.read(handle.fd).type_name
                raise ProbeeError(
                    f"the kernel can't detach {kind} links; they go with their last holder and pin "
                    f"(`probee link show id …` names them)"
                ) from None
            raise
    output.done()
    return 0


VERBS = {"show": show, "list": show, "pin": pin, "detach": detach}
