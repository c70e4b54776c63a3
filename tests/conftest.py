"""Laws that hold for every test: no descriptor leaks, no program stays loaded, no pin stays behind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from matrix.results import Recorder

IN_GUEST = "PROBEE_MATRIX" in os.environ

# Tests are not timed. A build that fails must fail again: there, property tests try the same cases each time.
# Emulated machines are slow, and what is tried there is the kernel.
settings.register_profile(
    "probee",
    deadline=None,
    derandomize="CI" in os.environ or IN_GUEST,
    max_examples=10 if IN_GUEST else 100,
    suppress_health_check=[HealthCheck.too_slow] if IN_GUEST else [],
)
settings.load_profile("probee")

REPO = Path(__file__).resolve().parent.parent


def _kernel_descriptors() -> dict[int, str]:
    """Open descriptors of kernel objects (BPF objects, perf events, epoll): number -> what it is."""
    out = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(("anon_inode:", "/sys/kernel/tracing")):
            out[int(name)] = target
    return out


@pytest.fixture(autouse=True)
def no_leaked_descriptor() -> Iterator[None]:
    before = _kernel_descriptors()
    yield
    leaked = {fd: what for fd, what in _kernel_descriptors().items() if before.get(fd) != what}
    for fd in leaked:
        os.close(fd)
    assert not leaked, f"the test left kernel descriptors open: {leaked}"


def _pins() -> set[str]:
    root = Path("/sys/fs/bpf")
    try:
        return {str(p) for p in root.rglob("*")}
    except OSError:
        return set()


@pytest.fixture(scope="session", autouse=True)
def no_leaked_pin() -> Iterator[None]:
    before = _pins()
    yield
    left = _pins() - before
    assert not left, f"the test run left pins behind: {sorted(left)}"


def _cannot_load() -> str:
    """Why programs can't be loaded into this kernel, "" if they can."""
    if not os.path.exists("/proc/sys/kernel/unprivileged_bpf_disabled"):
        return "this kernel has no BPF (no /proc/sys/kernel/unprivileged_bpf_disabled)"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            missing = [n for n, bit in (("CAP_BPF", 39), ("CAP_PERFMON", 38)) if not mask >> bit & 1]
            if missing and not mask >> 21 & 1:
                return f"needs {' and '.join(missing)} (run as root)"
    return ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", metavar="FILE", help="append what became of each test, as lines of JSON")
    parser.addoption("--without", metavar="FILE", help="leave out the tests that this file names, one a line")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--results")
    if path:
        config.pluginmanager.register(_Results(Path(path)))


class _Results:
    """Hands what pytest reports to a Recorder."""

    def __init__(self, path: Path) -> None:
        self.recorder = Recorder(path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.recorder.start(report.nodeid)
            self.recorder.phase(report.nodeid, "failed", f"not collected: {_crash(report)}")
            self.recorder.finish(report.nodeid)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.recorder.collected([item.nodeid for item in session.items])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.recorder.start(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reason = ""
        if report.skipped:
            reason = _why(report)
        elif report.failed:
            reason = _crash(report)
        self.recorder.phase(report.nodeid, report.outcome, reason)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.recorder.finish(nodeid)


def _crash(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The line of a failure that says most."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message.strip().splitlines() if crash else report.longreprtext.strip().splitlines()[::-1]
    return text[0] if text else "no reason given"


def _why(report: pytest.TestReport) -> str:
    """The reason of a skip."""
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and len(_why(report).split()) < 3:
        report.outcome = "failed"
        report.longrepr = f"a skip has to say what is missing, not just {_why(report)!r}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--without"):
        names = set(Path(config.getoption("--without")).read_text().splitlines())
        items[:] = [item for item in items if item.nodeid not in names]
    reason = _cannot_load()
    if not reason:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests were skipped, and why: in the words of their authors."""
    reasons = Counter(_why(report) for report in terminalreporter.getreports("skipped"))
    if not reasons:
        return
    terminalreporter.section(f"{reasons.total()} skipped")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:4}  {reason}")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests neither read nor fill the user's cache."""
    path = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PROBEE_CACHE")
    os.environ["PROBEE_CACHE"] = str(path)
    yield path
    if before is None:
        del os.environ["PROBEE_CACHE"]
    else:
        os.environ["PROBEE_CACHE"] = before


def shared_data(name: str) -> Path:
    """A file of ../shared/data; skips the test where that folder is absent."""
    path = REPO.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is absent")
    return path
