"""`probee prog` in the running kernel: what is shown, dumped, loaded, run and counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from c_objects import compile_c
from cli_objects import FOLDER, Cli, loaded, write_object
from needs import needs
from probee.kernel.collection import Collection

pytestmark = pytest.mark.root
LONG = "a_rather_long_program_name"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Collection]:
    with loaded(tmp_path) as collection:
        yield collection


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_show_lists_what_is_loaded(live: Collection, cli: Cli) -> None:
    program = live.programs["on_enter"]
    (mine,) = [facts for facts in cli.json("prog", "show") if facts["id"] == program.id]
    assert mine["type"] == "tracepoint"
    assert mine["name"] == "on_enter"
    assert mine["tag"] == program.tag
    assert mine["gpl_compatible"] is True
    assert mine["bytes_xlated"] == program.info().xlated_size
    assert set(mine["map_ids"]) <= {m.id for m in live.maps.values()}
    assert mine["metadata"] == {"note": "hello"}
    assert "pinned" not in mine
    assert re.search(rf"^ *{program.id}  tracepoint +on_enter ", cli.text("prog"), re.M)


@pytest.mark.parametrize("how", ["id", "name", "tag", "pinned"])
def test_a_program_is_named_in_four_ways(live: Collection, cli: Cli, how: str) -> None:
    program = live.programs[LONG]
    path = f"{FOLDER}/{LONG}"
    word = {"id": str(program.id), "name": LONG, "tag": program.tag, "pinned": path}[how]
    found = cli.json("prog", "show", how, word, "-f")
    for one in found if isinstance(found, list) else [found]:  # other runs may have the same code loaded
        assert (one["type"], one["name"], one["tag"]) == ("xdp", LONG, program.tag)
    if how in ("id", "pinned"):
        assert found["pinned"] == [path]
        assert path in cli.text("prog", "show", how, word)


def test_who_holds_a_program(live: Collection, cli: Cli) -> None:
    holder = "import os,sys; from probee.kernel.program import Program; p = Program.open(id=int(sys.argv[1]))"
    script = f"{holder}; print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", script, str(live.programs[LONG].id)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        facts = cli.json("prog", "show", "id", str(live.programs[LONG].id))
        assert [owner["pid"] for owner in facts["pids"]] == [process.pid]
        assert f"({process.pid})" in cli.text("prog", "show", "id", str(live.programs[LONG].id))
        process.communicate(b"")


def test_what_is_not_there(live: Collection, cli: Cli) -> None:
    assert "there is no program with id 4294967295" in cli.fails("prog", "show", "id", "4294967295")
    assert "there is no program with name nope" in cli.fails("prog", "show", "name", "nope")
    assert "nothing is pinned at" in cli.fails("prog", "show", "pinned", "/sys/fs/bpf/nope")
    assert "pins a map, not a program" in cli.fails("prog", "show", "pinned", f"{FOLDER}/counts")
    assert "is no pinned BPF object" in cli.fails("prog", "show", "pinned", "/etc/passwd")
    assert cli.json("prog", "show", "id", "4294967295", code=1) == {
        "error": "there is no program with id 4294967295"
    }


def test_xlated_code_has_source_lines_and_names(live: Collection, cli: Cli) -> None:
    id = str(live.programs["on_enter"].id)
    text = cli.text("prog", "dump", "xlated", "id", id)
    assert text.startswith("int on_enter(void * ctx):\n")
    assert "; struct val *v = map_lookup(&counts, &key);" in text
    assert f"map[id:{live.maps['counts'].id}]" in text
    assert "; map counts" in text
    assert "; hits" in text  # a global, by its name
    assert "int sub(int x):" in text
    assert "(95) exit" in text
    assert "seen.bpf.c:" not in text
    assert "seen.bpf.c:" in cli.text("prog", "dump", "xlated", "id", id, "linum")
    assert "       b4 01 00 00" in cli.text("prog", "dump", "xlated", "id", id, "opcodes")


def test_xlated_code_as_bytes_and_as_a_graph(live: Collection, cli: Cli, tmp_path: Path) -> None:
    program = live.programs["on_enter"]
    path = tmp_path / "code"
    cli.text("prog", "dump", "xlated", "id", str(program.id), "file", str(path))
    assert path.stat().st_size == program.info().xlated_size
    graph = cli.text("prog", "dump", "xlated", "id", str(program.id), "visual")
    assert graph.startswith("digraph")
    assert " -> b" in graph
    assert graph.count('[label="yes"]') == graph.count('[label="no"]') > 0
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=graph, text=True, check=True, capture_output=True)


def test_python_programs_show_python_lines(cli: Cli, tmp_path: Path) -> None:
    import importlib.util

    import probee as bp

    path = tmp_path / "tool.py"
    path.write_text(
        "import probee as bp\ntotal = bp.Global[bp.u64](0)\n\n"
        '@bp.tracepoint("syscalls:sys_enter_getppid")\ndef seen_by_cli(args):\n    total.value += 77\n'
    )
    spec = importlib.util.spec_from_file_location("cli_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with bp.attach(module) as session:
        (program,) = session.programs.values()
        text = cli.text("prog", "dump", "xlated", "id", str(program.id), "linum")
    assert "; total.value += 77" in text
    assert f"{path}:6" in text


def test_machine_code(live: Collection, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = live.programs["on_enter"]
    if not program.info().jited_size:
        pytest.skip("this kernel's JIT is off (net.core.bpf_jit_enable)")
    id = str(program.id)
    cli.text("prog", "dump", "jited", "id", id, "file", str(tmp_path / "code"))
    assert (tmp_path / "code").stat().st_size == program.info().jited_size
    monkeypatch.setitem(sys.modules, "capstone", None)
    assert "pip install" in cli.fails("prog", "dump", "jited", "id", id)
    monkeypatch.undo()
    pytest.importorskip("capstone", reason="capstone is not installed")
    first, second = cli.json("prog", "dump", "jited", "id", id, "linum")
    assert first["proto"] == "int on_enter(void * ctx)"
    assert first["name"].endswith("_on_enter")
    assert second["name"].endswith("_sub")
    assert first["insns"][0]["pc"] == "0x0"
    assert any("map_lookup" in insn.get("src", "") for insn in first["insns"])
    assert "; struct val *v = map_lookup(&counts, &key);" in cli.text("prog", "dump", "jited", "id", id)


def test_load_pins_the_first_program(cli: Cli, tmp_path: Path) -> None:
    path, place = str(write_object(tmp_path)), f"{FOLDER}-first"
    try:
        cli.text("prog", "load", path, place)
        assert cli.json("prog", "show", "pinned", place)["name"] == "on_enter"
        assert "something is there already" in cli.fails("prog", "load", path, place)
    finally:
        os.unlink(place)


def test_loadall_pins_all_and_uses_other_maps(live: Collection, cli: Cli, tmp_path: Path) -> None:
    place = f"{FOLDER}-all"
    counts = str(live.maps["counts"].id)
    try:
        words = ["prog", "loadall", str(write_object(tmp_path)), place, "pinmaps", f"{place}/maps"]
        assert cli.json(*words, "map", "name", "counts", "id", counts) is None
        assert sorted(os.listdir(place)) == [LONG, "maps", "on_enter"]
        assert {"counts", "percpu", "line", "routes"} < set(os.listdir(f"{place}/maps"))
        assert cli.json("map", "show", "pinned", f"{place}/maps/counts")["id"] == int(counts)
        assert int(counts) in cli.json("prog", "show", "pinned", f"{place}/on_enter")["map_ids"]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _ids(cli: Cli) -> set[int]:
    return {facts["id"] for facts in cli.json("prog")}


def _nothing_new(cli: Cli, before: set[int]) -> None:
    until = time.monotonic() + 5  # the kernel frees programs a little later
    while _ids(cli) - before and time.monotonic() < until:
        time.sleep(0.05)
    assert not _ids(cli) - before


def test_what_can_not_be_pinned_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    path = str(write_object(tmp_path))
    before = _ids(cli)
    assert "pins live in a BPF file system" in cli.fails("prog", "loadall", path, str(tmp_path / "pins"))
    words = ["prog", "load", path, FOLDER, "map", "idx", "0", "name", "nope"]
    assert "there is no map with name nope" in cli.fails(*words)
    _nothing_new(cli, before)


def test_autoattach_pins_links(cli: Cli, tmp_path: Path) -> None:
    needs("perf_link")
    place = f"{FOLDER}-attached"
    try:
        words = ["prog", "loadall", str(write_object(tmp_path)), place]
        cli.text(*words, "autoattach", "pinmaps", f"{place}/maps")
        assert "does not say what to attach it to" in cli.err
        facts = cli.json("link", "show", "pinned", f"{place}/on_enter")
        assert facts["type"] == "perf_event"
        os.getppid()
        variables = cli.json("map", "lookup", "pinned", f"{place}/maps/seen_bss")["formatted"]["value"]
        assert variables[".bss"][0]["hits"] >= 3
        assert cli.json("prog", "show", "pinned", f"{place}/{LONG}")["type"] == "xdp"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_type_of_ones_own(cli: Cli, tmp_path: Path) -> None:
    compile_c(tmp_path, 'SEC("whatever") int one(void *ctx) { return 0; }', "odd")
    place = f"{FOLDER}-odd"
    path = str(tmp_path / "odd.bpf.o")
    assert "names no kind of program" in cli.fails("prog", "load", path, place)
    wrong = cli.fails("prog", "load", path, place, "type", "bogus", code=2)
    assert "there is no program type 'bogus'" in wrong
    try:
        cli.text("prog", "load", path, place, "type", "xdp")
        assert cli.json("prog", "show", "pinned", place)["type"] == "xdp"
    finally:
        os.unlink(place)


def test_each_program_on_its_own_terms(cli: Cli, tmp_path: Path) -> None:
    good = str(write_object(tmp_path))
    verdicts = cli.json("prog", "load", good, "--all")
    assert [sorted(verdict) for verdict in verdicts] == [["insns", "name", "section", "tag", "type"]] * 2
    assert [(v["name"], v["section"], v["type"]) for v in verdicts] == [
        ("on_enter", "tracepoint/syscalls/sys_enter_getppid", "tracepoint"),
        (LONG, "xdp", "xdp"),
    ]
    assert "loads" in cli.text("prog", "load", good, "--all")
    compile_c(
        tmp_path,
        'SEC("tp/syscalls/sys_enter_getppid") int good(void *ctx) { return 0; }\n'
        'SEC("tp/syscalls/sys_enter_getppid") int bad(u64 *ctx) { return *(u64 *)ctx[99]; }\n'
        'SEC("other/thing") int odd(void *ctx) { return 0; }',
        "mixed",
    )
    path = str(tmp_path / "mixed.bpf.o")
    good_one, bad_one, odd_one = cli.json("prog", "load", path, "--all", code=1)
    assert good_one["insns"] == 2
    assert len(good_one["tag"]) == 16
    assert sorted(bad_one) == sorted(odd_one) == ["error", "message", "name", "section"]
    assert bad_one["error"] == "VerifierError"
    assert odd_one["error"] == "LoadError"
    assert cli.code("prog", "load", path, "--all") == 1
    before = _ids(cli)
    cli.code("prog", "load", path, "--all")
    _nothing_new(cli, before)


def test_objects_that_are_none(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.o").write_text("no object")
    assert "error" in cli.json("prog", "load", str(tmp_path / "text.o"), "--all", code=1)
    assert "error" in cli.json("prog", "load", str(tmp_path / "absent.o"), "--all", code=1)


def test_run_with_data_from_files(live: Collection, cli: Cli, tmp_path: Path) -> None:
    packet, back = tmp_path / "packet", tmp_path / "back"
    packet.write_bytes(bytes(range(64)))
    words = ["prog", "run", "pinned", f"{FOLDER}/{LONG}", "data_in", str(packet)]
    facts = cli.json(*words, "data_out", "-", "repeat", "10")
    assert facts["retval"] == 2
    assert facts["data_out"] == list(range(64))
    assert sorted(facts) == ["data_out", "duration", "retval"]
    assert sum(live.maps["percpu"][0]) == 10
    text = cli.text(*words, "data_out", str(back))
    assert "return value 2" in text
    assert back.read_bytes() == packet.read_bytes()
    assert "0000000\t0001 0203" in cli.text(*words, "data_out", "-")
    assert "the kernel wants an Ethernet header" in cli.fails("prog", "run", "pinned", f"{FOLDER}/{LONG}")
    assert "may be data_in or data_out or data_size_out" in cli.fails(*words[:4], "d", "x", code=2)


def test_profile_counts_runs(live: Collection, cli: Cli) -> None:
    id = str(live.programs["on_enter"].id)
    with live.programs["on_enter"].attach():
        script = "import os, time\nwhile True: os.getppid(); time.sleep(0.001)"
        with subprocess.Popen([sys.executable, "-c", script]) as caller:
            (facts,) = cli.json("prog", "profile", "id", id, "duration", "1")
            text = cli.text("prog", "profile", "id", id, "duration", "1", "runs")
            caller.kill()
    assert facts["metric"] == "run_time_ns"
    assert facts["run_cnt"] > 10
    assert facts["value"] > 0
    assert 0.9e9 < facts["enabled"] < 5e9
    assert "per run" in text
    assert "% of a CPU" in text


def test_counting_ends_with_the_command(live: Collection, cli: Cli) -> None:
    cli.json("prog", "profile", "id", str(live.programs["on_enter"].id), "duration", "1")
    with open("/proc/sys/kernel/bpf_stats_enabled") as file:
        assert file.read().strip() == "0"


def test_attach_and_detach_a_sockmap_program(cli: Cli, tmp_path: Path) -> None:
    compile_c(
        tmp_path,
        "struct { __uint(type, 15); __uint(max_entries, 4); __type(key, u32); __type(value, u32); }"
        ' sockets SEC(".maps");\n'
        'SEC("sk_msg") int verdict(void *ctx) { return 1; }',
        "sockmap",
    )
    place = f"{FOLDER}-sockmap"
    try:
        cli.text("prog", "loadall", str(tmp_path / "sockmap.bpf.o"), place, "pinmaps", place)
        words = ["pinned", f"{place}/verdict", "sk_msg_verdict", "pinned", f"{place}/sockets"]
        cli.text("prog", "attach", *words)
        cli.text("prog", "detach", *words)
        assert "not attached there" in cli.fails("prog", "detach", *words)
        wrong = ["pinned", f"{place}/verdict", "sk_skb_stream_parser", "pinned", f"{place}/sockets"]
        assert "another kind" in cli.fails("prog", "attach", *wrong)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_tracelog_prints_what_programs_print(tmp_path: Path) -> None:
    from probee.kernel.objects import load

    compile_c(
        tmp_path,
        'SEC("tp/syscalls/sys_enter_getppid") int talk(void *ctx) '
        '{ static const char text[] = "cli says %d"; printk(text, sizeof text, 42); return 0; }',
        "talk",
    )
    words = [sys.executable, "-m", "probee", "prog", "tracelog"]
    caller = "import os, time\nwhile True: os.getppid(); time.sleep(0.05)"
    with (
        load(tmp_path / "talk.bpf.o") as live,
        live.programs["talk"].attach(),
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process,
        subprocess.Popen([sys.executable, "-c", caller]) as calls,
    ):
        assert process.stdout is not None
        line = next(line for line in process.stdout if "cli says" in line)
        calls.kill()
        process.send_signal(2)
        assert process.wait(10) == 130
    assert "bpf_trace_printk: cli says 42" in line
