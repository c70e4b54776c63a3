"""Objects come out as with libbpf: the same tags, the same maps, the same programs refused.

The installed libbpf may be old; fixtures that need a newer one say so in a comment (`libbpf 1.4`), as they do
about the kernel (`feature arena`). See `libbpf.py` for how to compare with another one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import libbpf
import pytest

from c_objects import compile_c, compile_file
from probee.btf import kernel_btf
from probee.btf.kinds import VAR
from probee.isa.sections import EXTRAS, SECTIONS, match
from probee.kernel.each import load_each
from probee.kernel.features import ask
from probee.kernel.load import load
from probee.obj import read_object
from probee.symbols.kallsyms import KernelSymbols

HERE = Path(__file__).parent
FIXTURES = sorted((HERE / "objects").glob("*.bpf.c"))
MMAPABLE = 1 << 10  # versions before 1.4 set it for all data maps
# What stands behind the section's name where libbpf wants something there.
TARGETS = {
    "tp": "sched/sched_switch",
    "tracepoint": "sched/sched_switch",
    "raw_tp": "sys_enter",
    "raw_tracepoint": "sys_enter",
    "tp_btf": "sched_switch",
    "fentry": "vfs_read",
    "fexit": "vfs_read",
    "fmod_ret": "vfs_read",
    "fsession": "vfs_read",
    "lsm": "file_open",
    "lsm_cgroup": "socket_bind",
    "iter": "task",
    "freplace": "whatever",
    "kprobe": "do_exit",
    "kretprobe": "do_exit",
    "ksyscall": "bpf",
    "kretsyscall": "bpf",
    "uprobe": "/bin/true:main",
    "uretprobe": "/bin/true:main",
    "usdt": "/bin/true:x:y",
    "struct_ops": "x",
}


def _compile(source: Path, target: Path) -> Path:
    target.write_bytes(compile_file(source))
    return target


def _maps(lines: list[dict[str, Any]], mask: int) -> list[tuple[object, ...]]:
    fields = ("kernel_name", "type", "key_size", "value_size", "max_entries")
    return sorted(
        (*[line[f] for f in fields], line["flags"] & ~mask, line["typed"]) for line in lines if "map" in line
    )


@pytest.mark.root
@pytest.mark.parametrize("source", FIXTURES, ids=lambda p: p.name.removesuffix(".bpf.c"))
def test_same_programs_and_maps(source: Path, tmp_path: Path) -> None:
    text = source.read_text().split("#include")[0]  # the comments that say what it needs
    version = libbpf.version(tmp_path)
    needs = re.search(r"libbpf (\d+)\.(\d+)", text)
    if needs and (int(needs[1]), int(needs[2])) > version:
        pytest.skip(f"needs libbpf {needs[1]}.{needs[2]}, this is {version[0]}.{version[1]}")
    for feature in re.findall(r"feature (\w+)", text):
        answer = ask(feature)
        if not answer:
            pytest.skip(f"this kernel has no {feature} {answer.detail}")
    for symbol in re.findall(r"symbol (\w+)", text):
        if not KernelSymbols.read().find(symbol):
            pytest.skip(f"this kernel's /proc/kallsyms has no {symbol} (CONFIG_KALLSYMS_ALL)")
    for variable in re.findall(r"variable (\w+)", text):
        if kernel_btf().find(variable, VAR) is None:
            pytest.skip(f"this kernel's BTF has no variable {variable}")
    path = _compile(source, tmp_path / source.name.replace(".bpf.c", ".bpf.o"))
    theirs, words = libbpf.ask(tmp_path, "all", path)
    spec = read_object(path)
    assert not any("error" in line for line in theirs), f"libbpf does not load this fixture: {words[-2000:]}"
    with load(spec) as live:
        tags = {name: program.tag for name, program in live.programs.items()}
        assert tags == {line["program"]: line["tag"] for line in theirs if "program" in line}
        ours = []
        for m in live.maps.values():
            info = m.info()
            ours.append(
                {
                    "map": m.name,
                    "kernel_name": info.name,
                    **{
                        f: getattr(info, f)
                        for f in ("type", "key_size", "value_size", "max_entries", "flags")
                    },
                    "typed": bool(info.btf_id),
                }
            )
        mask = MMAPABLE if version < (1, 4) else 0
        assert _maps(ours, mask) == _maps(theirs, mask)


def _sections() -> list[str]:
    out = []
    for name, (_, _, flags) in SECTIONS.items():
        target = TARGETS.get(name.split(".")[0], "x") if flags & EXTRAS and name != "perf_event" else ""
        out.append(f"{name}/{target}" if target else name)
    return out


@pytest.mark.root
def test_same_verdict_on_a_program_in_every_section(tmp_path: Path) -> None:
    """One object with a program for each name that libbpf knows; each is loaded by itself."""
    known = {line["section"] for line in libbpf.ask(tmp_path, "sections", *_sections())[0]}
    lines = [f'SEC("{name}") int p{i}(void *ctx) {{ return 0; }}' for i, name in enumerate(_sections())]
    path = tmp_path / "every.bpf.o"
    compile_c(tmp_path, "\n".join(lines), "every")
    theirs = {line["program"]: line for line in libbpf.ask(tmp_path, "each", path)[0]}
    ours = {verdict.name: verdict for verdict in load_each(path)}
    assert len(ours) == len(SECTIONS) == 116
    assert list(ours) == list(theirs)
    different = []
    for name, verdict in ours.items():
        there = theirs[name]
        if verdict.section not in known:
            continue  # newer than that libbpf
        if ("error" in there) != (verdict.error is not None) or verdict.tag != there.get("tag", ""):
            different.append((verdict.section, verdict.error or verdict.tag, there))
    assert not different
    assert sum(verdict.error is None for verdict in ours.values()) >= 50


def test_sections_mean_the_same(tmp_path: Path) -> None:
    """The program and attach types of every section name, also of names with a target and of wrong names."""
    names = [
        *SECTIONS,
        *_sections(),
        "xdp/no",
        "xdpx",
        "tp_btfx",
        "kprobe.multi.s/x",
        "sk_skb/x",
        "cgroup/no",
    ]
    known = libbpf.ask(tmp_path, "sections", *names)[0]
    assert len(known) >= 100
    for line in known:
        matched = match(line["section"])
        assert matched is not None, line
        assert SECTIONS[matched[0]][:2] == (line["type"], line["attach"]), line
    if libbpf.version(tmp_path) >= (1, 8):
        assert {line["section"] for line in known} == {name for name in names if match(name)}
