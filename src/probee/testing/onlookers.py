"""What looks on at the machines of a test run: the debugger and coverage."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .. import machine_target
from ..debug import launch, terminal
from ..debug.coverage import Coverage, save
from ..errors import ProbeeError


class Onlookers:
    """A plugin of the options --bpf-cov, --bpf-debug and --bpf-trace."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.coverage = Coverage() if config.getoption("--bpf-cov") else None
        self.debug = bool(config.getoption("--bpf-debug") or config.getoption("--bpf-trace"))
        self.trace = bool(config.getoption("--bpf-trace"))
        self.machines: list[Any] = []
        self.said = ""
        terminal.taken = self._terminal
        terminal.script[:] = config.getoption("--bpf-command")
        machine_target.on_machine.append(self.look)
        if self.debug:
            machine_target.build = "slots"

    def look(self, machine: Any) -> None:
        """A machine was made."""
        if self.coverage is not None:
            self.coverage.watch(machine)
        if self.debug:
            self.machines.append(machine)
            debugger = launch.attach(machine)
            if self.trace:
                debugger.pause()

    @contextmanager
    def _terminal(self) -> Iterator[None]:
        capture = self.config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend(in_=True)
        try:
            yield
        finally:
            if capture is not None:
                capture.resume()

    def pytest_runtest_setup(self) -> None:
        self.machines.clear()

    def pytest_exception_interact(self, call: pytest.CallInfo[None]) -> None:
        """A test failed: look at what its programs did, the last machine first."""
        problem = call.excinfo.value if call.excinfo is not None else None
        ran = [m for m in self.machines if m.debugger.timeline.moments]
        if not self.debug or problem is None or not ran or isinstance(problem, launch.Quit):
            return
        first = (str(problem).splitlines() or [""])[0]
        try:
            ran[-1].debugger.post_mortem(f"{type(problem).__name__}: {first}; `back` goes back from here")
        except launch.Quit:
            pytest.exit("left the debugger")

    def pytest_sessionfinish(self) -> None:
        machine_target.on_machine.remove(self.look)
        machine_target.build = ""
        terminal.script.clear()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        done = yield
        if self.coverage is not None:
            self._save(self.coverage)
        return done

    def _save(self, seen: Coverage) -> None:
        """Inside of pytest-cov's own wrapper, which takes the data away at the end of the loop."""
        try:
            from coverage import Coverage as Running

            current = Running.current()
        except ImportError:
            current = None
        only = None
        if current is not None:  # what --cov was asked to measure
            only = [f for f in seen.files if measured(current, f)]
        try:
            added = save(seen, current, only=only)
            self.said = f"BPF coverage of {len(added)} files" + ("" if current else " in .coverage")
        except ProbeeError as error:
            self.said = str(error)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.coverage is not None:
            terminalreporter.section("BPF coverage")
            for line in self.coverage.report().splitlines() or ["no program ran in a machine"]:
                terminalreporter.line(line)
            terminalreporter.line(self.said)


def measured(current: Any, file: str) -> bool:
    """Whether a running coverage measures a file: it has seen it, or (C) has the plugin for it."""
    if file.endswith(".py"):
        return file in current.get_data().measured_files()
    plugins = current.get_option("run:plugins") or []
    return "probee.debug.coverage_plugin" in plugins and os.path.exists(file)
