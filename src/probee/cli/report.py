"""What the command line says when something went wrong. Imported only then."""

from __future__ import annotations

import sys

from ..errors import ProbeeError, VerifierError
from ..session import import_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..session import Session

verbose = False  # set by -v


def error(problem: ProbeeError) -> None:
    sys.stdout.flush()
    refused = isinstance(problem, VerifierError) and problem.log
    if refused and verbose:
        print(problem.log, file=sys.stderr)  # type: ignore[attr-defined]
    print(f"probee: {problem}", file=sys.stderr)
    if refused and not verbose:
        print("  (the verifier's whole log: probee -v …)", file=sys.stderr)


def drops(session: Session) -> None:
    for name, count in session.drops.items():
        if count:
            text = f"probee: {count} records of {name} were lost: its buffer was full"
            print(text, file=sys.stderr)


def users(problem: Exception) -> bool:
    """Print an exception of the user's file as `python FILE` would, without our frames. False: it is ours."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != import_file.__name__:
        trace = trace.tb_next
    if trace is None:
        return False
    sys.stdout.flush()
    sys.excepthook(type(problem), problem.with_traceback(trace.tb_next), trace.tb_next)
    return True
