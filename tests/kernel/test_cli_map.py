"""`probee map` in the running kernel: entries by their types and as bytes, maps made and filled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from c_objects import compile_c
from cli_objects import FOLDER, Cli, loaded
from probee.kernel.collection import Collection

pytestmark = pytest.mark.root
COUNTS = ("pinned", f"{FOLDER}/counts")
PERCPU = ("pinned", f"{FOLDER}/percpu")
LINE = ("pinned", f"{FOLDER}/line")
ROUTES = ("pinned", f"{FOLDER}/routes")
DATA = ("pinned", f"{FOLDER}/seen_data")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Collection]:
    with loaded(tmp_path) as collection:
        yield collection


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_show(live: Collection, cli: Cli) -> None:
    facts = cli.json("map", "show", *COUNTS, "-f")
    assert facts["id"] == live.maps["counts"].id
    assert (facts["type"], facts["name"], facts["flags"], facts["frozen"]) == ("hash", "counts", 0, 0)
    assert (facts["bytes_key"], facts["bytes_value"], facts["max_entries"]) == (4, 56, 64)
    assert facts["pinned"] == [COUNTS[1]]
    assert facts["id"] in [one["id"] for one in cli.json("map")]
    text = cli.text("map", "show", *COUNTS)
    assert "int, 4 bytes" in text
    assert "struct val, 56 bytes" in text
    assert "frozen" in cli.text("map", "show", "pinned", f"{FOLDER}/seen_rodata")


def test_typed_values_go_in_and_come_out(live: Collection, cli: Cli) -> None:
    value = {"packets": 3, "comm": "bash", "kind": "LARGE", "in": [{"b": 5}], "neg": -2, "y": [1, 2]}
    cli.text("map", "update", *COUNTS, "key", "7", "value", json.dumps(value))
    entry = live.maps["counts"][7]
    assert (entry.packets, entry.comm, entry.kind, entry.neg) == (3, "bash", 2, -2)
    found = cli.json("map", "lookup", *COUNTS, "key", "7")["formatted"]
    assert found["key"] == 7
    assert found["value"]["kind"] == "LARGE"
    assert found["value"]["in"][0] == {"a": 0, "b": "0x5", "c": "0x0"}
    assert 'comm: "bash"' in cli.text("map", "dump", *COUNTS)


@pytest.mark.parametrize("words", ["1 0 0 0", "0x01 0 0 0", "hex 01 00 00 00", "hex 01000000", "1"])
def test_keys_may_be_bytes(live: Collection, cli: Cli, words: str) -> None:
    key = words.split()
    cli.text("map", "update", *COUNTS, "key", *key, "value", "hex", *["02"] * 56)
    assert live.maps["counts"][1].packets == 0x02020202
    assert cli.json("map", "lookup", *COUNTS, "key", *key)["key"] == ["0x01", "0x00", "0x00", "0x00"]
    cli.text("map", "delete", *COUNTS, "key", *key)
    assert 1 not in live.maps["counts"]


def test_update_flags(live: Collection, cli: Cli) -> None:
    words = ["map", "update", *COUNTS, "key", "5", "value", "{}"]
    assert "there is no such entry" in cli.fails(*words, "exist")
    cli.text(*words, "noexist")
    assert "the entry is there already" in cli.fails(*words, "noexist")
    cli.text(*words, "exist")
    cli.text(*words, "any")
    assert "flags stand there twice" in cli.fails(*words, "any", "exist", code=2)


def test_words_that_make_no_sense(live: Collection, cli: Cli) -> None:
    assert "key is missing" in cli.fails("map", "update", *COUNTS, "value", "{}", code=2)
    assert "value is missing" in cli.fails("map", "update", *COUNTS, "key", "1", code=2)
    assert "4 bytes, 2 were given" in cli.fails("map", "lookup", *COUNTS, "key", "1", "2", code=2)
    assert "does not fit int" in cli.fails("map", "lookup", *COUNTS, "key", "99999999999", code=2)
    update = ["map", "update", *COUNTS, "key", "1", "value"]
    assert "no member 'nope'" in cli.fails(*update, '{"nope": 1}', code=2)
    assert "56 bytes, 1 were given" in cli.fails(*update, "hex", "1", code=2)
    assert "there is no map with name nope" in cli.fails("map", "dump", "name", "nope")
    assert "pins a program, not a map" in cli.fails("map", "dump", "pinned", f"{FOLDER}/on_enter")


def test_entries_that_are_not_there(live: Collection, cli: Cli) -> None:
    assert "there is no entry 9" in cli.fails("map", "lookup", *COUNTS, "key", "9")
    assert cli.json("map", "lookup", *COUNTS, "key", "9", code=1) is None
    assert "there is no such entry" in cli.fails("map", "delete", *COUNTS, "key", "9")
    assert cli.json("map", "dump", *COUNTS) == []
    assert cli.text("map", "dump", *COUNTS) == ""
    assert "is empty" in cli.err


def test_getnext_walks(live: Collection, cli: Cli) -> None:
    live.maps["counts"].update({1: {}, 2: {}})
    first = cli.json("map", "getnext", *COUNTS)
    assert first["key"] is None
    second = cli.json("map", "getnext", *COUNTS, "key", *(str(int(byte, 16)) for byte in first["next_key"]))
    assert {first["next_key"][0], second["next_key"][0]} == {"0x01", "0x02"}
    last = ["map", "getnext", *COUNTS, "key", *(str(int(byte, 16)) for byte in second["next_key"])]
    assert "last key" in cli.fails(*last)


def test_per_cpu_values(live: Collection, cli: Cli) -> None:
    cpus = len(live.maps["percpu"][0])
    cli.text("map", "update", *PERCPU, "key", "1", "value", "9")
    assert live.maps["percpu"][1] == [9] * cpus
    cli.text("map", "update", *PERCPU, "key", "1", "value", json.dumps(list(range(cpus))))
    found = cli.json("map", "lookup", *PERCPU, "key", "1")
    assert found["formatted"]["values"] == [{"cpu": n, "value": n} for n in range(cpus)]
    assert "value" not in found
    assert "sum" in cli.text("map", "dump", *PERCPU)


def test_queues(live: Collection, cli: Cli) -> None:
    assert "nothing in map line" in cli.fails("map", "pop", *LINE)
    cli.text("map", "push", *LINE, "value", "7")
    cli.text("map", "enqueue", *LINE, "value", "8", "0", "0", "0")
    assert cli.json("map", "peek", *LINE) == {"value": ["0x07", "0x00", "0x00", "0x00"]}
    assert cli.text("map", "pop", *LINE) == "7\n"
    assert cli.text("map", "dequeue", *LINE) == "8\n"
    assert cli.json("map", "pop", *LINE, code=1) is None
    assert "has no entries to dump" in cli.fails("map", "dump", *LINE)


def test_prefixes(live: Collection, cli: Cli) -> None:
    cli.text("map", "update", *ROUTES, "key", "10.0.0.0/8", "value", "1")
    assert "10.0.0.0/8" in cli.text("map", "dump", *ROUTES)
    assert cli.json("map", "lookup", *ROUTES, "key", "10.1.2.3/32")["value"][0] == "0x01"


def test_global_variables(live: Collection, cli: Cli) -> None:
    assert "greeting  hi" in cli.text("map", "dump", *DATA)
    cli.text("map", "update", *DATA, "value", '{"greeting": "you"}')
    assert live.globals.greeting == "you"
    assert "has no variable 'nope'" in cli.fails("map", "update", *DATA, "value", '{"nope": 1}', code=2)
    rodata = ("pinned", f"{FOLDER}/seen_rodata")
    assert "frozen" in cli.fails("map", "update", *rodata, "value", '{"limit": 8}')


def test_create_freeze_and_pin(cli: Cli) -> None:
    place = f"{FOLDER}-made"
    sizes = ["key", "4", "value", "8", "entries", "16"]
    words = ["map", "create", place, "type", "hash", *sizes, "name", "made"]
    try:
        cli.text(*words, "flags", "1")
        facts = cli.json("map", "show", "pinned", place)
        assert (facts["type"], facts["name"], facts["flags"]) == ("hash", "made", 1)
        cli.text("map", "update", "pinned", place, "key", "1", "value", "2")  # without BTF: numbers
        assert cli.json("map", "dump", "pinned", place) == [
            {"key": ["0x01", "0x00", "0x00", "0x00"], "value": ["0x02"] + ["0x00"] * 7}
        ]
        cli.text("map", "pin", "pinned", place, f"{place}-2")
        cli.text("map", "freeze", "pinned", place)
        assert "frozen" in cli.fails("map", "update", "pinned", place, "key", "1", "value", "3")
        assert "something is there already" in cli.fails(*words)
    finally:
        for path in (place, f"{place}-2"):
            if os.path.exists(path):
                os.unlink(path)
    assert "there is no map type 'bogus'" in cli.fails("map", "create", place, "type", "bogus", code=2)
    assert "name is missing" in cli.fails("map", "create", place, "type", "hash", code=2)
    assert "the kernel refuses such a map" in cli.fails("map", "create", place, "type", "hash", "name", "x")


def test_maps_in_maps_and_programs_in_maps(live: Collection, cli: Cli) -> None:
    outer, table = f"{FOLDER}-outer", f"{FOLDER}-table"
    sizes = ["key", "4", "value", "4", "entries", "2"]
    try:
        words = ["map", "create", outer, "type", "array_of_maps", *sizes, "name", "outer"]
        cli.text(*words, "inner_map", *COUNTS)
        cli.text("map", "update", "pinned", outer, "key", "1", "value", *COUNTS)
        (entry,) = cli.json("map", "dump", "pinned", outer)
        assert entry["inner_map_id"] == live.maps["counts"].id
        assert f"map {entry['inner_map_id']}" in cli.text("map", "dump", "pinned", outer)
        cli.text("map", "create", table, "type", "prog_array", *sizes, "name", "table")
        program = live.programs["on_enter"].id
        cli.text("map", "update", "pinned", table, "key", "0", "value", "id", str(program))
        assert f"program {program}" in cli.text("map", "dump", "pinned", table)
        assert len(cli.json("map", "dump", "pinned", table)) == 1
        assert cli.json("map", "show", "pinned", table)["owner_prog_type"] == "tracepoint"
        cli.text("map", "delete", "pinned", table, "key", "0")
    finally:
        for path in (outer, table):
            if os.path.exists(path):
                os.unlink(path)


def test_several_maps_of_one_name(live: Collection, cli: Cli, tmp_path: Path) -> None:
    from probee.kernel.objects import load

    with load(tmp_path / "seen.bpf.o") as other:
        ids = {live.maps["routes"].id, other.maps["routes"].id}
        shown = [one for one in cli.json("map", "show", "name", "routes") if one["id"] in ids]
        assert len(shown) == 2
        dumped = [one for one in cli.json("map", "dump", "name", "routes") if one["id"] in ids]
        assert [one["elements"] for one in dumped] == [[], []]
        assert "choose one of them by id" in cli.fails("map", "lookup", "name", "routes", "key", "1")


def test_event_pipe(tmp_path: Path) -> None:
    from probee.kernel.objects import load

    compile_c(
        tmp_path,
        'struct { __uint(type, 4); __uint(key_size, 4); __uint(value_size, 4); } pipe SEC(".maps");\n'
        "static long (*perf_output)(void *, void *, u64, void *, u64) = (void *)25;\n"
        'SEC("tp/syscalls/sys_enter_getppid") int send(void *ctx) {\n'
        "    u32 words[3] = {1, 2, 3}; perf_output(ctx, &pipe, 0xffffffffULL, words, 12); return 0; }",
        "pipe",
    )
    caller = "import os, time\nwhile True: os.getppid(); time.sleep(0.02)"
    with load(tmp_path / "pipe.bpf.o") as live, live.programs["send"].attach():
        words = [sys.executable, "-m", "probee", "-j", "map", "event_pipe", "id", str(live.maps["pipe"].id)]
        with (
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process,
            subprocess.Popen([sys.executable, "-c", caller]) as calls,
        ):
            assert process.stdout is not None
            head = [process.stdout.readline() for _ in range(3)]
            process.send_signal(2)
            rest = process.stdout.read()
            calls.kill()
        assert process.returncode == 0
    events = json.loads("".join(head) + rest)
    assert len(events) >= 3
    assert sorted(events[0]) == ["cpu", "data", "index", "timestamp", "type"]
    assert events[0]["data"] == [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
