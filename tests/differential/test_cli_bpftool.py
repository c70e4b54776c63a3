"""The command line beside bpftool's on the same live objects: the same JSON, the same commands.

bpftool may be older: fields that only we have are fine if they are newer than it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c_objects import compile_c
from cli_objects import FOLDER, loaded, write_object
from needs import needs
from probee.kernel.collection import Collection
from probee.kernel.objects import load

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("bpftool"), reason="needs bpftool"),
]
PROBEE = [sys.executable, "-m", "probee"]
MAPS = ["counts", "percpu", "line", "routes", "seen_rodata", "seen_data", "seen_bss"]
LONG = "a_rather_long_program_name"
# Since when a field is there, or what this build of bpftool can't find.
NEWER = {"orphaned", "pids", "cookie", "missed", "recursion_misses", "run_cnt", "run_time_ns"}
CHANGES = {"loaded_at", "run_cnt", "run_time_ns", "duration"}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Collection]:
    with loaded(tmp_path) as collection:
        value = {"packets": 3, "bytes": 1 << 40, "comm": "bash", "kind": 2, "neg": -5, "ok": True}
        collection.maps["counts"].update({7: value, -1: {}})
        percpu = collection.maps["percpu"]
        percpu[1] = list(range(len(percpu[1])))
        yield collection


def run(*words: str) -> Any:
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        pytest.fail(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def differences(theirs: Any, ours: Any, path: str = "") -> list[str]:
    """Where two answers differ, other than by what may."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = [f"{path}.{key} is missing" for key in theirs.keys() - ours.keys() - NEWER]
        found += [f"{path}.{key} is extra" for key in ours.keys() - theirs.keys() - NEWER]
        for key in theirs.keys() & ours.keys():
            found += differences(theirs[key], ours[key], f"{path}.{key}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        if path.endswith("_ids"):
            theirs, ours = sorted(theirs), sorted(ours)
        found = [f"{path}: {len(theirs)} and {len(ours)} elements"] if len(theirs) != len(ours) else []
        for n, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            found += differences(one, other, f"{path}[{n}]")
        return found
    name = path.rpartition(".")[2]
    if name in CHANGES:
        return [] if abs(theirs - ours) <= max(2, theirs) else [f"{path}: {theirs} and {ours}"]
    if name == "val":  # bpftool 7.1 extends the sign of unsigned enumerators
        theirs, ours = theirs & 0xFFFFFFFF, ours & 0xFFFFFFFF
    if name == "disasm" and "__percpu" in str(ours):  # newer spelling
        return []
    return [] if theirs == ours else [f"{path}: {theirs!r} and {ours!r}"]


def same(*words: str) -> Any:
    """Run both, and return what both say."""
    theirs, ours = run("bpftool", "-j", *words), run(*PROBEE, "-j", *words)
    assert differences(theirs, ours) == []
    return ours


def pinned(name: str) -> tuple[str, str]:
    return ("pinned", f"{FOLDER}/{name}")


@pytest.mark.parametrize("name", ["on_enter", LONG])
def test_programs(live: Collection, name: str) -> None:
    facts = same("-f", "prog", "show", *pinned(name))
    assert facts["pinned"] == [f"{FOLDER}/{name}"]
    same("prog", "show", "id", str(facts["id"]))


@pytest.mark.parametrize("name", MAPS)
def test_maps(live: Collection, name: str) -> None:
    assert same("map", "show", *pinned(name), "-f")["pinned"] == [f"{FOLDER}/{name}"]
    if name != "line":  # a queue has no entries
        same("map", "dump", *pinned(name))


def test_lists_have_the_same_ids(live: Collection) -> None:
    """Other things come and go on this machine meanwhile: our own are looked for.

    bpftool 7.1 shows maps without BTF with that of the map before.
    """
    for noun, wanted in (
        ("prog", {program.id for program in live.programs.values()}),
        ("map", {live.maps[name].id for name in ("counts", "percpu", ".bss")}),
        ("btf", {run(*PROBEE, "-j", "prog", "show", *pinned(LONG))["btf_id"], 1}),
    ):
        theirs = {one["id"]: one for one in run("bpftool", "-j", noun)}
        ours = {one["id"]: one for one in run(*PROBEE, "-j", noun, "show")}
        assert wanted <= theirs.keys() & ours.keys()
        for id in wanted:
            assert differences(theirs[id], ours[id]) == []


@pytest.mark.parametrize("key", [["7", "0", "0", "0"], ["hex", "07", "00", "00", "00"], ["0xff"] * 4])
def test_entries(live: Collection, key: list[str]) -> None:
    assert same("map", "lookup", *pinned("counts"), "key", *key)["formatted"]["key"] in (7, -1)
    same("map", "getnext", *pinned("counts"))
    assert same("map", "lookup", *pinned("percpu"), "key", "1", "0", "0", "0")["values"]


def test_a_missing_entry_is_null_and_an_error(live: Collection) -> None:
    words = ["-j", "map", "lookup", *pinned("counts"), "key", "9", "0", "0", "0"]
    theirs = subprocess.run(["bpftool", *words], capture_output=True)
    ours = subprocess.run([*PROBEE, *words], capture_output=True)
    assert theirs.stdout.strip() == ours.stdout.strip() == b"null"
    assert theirs.returncode != 0 != ours.returncode


@pytest.mark.parametrize("how", [[], ["opcodes"], ["linum"]])
@pytest.mark.parametrize("name", ["on_enter", LONG])
def test_translated_code(live: Collection, name: str, how: list[str]) -> None:
    insns = same("prog", "dump", "xlated", *pinned(name), *how)
    assert insns[-1]["disasm"] == "(95) exit"


def test_translated_code_as_a_file(live: Collection, tmp_path: Path) -> None:
    for words in (["bpftool"], PROBEE):
        path = str(tmp_path / words[-1])
        subprocess.run([*words, "prog", "dump", "xlated", *pinned(LONG), "file", path], check=True)
    assert (tmp_path / "bpftool").read_bytes() == (tmp_path / "probee").read_bytes() != b""


def test_real_code_is_spelled_alike(tmp_path: Path) -> None:
    """Every instruction of programs with atomics, tail calls, globals, kernel reads, loops."""
    compile_c(
        tmp_path,
        """
        struct task_struct { int pid; struct task_struct *real_parent; } CORE;
        HASH(table, u32, u64, 8); ARRAY(numbers, u64, 4); RINGBUF(ring, 4096);
        struct { __uint(type, 3); __uint(max_entries, 2); __uint(key_size, 4); __uint(value_size, 4); }
            jumps SEC(".maps");
        static long (*loop)(u32, void *, void *, u64) = (void *)181;
        static void *(*current)(void) = (void *)158;
        u64 total; u32 small; unsigned char byte; short half;
        SEC("raw_tp/sys_enter") int many(u64 *ctx) {
            struct task_struct *task = current();
            u32 key = task->pid; u64 *value = map_lookup(&table, &key);
            __sync_fetch_and_add(&total, ctx[1]);
            small += __sync_fetch_and_or(&small, 3) ^ __sync_lock_test_and_set(&small, 5);
            __sync_val_compare_and_swap(&total, 1, 2);
            byte = half * 3; half = -byte / 2u; half ^= (s32)total >> 3;
            if (value && *value > 7) *value <<= key & 31;
            u32 index = 2; u64 *number = map_lookup(&numbers, &index);
            if (number) *number = __builtin_bswap64(*number) % (key | 1);
            u64 *record = ringbuf_reserve(&ring, 16, 0);
            if (record) { record[0] = ktime(); record[1] = random32(); ringbuf_submit(record, 0); }
            for (int i = 0; i < 20; i++) total += i * random32();
            tail_call(ctx, &jumps, 1);
            return 0;
        }
        """,
        "many",
    )
    needs("tp_btf")
    with load(tmp_path / "many.bpf.o") as collection:
        assert len(same("prog", "dump", "xlated", "id", str(collection.programs["many"].id))) > 60


@pytest.mark.parametrize("part", [[], ["key"], ["value"], ["kv"], ["all"]])
def test_types_of_maps(live: Collection, part: list[str]) -> None:
    same("btf", "dump", "map", *pinned("counts"), *part)


def test_types_of_programs_and_files(live: Collection, tmp_path: Path) -> None:
    same("btf", "dump", "prog", *pinned("on_enter"))
    same("btf", "dump", "file", str(tmp_path / "seen.bpf.o"))
    words = ["btf", "dump", "prog", *pinned("on_enter")]
    theirs = subprocess.run(["bpftool", *words], capture_output=True, text=True, check=True).stdout
    ours = subprocess.run([*PROBEE, *words], capture_output=True, text=True, check=True).stdout
    assert ours == theirs


def test_types_of_the_kernel() -> None:
    words = ["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]
    found = []
    for program in (["bpftool"], PROBEE):
        with subprocess.Popen([*program, *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found.append([process.stdout.readline() for _ in range(30_000)])
            process.stdout.close()
    assert found[0] == found[1]


def test_links_and_perf_events(live: Collection, tmp_path: Path) -> None:
    compile_c(
        tmp_path,
        'SEC("raw_tp/sys_enter") int raw(void *ctx) { return 0; }\n'
        'SEC("cgroup_skb/egress") int cgroup(void *ctx) { return 1; }',
        "links",
    )
    needs("link")
    with load(tmp_path / "links.bpf.o") as collection:
        from probee.cli.owners import mounts

        with (
            collection.programs["raw"].attach() as raw,
            collection.programs["cgroup"].attach_cgroup(mounts("cgroup2")[0]) as group,
        ):
            for link in (raw, group):
                same("link", "show", "id", str(link.id))
            theirs = [one for one in run("bpftool", "-j", "perf") if one["pid"] == os.getpid()]
            ours = [one for one in run(*PROBEE, "-j", "perf") if one["pid"] == os.getpid()]
            assert differences(theirs, ours) == []
            assert len(ours) == 1


def test_what_bpftool_loads_and_pins_we_do(tmp_path: Path) -> None:
    """`loadall … pinmaps …` leaves the same names with the same programs behind."""
    path = str(write_object(tmp_path))
    found = []
    for n, words in enumerate((["bpftool"], PROBEE)):
        place = f"{FOLDER}-both-{n}"
        try:
            command = [*words, "prog", "loadall", path, place, "pinmaps", f"{place}/maps"]
            subprocess.run(command, check=True, capture_output=True)
            names = sorted(str(p.relative_to(place)) for p in Path(place).rglob("*"))
            paths = [f"{place}/on_enter", f"{place}/{LONG}"]
            tags = [run("bpftool", "-j", "prog", "show", "pinned", path)["tag"] for path in paths]
            found.append((names, tags))
        finally:
            shutil.rmtree(place, ignore_errors=True)
    assert found[0] == found[1]


def test_runs_of_a_program(live: Collection, tmp_path: Path) -> None:
    (tmp_path / "packet").write_bytes(bytes(64))
    words = ["data_in", str(tmp_path / "packet"), "data_out", "-", "repeat", "5"]
    same("prog", "run", *pinned(LONG), *words)


# ---- the commands that bpftool's users type most: only the program's name changes

COMMANDS = [
    "prog show",
    "prog list",
    "prog show id PROG",
    "prog dump xlated id PROG",
    "prog load OBJECT /sys/fs/bpf/PIN",
    "map show",
    "map dump id MAP",
    "map lookup id MAP key 7 0 0 0",
    "map update id MAP key 8 0 0 0 value hex VALUE",
    "map delete id MAP key 8 0 0 0",
    "btf show",
    "btf dump file /sys/kernel/btf/vmlinux format c",
    "link show",
    "net",
    "net show",
    "cgroup tree",
    "perf show",
    "feature probe kernel",
    "gen skeleton OBJECT",
    "p s",
    "m d i MAP",
    "-jp prog show",
    "--json --pretty --bpffs map",
    "struct_ops list",
    "prog help",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_bpftools_commands_work_with_our_name(live: Collection, tmp_path: Path, command: str) -> None:
    words = {
        "PROG": str(live.programs[LONG].id),
        "MAP": str(live.maps["counts"].id),
        "OBJECT": str(tmp_path / "seen.bpf.o"),
        "VALUE": "00" * 56,
    }
    pin = f"{os.path.basename(FOLDER)}-typed"
    if "delete" in command:
        live.maps["counts"][8] = {}
    argv = [words.get(word, word).replace("PIN", pin) for word in command.split()]
    try:
        done = subprocess.run([*PROBEE, *argv], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if "update" not in command and "delete" not in command:
            assert done.stdout or done.stderr  # an empty list says so
        if command.startswith("-"):
            json.loads(done.stdout)
    finally:
        Path(f"/sys/fs/bpf/{pin}").unlink(missing_ok=True)
