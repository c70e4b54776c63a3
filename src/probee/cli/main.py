"""Where `probee` starts: finds the command, imports only what that command needs, turns errors into messages.

`probee TOOL` and `probee run` are on the way to an attached program, so they come without argparse.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from time import monotonic

from ..errors import ProbeeError
from ..tools import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

    from ..session import Session

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
SIGINT, SIGTERM = 2, 15
ONE_MOMENT = 0.5  # seconds


def main(argv: list[str] | None = None) -> int:
    """Run the command line. The exit code: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    _check_streams()
    try:
        try:
            while argv and argv[0] in ("-v", "--verbose"):
                from . import report

                report.verbose = True
                argv = argv[1:]
            code = _command(argv)
            sys.stdout.flush()
            return code
        except ProbeeError as problem:
            from .report import error

            error(problem)
            return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as problem:
        from .report import output_failed, users

        if isinstance(problem, OSError) and (failed := output_failed(problem)) is not None:
            return failed
        if not users(problem):
            raise
        return 1


def _check_streams() -> None:
    """See to it that printing works: streams closed by the caller lead nowhere, and where the locale's
    encoding lacks a character its escape is printed.
    """
    out = sys.stdout
    if out is None or sys.stderr is None or sys.stdin is None:
        from .report import reopen

        reopen()
    elif isinstance(out, TextIOWrapper) and (out.errors == "strict" or out.encoding.lower() != "utf-8"):
        out.reconfigure(errors="backslashreplace")


def _command(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in TOOLS:
        _prepare()
        one_interrupt()
        tool = __import__(f"probee.tools.{name}", fromlist=["main"])
        code: int = tool.main(argv[1:])
        return code
    if name == "run":
        _prepare()
        from .run import main as run

        return run(argv[1:])
    if name == "build":
        from .build import main as build

        return build(argv[1:])
    if name == "stubs":
        from .stubs import main as stubs

        return stubs(argv[1:])
    if name == "disasm":
        from .disasm import main as disasm

        return disasm(argv[1:])
    if name == "conformance-plugin":
        from .conformance import main as conformance

        return conformance(argv[1:])
    if name in ("record", "replay"):
        module = __import__(f"probee.cli.{name}", fromlist=["main"])
        done: int = module.main(argv[1:])
        return done
    if name == "verify":
        from .verify import main as verify

        return verify(argv[1:])
    if name == "explain":
        from .explain import main as explain

        return explain(argv[1:])
    if name == "verify-cases":
        from .verify_cases import main as verify_cases

        return verify_cases(argv[1:])
    if name == "debug":
        _prepare()
        from .debug import main as debug

        return debug(argv[1:])
    if name == "demo":
        _prepare()
        one_interrupt()
        from .demo import main as demo

        return demo(argv[1:])
    from .nouns import find

    noun = find(argv)
    if noun is not None:
        return noun(argv)
    from .usage import main as usage

    return usage(argv)


def _prepare() -> None:
    """SIGTERM ends a session as Ctrl-C does, so that `timeout 5 probee runqlat` prints. Report losses."""
    import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which takes 5 ms

    from .. import session

    _signal.signal(SIGTERM, _signal.default_int_handler)
    session.on_close.append(_when_closed)


def one_interrupt() -> None:
    """Take the signals of one Ctrl-C as one: `timeout` and shells may send it twice within a moment, and the
    second would end the printing of results that the first began.
    """
    import _signal

    last = 0.0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, monotonic()
        if last - before > ONE_MOMENT:
            raise KeyboardInterrupt

    for number in (SIGINT, SIGTERM):
        if callable(_signal.getsignal(number)):
            _signal.signal(number, interrupt)


def _when_closed(session: Session) -> None:
    if session.dropped:
        from .report import drops

        drops(session)
