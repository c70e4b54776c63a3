"""What the command line says when something went wrong. Imported only then."""

from __future__ import annotations

import errno
import os
import select
import sys

from ..errors import ProbeeError, VerifierError
from ..session import import_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

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


def output_failed(problem: OSError) -> int | None:
    """The exit code if it is standard output that failed, None if it was something else.

    A reader that left has seen enough (`probee execsnoop | head`): that is no failure.
    """
    gone = select.poll()
    gone.register(1, 0)
    try:
        sys.stdout.flush()  # what could not be written is still there
    except OSError as again:
        number = again.errno
    else:
        number = problem.errno
        if number == errno.EPIPE:
            ours = bool(gone.poll(0))
        else:
            ours = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) and not problem.filename
            ours = ours and _in_users_file(problem) is None
        if not ours:
            return None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit does not fail as well
    if number == errno.EPIPE:
        return 0
    print(f"probee: can't write the output: {os.strerror(number or 0)}", file=sys.stderr)
    return 1


def reopen() -> None:
    """Let the standard streams that were closed lead nowhere: their descriptors would go to others, and what
    others print would land there.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def drops(session: Session) -> None:
    for name, count in session.drops.items():
        if count:
            text = f"probee: {count} records of {name} were lost: its buffer was full"
            print(text, file=sys.stderr)


def users(problem: Exception) -> bool:
    """Print an exception of the user's file as `python FILE` would, without our frames. False: it is ours."""
    trace = _in_users_file(problem)
    if trace is None:
        return False
    sys.stdout.flush()
    sys.excepthook(type(problem), problem.with_traceback(trace.tb_next), trace.tb_next)
    return True


def _in_users_file(problem: Exception) -> TracebackType | None:
    """The frame that runs the user's file, if the exception came through there."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != import_file.__name__:
        trace = trace.tb_next
    return trace
