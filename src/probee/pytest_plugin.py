"""The pytest plugin `probee`: tests of BPF programs in the machine and in the kernel.

Fixtures: `machine` and `kernel` (the programs of the test's module in a `bp.Machine`, or attached to the
running kernel), `bpf` (one of both: see the marker `bpf_both`), `bpf_snapshot` (instruction counts).
`docs/testing.md` tells more.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from .testing.sizes import Snapshots
    from .testing.targets import Target

_SNAPSHOTS = pytest.StashKey[dict[Any, "Snapshots"]]()
_RESULTS = pytest.StashKey[dict[Any, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("probee", "BPF programs (probee)")
    group.addoption(
        "--bpf-update", action="store_true", help="note the sizes of programs anew for bpf_snapshot"
    )
    group.addoption(
        "--bpf-cov",
        action="store_true",
        help="coverage of BPF programs in the machine, added to that of --cov, or written to .coverage",
    )
    group.addoption(
        "--bpf-debug", action="store_true", help="a test that fails opens the debugger on its BPF programs"
    )
    group.addoption(
        "--bpf-trace", action="store_true", help="stop in the debugger at the first BPF instruction of a test"
    )
    group.addoption(
        "--bpf-command",
        action="append",
        default=[],
        metavar="COMMANDS",
        help="what the debugger does first, with `;` between commands",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "bpf(*what, **options): the programs of `machine`, `kernel` and `bpf` (what bp.attach takes), and "
        "options of bp.Machine",
        "bpf_both: run the test in the machine and in the kernel, and compare what it returns",
    ):
        config.addinivalue_line("markers", line)
    config.stash[_SNAPSHOTS] = {}
    config.stash[_RESULTS] = {}
    debugs = config.getoption("--bpf-debug") or config.getoption("--bpf-trace")
    if debugs or config.getoption("--bpf-cov"):
        from .testing.onlookers import Onlookers

        config.pluginmanager.register(Onlookers(config), "probee-onlookers")
    elif config.pluginmanager.hasplugin("capturemanager"):
        from .debug import terminal

        terminal.taken = lambda: _uncaptured(config)


@contextmanager
def _uncaptured(config: pytest.Config) -> Iterator[None]:
    """The terminal, for `machine.debug()` in a test."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    capture.suspend(in_=True)
    try:
        yield
    finally:
        capture.resume()


def _programs(request: pytest.FixtureRequest | pytest.Item) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The programs that a test is about, and options for its machine."""
    from .testing.targets import find_programs

    node: Any = getattr(request, "node", request)
    what: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("bpf"))):  # the closest one last
        what = marker.args or what
        options.update(marker.kwargs)
    if unknown := [name for name in options if name not in _options()]:
        pytest.fail(
            f"@pytest.mark.bpf has no option {unknown[0]!r}; a machine takes {', '.join(_options())}",
            pytrace=False,
        )
    if not what:
        what = tuple(find_programs(vars(node.module)))
    if not what:
        pytest.fail(
            f"{node.module.__name__} has no BPF programs: import them, or name them with "
            "@pytest.mark.bpf(program_or_module)",
            pytrace=False,
        )
    return what, options


def _options() -> list[str]:
    """The options of `bp.Machine`."""
    from inspect import Parameter, signature

    from .machine_target import Machine

    parameters = signature(Machine.__init__).parameters.values()
    return [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY and p.name[0] != "_"]


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A `bp.Machine` with the programs declared in the test's module or imported into it; if there are none,
    with those of the modules it imports. `@pytest.mark.bpf(…)` names others, and options of the machine.
    """
    from .testing.targets import in_machine

    with in_machine(*_programs(request)) as live:
        yield live


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The same programs attached to the running kernel: a `bp.Session`. Skips where that can't be, with the
    privilege or the feature that is missing.
    """
    from .testing.targets import NotHere, in_kernel

    try:
        with in_kernel(_programs(request)[0]) as live:
            yield live
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture
def bpf(request: pytest.FixtureRequest) -> Target:
    """Where the programs run: the machine, or with `@pytest.mark.bpf_both` first there, then in the
    kernel.
    """
    from .testing.targets import Target

    where = getattr(request, "param", "machine")
    return Target(where, request.getfixturevalue(where))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if next(metafunc.definition.iter_markers("bpf_both"), None) is None:
        return
    if "bpf" not in metafunc.fixturenames:
        pytest.fail(
            f"{metafunc.function.__name__} is marked bpf_both and must take the fixture `bpf`", pytrace=False
        )
    metafunc.parametrize("bpf", ["machine", "kernel"], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests in both places: in the kernel, compare with what the machine gave."""
    __tracebackhide__ = True
    if next(pyfuncitem.iter_markers("bpf_both"), None) is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    given: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}
    test: Callable[..., object] = pyfuncitem.obj
    result = test(**given)
    results = pyfuncitem.config.stash[_RESULTS]
    indices = {k: v for k, v in pyfuncitem.callspec.indices.items() if k != "bpf"}
    parent = pyfuncitem.parent
    key = (parent.nodeid if parent else "", pyfuncitem.originalname, tuple(sorted(indices.items())))
    if given["bpf"].where == "machine":
        results[key] = result
        return True
    if key not in results:  # deselected, or run by another process
        from .testing.targets import Target, in_machine

        with in_machine(*_programs(pyfuncitem)) as live:
            results[key] = test(**{**given, "bpf": Target("machine", live)})
    from .testing.asserts import differences

    found = differences(results[key], result)
    if found:
        lines = "\n  ".join(found)
        pytest.fail(f"the machine and the kernel differ:\n  {lines}", pytrace=False)
    return True


@pytest.fixture
def bpf_snapshot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Call it with a machine, a session or a program: fails if a program has more instructions than the file
    `bpf_sizes.json` beside the test says. `pytest --bpf-update` writes the file.
    """
    from .testing.sizes import FILE, Snapshots, sizes

    path = request.path.parent / FILE
    kept = request.config.stash[_SNAPSHOTS]
    if path not in kept:
        kept[path] = Snapshots(path, request.config.getoption("--bpf-update"))
    test = f"{request.path.name}::{request.node.nodeid.partition('::')[2]}"

    def check(of: Any) -> None:
        __tracebackhide__ = True
        kept[path].check(test, sizes(of))

    return check


def pytest_sessionfinish(session: pytest.Session) -> None:
    for snapshots in session.config.stash[_SNAPSHOTS].values():
        snapshots.save()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    smaller = [line for s in config.stash[_SNAPSHOTS].values() for line in s.smaller]
    if smaller:
        terminalreporter.section("BPF programs got smaller: pytest --bpf-update notes it")
        for line in smaller:
            terminalreporter.line(f"  {line}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    option = item.config.option
    if report.failed and call.excinfo is not None and option.tbstyle not in ("native", "no"):
        from .errors import ProbeeError

        told = isinstance(call.excinfo.value, (ProbeeError, AttributeError, TypeError, ValueError))
        if told and not option.fulltrace:
            from .testing.failures import patch

            patch(report, call.excinfo.value, (item.path, (item.location[1] or 0) + 1))
    return report
