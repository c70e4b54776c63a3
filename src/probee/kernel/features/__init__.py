"""What the running kernel can do, found out by trying: `have("ringbuf")`, `require("tcx")`, `ask("fentry")`.

Versions decide nothing here; they are told to people. Conclusive answers are kept for the life of the
process. `table.FEATURES` is the list of what can be asked.
"""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import ObjectError, Unsupported
from probee.kernel.features.table import FEATURES, Feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FEATURES", "Answer", "Feature", "ask", "forget", "have", "require"]

OLD, CONFIG, POLICY, PRIVILEGE, UNKNOWN = "kernel", "config", "policy", "privilege", "unknown"
_DENIALS = (errno.EPERM, errno.EACCES)
_kernel: object = None
_answers: dict[str, Answer] = {}


class Answer:
    """Whether a feature is there. True in a boolean context if so.

    `reason` of a no: "kernel" (it does not know the feature), "config" (built or booted without it),
    "policy" (it knows it and refuses it to everyone here), "privilege" (this process may not ask),
    "unknown" (the probe met something else). `detail` is text for people.
    """

    __slots__ = ("detail", "reason", "yes")

    def __init__(self, yes: bool, reason: str = "", detail: str = "") -> None:
        self.yes = yes
        self.reason = reason
        self.detail = detail

    def __bool__(self) -> bool:
        return self.yes

    def __repr__(self) -> str:
        return f"Answer({self.yes}, {self.reason!r}, {self.detail!r})"

    @property
    def conclusive(self) -> bool:
        """Whether asking again would give the same answer."""
        return self.reason not in (PRIVILEGE, UNKNOWN)


def have(name: str) -> bool:
    """Whether the running kernel has the feature `name` (a key of `FEATURES`) and lets us use it."""
    return ask(name).yes


def ask(name: str) -> Answer:
    """The same with the reason. Raises `KeyError` for a name that is not in the table."""
    global _kernel
    kernel = kernel_calls.kernel()
    if kernel is not _kernel:  # a test's fake: another kernel, other answers
        _kernel = kernel
        _answers.clear()
    found = _answers.get(name)
    if found is None:
        found = _try(FEATURES[name])
        if found.conclusive:
            _answers[name] = found
    return found


def require(name: str, what: str = "") -> None:
    """Raise `Unsupported` if the feature is missing. `what` is what needs it, the start of the message."""
    answer = ask(name)
    if not answer:
        raise missing(name, answer, what)


def missing(name: str, answer: Answer | None = None, what: str = "") -> Unsupported:
    """The error for a feature that is not there."""
    feature = FEATURES[name]
    answer = answer or ask(name)
    why = answer.detail or f"it came with Linux {feature.since}; this is {os.uname().release}"
    text = f"{what} needs {feature.what}" if what else f"this kernel has no {feature.what}"
    return Unsupported(f"{text}: {why}", feature=name, since=feature.since)


def forget() -> None:
    """Ask the kernel again from now on."""
    _answers.clear()


def _try(feature: Feature) -> Answer:
    area = __import__(f"probee.kernel.features.{feature.area}", fromlist=["PROBES"])
    answer = answer_of(area.PROBES[feature.name])
    return answer if answer or answer.reason else _explained(feature)


def answer_of(probe: Callable[[], bool | Answer]) -> Answer:
    """Run a probe; what it raises becomes a no with a reason."""
    try:
        result = probe()
    except OSError as error:
        return _refused() if error.errno in _DENIALS else _failed(error)
    except (Unsupported, ObjectError) as error:  # the kernel has no BTF of its own, or a broken one
        return Answer(False, CONFIG, str(error))
    return result if isinstance(result, Answer) else Answer(bool(result))


def _explained(feature: Feature) -> Answer:
    """A plain no: is the feature older than this kernel, or was it left out?"""
    if feature.config:
        from probee.kernel.features.system import config

        options = config()
        if options is not None:
            off = [name for name in feature.config if not options.get(name)]
            if off:
                verb = "is" if len(off) == 1 else "are"
                return Answer(False, CONFIG, f"{' and '.join(off)} {verb} not set in this kernel")
    return Answer(False, OLD)


def _refused() -> Answer:
    from probee.sys import caps

    lacks = caps.missing(caps.CAP_BPF, caps.CAP_PERFMON, caps.CAP_NET_ADMIN)
    if lacks:
        return Answer(False, PRIVILEGE, f"asking needs {' and '.join(lacks)}")
    return Answer(False, POLICY, caps.obstacle())


def _failed(error: OSError) -> Answer:
    return Answer(False, UNKNOWN, f"the kernel answered {os.strerror(error.errno or 0)}")
