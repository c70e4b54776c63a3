"""Coverage of programs by source line and branch, and in coverage.py's own reports."""

from __future__ import annotations

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

import probee as bp
from probee import u64
from probee.debug.coverage import Coverage
from probee.debug.suites import Suites
from probee.errors import ProbeeError
from variables_c import LINES as C_LINES
from variables_c import TEXT, compile_variables

counts = bp.Array[u64](8)


@bp.raw_tracepoint("sched_switch")
def on_switch(preempt, prev, next):  # type: ignore[no-untyped-def]
    pid = bp.pid()
    if pid == 0:  # LINE zero
        return
    if pid < 10:  # LINE few
        counts[1] += bp.ktime_get_ns()  # LINE small
    while pid > 100:  # LINE while
        pid = pid // 2
        counts[2] = pid  # LINE loop
    counts[3] = pid  # LINE end


LINES = {
    line.partition("# LINE ")[2].strip(): number
    for number, line in enumerate(Path(__file__).read_text().splitlines(), 1)
    if "# LINE " in line
}


def switch(m: bp.Machine, *pids: int) -> None:
    for pid in pids:
        m.current = m.task(pid, "task")
        m.fire("sched_switch", False, m.task(1), m.task(1))


def test_lines_and_branches_of_a_machine() -> None:
    with bp.Machine(on_switch) as m:
        seen = m.coverage
        switch(m, 50)
        run, missing = seen.lines(__file__)
        assert {LINES["zero"], LINES["few"], LINES["end"]} <= run
        assert {LINES["small"], LINES["loop"]} <= missing
        taken, all = seen.branches(__file__)[LINES["zero"]]
        assert (taken, all) == (1, 2)
        switch(m, 0, 3, 500)
        run, missing = seen.lines(__file__)
        assert not missing
        assert {LINES["small"], LINES["loop"]} <= run
        assert seen.branches(__file__)[LINES["zero"]] == (2, 2)
        assert "0 missing" in seen.report()
        seen.close()
        assert m.cpus[0].hooks is None
    with pytest.raises(ProbeeError, match=r"no program has lines of other\.py"):
        seen.lines("other.py")


def test_blocks_without_instructions_follow_their_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "def f(a):\n"  # 1
        "    x = 0\n"  # 2: folded away
        "    if a:\n"  # 3
        "        g()\n"  # 4
        "        y = 1\n"  # 5: folded away
        "    else:\n"
        "        h()\n"  # 7
        "    while a:\n"  # 8
        "        k()\n"  # 9
        "    return x\n"  # 10
        "def unused():\n"
        "    return 1\n"
    )
    suites = Suites(str(path))
    possible = {3, 4, 7, 8, 9, 10}
    run = suites.lines({3, 4, 8, 10}, possible)
    assert run == {2, 3, 4, 5, 8, 10}
    arcs = suites.arcs(run, {(3, 4), (4, 8), (8, 10)}, possible)
    assert {(-1, 2), (2, 3), (3, 4), (4, 5), (5, 8), (8, 10), (10, -1)} <= arcs
    assert not {(3, 7), (8, 9)} & arcs
    assert suites.lines({3, 7}, possible) >= {2, 3, 7}
    assert suites.lines(set(), possible) == set()


def test_data_of_coverage_py(tmp_path: Path) -> None:
    coverage = pytest.importorskip("coverage", reason="coverage.py is not installed here")
    with bp.Machine(on_switch) as m:
        seen = Coverage()
        seen.watch(m)
        switch(m, 50)
        data = coverage.CoverageData(basename=str(tmp_path / "data"))
        assert seen.save(data) == [__file__]
        lines = set(data.lines(__file__))
        assert LINES["end"] in lines
        assert LINES["small"] not in lines
        assert (LINES["few"], LINES["while"]) in data.arcs(__file__)
        plain = coverage.CoverageData(basename=str(tmp_path / "plain"))
        plain.add_lines({"other.py": [1]})
        seen.save(plain, only=[__file__])
        assert LINES["end"] in plain.lines(__file__)


TEST = """
from tool import on_switch

def test_one(machine):
    machine.current = machine.task(50, "x")
    machine.fire("sched_switch", False, machine.task(1), machine.task(2))
"""


def test_the_option_writes_what_reports_read(tmp_path: Path) -> None:
    pytest.importorskip("coverage", reason="coverage.py is not installed here")
    source = Path(__file__).read_text()
    program = source[source.index("@bp.raw_tracepoint") : source.index("\n\nLINES")]
    head = "import probee as bp\nfrom probee import u64\ncounts = bp.Array[u64](8)\n\n"
    (tmp_path / "tool.py").write_text(head + program)
    (tmp_path / "test_tool.py").write_text(TEST)
    from importlib.metadata import entry_points

    known = any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11"))
    plugin = [] if known else ["-p", "probee.pytest_plugin"]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "--bpf-cov"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert "BPF coverage of 1 files in .coverage" in done.stdout
    report = subprocess.run(
        [sys.executable, "-m", "coverage", "report", "-m", "--include=tool.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    lines = (head + program).splitlines()
    small = next(n for n, line in enumerate(lines, 1) if "LINE small" in line)
    assert f"{small}" in report.stdout, report.stdout
    assert "100%" not in report.stdout


def test_branches_of_c_in_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coverage = pytest.importorskip("coverage", reason="coverage.py is not installed here")
    (tmp_path / "variables.bpf.c").write_text(TEXT)
    (tmp_path / "variables.bpf.o").write_bytes(compile_variables())
    (tmp_path / ".coveragerc").write_text("[run]\nbranch = True\nplugins = probee.debug.coverage_plugin\n")
    monkeypatch.chdir(tmp_path)
    with bp.Machine("variables.bpf.o") as m:
        seen = m.coverage
        m.current = m.task(3, "three")
        m.fire("sched_switch", False, m.task(1), m.task(1))
        data = coverage.CoverageData()
        seen.save(data)
        data.write()
    heavy, end = C_LINES["if (weight"], len(TEXT.splitlines()) - 1
    reporter = coverage.Coverage()
    reporter.load()
    report = StringIO()
    percent = reporter.report(file=report, show_missing=True)
    assert f"{C_LINES['if (!event)']}->{end}, {heavy + 1}" in report.getvalue()
    assert 80 < percent < 95
    reporter.html_report(directory="html")
    (page,) = [p for p in Path("html").glob("*.html") if "variables" in p.name]
    html = page.read_text()
    assert f"Line {heavy} didn't jump to line {heavy + 1}" in html.replace("&#8217;", "'").replace(
        "\u2019", "'"
    )
    missed = re.findall(r'<p class="mis[^"]*"><span class="n"><a[^>]*>(\d+)<', html)
    assert missed == [str(heavy + 1)]
    with bp.Machine("variables.bpf.o") as m:  # the other way, too
        seen = m.coverage
        m.current = m.task(30, "thirty")
        m.fire("sched_switch", False, m.task(1), m.task(1))
        seen.save(data)
        data.write()
    reporter = coverage.Coverage()
    reporter.load()
    assert reporter.report(file=report) > percent
