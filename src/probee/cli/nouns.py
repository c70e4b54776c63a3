"""The commands that look at the kernel's BPF objects: `probee prog …` as `bpftool prog …`."""

from __future__ import annotations

from collections.abc import Callable

# In bpftool's order: `probee p` is prog as `bpftool p` is.
NOUNS = {
    "prog": "loaded programs: show, dump, load, pin, run, profile",
    "map": "maps: show, read, write, create, pin",
    "link": "what is attached to what",
    "cgroup": "programs of control groups",
    "perf": "programs on perf events: tracepoints, kprobes, uprobes",
    "net": "programs of network interfaces",
    "feature": "what this kernel's BPF can do",
    "btf": "type information: show it, dump it as C or Python",
    "gen": "code and objects made from objects",
    "struct-ops": "kernel interfaces implemented in BPF",
    "iter": "programs that walk through the kernel's data",
    "top": "programs by CPU time, live",
}
_MODULES = {"struct-ops": "struct_ops", "iter": "iterators"}
_OPTIONS = ("-j", "--json", "-p", "--pretty", "-f", "--bpffs", "-m", "--mapcompat", "-n", "--nomount")
_MORE_OPTIONS = ("-d", "--debug", "-l", "--legacy", "-jp", "-pj", "-jf", "-fj")


def find(argv: list[str]) -> Callable[[list[str]], int] | None:
    """What runs this command line, None if it names no noun. Options may come first, as bpftool's do."""
    at = 0
    while at < len(argv) and argv[at] in (*_OPTIONS, *_MORE_OPTIONS):
        at += 1
    word = argv[at].replace("_", "-") if at < len(argv) else ""
    if word == "version" and at:
        return None
    noun = word if word in NOUNS else next((n for n in NOUNS if word and n.startswith(word)), "")
    if not noun:
        return None

    def run(argv: list[str]) -> int:
        from .grammar import cold_module

        code: int = cold_module(_MODULES.get(noun, noun)).main([*argv[:at], *argv[at + 1 :]])
        return code

    return run
