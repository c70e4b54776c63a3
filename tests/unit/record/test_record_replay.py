"""A recording that was made by hand runs in the machine, and what differs is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from handmade import recording

import probee as bp
from probee.cli.main import main
from probee.machine.memory import Memory
from probee.record.contents import contents
from probee.record.inputs import Inputs, Patch, merge

PAGE = Path(__file__).resolve().parents[3] / "docs/recordings.md"


@pytest.mark.parametrize("engine", ["auto", "interpreter", "step"])
def test_it_gives_what_was_recorded(engine: str) -> None:
    with bp.replay(recording(), engine=engine) as run:
        assert run.run() == []
        assert run.results == [0, 0]
        assert [(e.pid, e.call, e.time_ns, e.comm) for e in run.read("events")] == [
            (7, 3, 1000, "sh"),
            (7, 3, 2000, "sh"),
        ]
        assert run.machine.maps["counts"][3] == 2


def test_an_input_that_is_missing() -> None:
    made = recording()
    del made.all[1].inputs[0]
    with bp.replay(made) as run:
        found = run.run()
    assert found[0].where == 1
    assert re.search(r"on_call: \w+: the recording has an input from \w+ here", str(found[0]))


def test_inputs_that_nobody_asked_for() -> None:
    made = recording()
    made.all[0].inputs.append(made.all[0].inputs[-1])
    with bp.replay(made) as run:
        found = run.run("on_call")
    assert [str(d) for d in found] == ["invocation 0: on_call did not ask for the last 1 of its inputs"]


def test_an_entry_that_others_changed_is_put_there() -> None:
    made = recording()
    traced, site, _ = next(i for i in made.all[1].inputs if i[0].sites[i[1]].kind == "lookup")
    place = made.all[1].inputs.index((traced, site, _))
    made.all[1].inputs[place] = (traced, site, _[:8] + (41).to_bytes(8, "little"))
    with bp.replay(made) as run:
        (difference,) = run.run()
        assert run.machine.maps["counts"][3] == 42
        assert run.changes == 1
    assert str(difference) == (
        "counts: 1 of 1 entries differ, as [03000000] is 2a00000000000000, in the kernel 0200000000000000"
    )


def test_a_ring_that_was_full_stays_so() -> None:
    made = recording()
    traced = made.programs[0]
    reserve = next(n for n, site in enumerate(traced.sites) if site.name == "ringbuf_reserve")
    kept = [i for i in made.all[0].inputs if traced.sites[i[1]].name.startswith("map_")]
    made.all[0].inputs = [(traced, reserve, bytes(8)), *kept]
    with bp.replay(made) as run:
        run.run()
        assert [e.time_ns for e in run.read("events")] == [2000]


def test_an_incomplete_recording_is_compared_by_invocations_only() -> None:
    made = recording()
    made.dropped = 1
    made.objects[0].final["counts"] = []
    with bp.replay(made) as run:
        assert not run.whole
        assert run.run() == []


def test_what_is_refused() -> None:
    with pytest.raises(bp.Unsupported, match="not by 'verified'"):
        bp.replay(recording(), engine="verified")
    with bp.replay(recording()) as run:
        with pytest.raises(bp.ProbeeError, match="there is no invocation 2; the recording has 2"):
            run.start(2)
        with pytest.raises(bp.ProbeeError, match="no program 'x'; it has on_call"):
            run.run("x")
        run.seek(1)
        with pytest.raises(bp.ProbeeError, match="invocation 0 is over"):
            run.seek(0)


def test_contents_are_the_same_for_all_maps() -> None:
    with bp.replay(recording()) as run:
        run.run()
        assert contents(run.machine.maps["counts"]) == [(b"\3\0\0\0", (2).to_bytes(8, "little"))]
        assert contents(run.machine.maps["events"]) is None


@pytest.mark.parametrize(("old", "now", "after"), [(9, 5, 9), (9, 6, 10)])
def test_what_others_had_changed_stays(old: int, now: int, after: int) -> None:
    memory, inputs = Memory(1 << 20), Inputs()
    value = memory.alloc(8, "map_value")
    value.data[:] = now.to_bytes(8, "little")
    inputs.patches = [Patch(value.address, old.to_bytes(8, "little"), (5).to_bytes(8, "little"))]
    merge(memory, inputs, adds=True)
    assert int.from_bytes(value.data, "little") == after


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.probee"
    recording().save(path)
    assert main(["replay", str(path), "--events"]) == 0
    out = capsys.readouterr().out
    assert "events: Call(pid=7, call=3, time_ns=1000, comm='sh')" in out
    assert "2 invocations recorded on Linux 6.18.0, 2 records; the same as in the kernel" in out
    broken = recording()
    broken.all[1].result = 5
    broken.save(path)
    assert main(["replay", str(path), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["differences"] == [{"invocation": 1, "text": "on_call returned 0, in the kernel 5"}]
    path.write_bytes(b"garbage")
    assert main(["replay", str(path)]) == 1
    assert "this is no recording" in capsys.readouterr().err


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    made = recording()
    made.save(tmp_path / "run.probee")
    monkeypatch.chdir(tmp_path)
    names = {"bp": bp}
    exec(
        code.replace('"execs"', '"events"').replace("e.filename", "e.comm").replace("/bin/true", "sh"), names
    )
    names["test_what_happened_on_friday"]()  # type: ignore[operator]


def test_replaying_needs_no_compiler(tmp_path: Path) -> None:
    path = tmp_path / "run.probee"
    recording().save(path)
    script = "import sys, probee; probee.replay(sys.argv[1]).run(); print('llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
