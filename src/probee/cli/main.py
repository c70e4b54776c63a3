"""Where `probee` starts: finds the command, imports only what that command needs, turns errors into messages.

`probee TOOL` and `probee run` are on the way to an attached program, so they come without argparse.
"""

from __future__ import annotations

import os
import sys

from ..errors import ProbeeError
from ..tools import TOOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..session import Session

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
SIGTERM = 15


def main(argv: list[str] | None = None) -> int:
    """Run the command line. The exit code: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] in ("-v", "--verbose"):
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
    except BrokenPipeError:  # `probee execsnoop | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit does not fail as well
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as problem:
        from .report import users

        if not users(problem):
            raise
        return 1


def _command(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in TOOLS:
        _prepare()
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
    if name == "disasm":
        from .disasm import main as disasm

        return disasm(argv[1:])
    if name == "demo":
        _prepare()
        from .demo import main as demo

        return demo(argv[1:])
    from .usage import main as usage

    return usage(argv)


def _prepare() -> None:
    """SIGTERM ends a session as Ctrl-C does, so that `timeout 5 probee runqlat` prints. Report losses."""
    import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which takes 5 ms

    from .. import session

    _signal.signal(SIGTERM, _signal.default_int_handler)
    session.on_close.append(_when_closed)


def _when_closed(session: Session) -> None:
    if session.dropped:
        from .report import drops

        drops(session)
