"""Every error probee raises on purpose: facts as attributes, and a message that names a next step.

What is not among them, and comes from inside probee, is a defect.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.explain import Explanation, Register


class ProbeeError(Exception):
    """Base of all probee errors."""


class CompileError(ProbeeError):
    """A program uses what the language does not have.

    `str()` is the whole report: place, message, source line with caret, advice.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        end_column: int = 0,
        source: str = "",
        advice: str = "",
    ) -> None:
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.end_column = end_column
        self.source = source
        self.advice = advice
        super().__init__(message)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column + 1}: " if self.file else ""
        out = [f"{place}{self.message}"]
        if self.source:
            text = self.source.rstrip("\n").expandtabs(1)
            width = max(1, min(self.end_column, len(text)) - self.column)
            out += [f"    {text}", "    " + " " * self.column + "^" * width]
        if self.advice:
            out.append(f"  {self.advice}")
        return "\n".join(out)


class ObjectError(ProbeeError, ValueError):
    """Bytes that are not what they should be: a broken or foreign ELF object, broken BTF."""


class LoadError(ProbeeError):
    """The kernel would not take a program, map or BTF. `errno` is the kernel's, 0 if it was not asked."""

    def __init__(self, message: str, *, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)


class VerifierError(LoadError):
    """The verifier refused a program.

    `log` is the whole log; `file`, `line`, `source` and `cause` say what `verifier.explain` found in it.
    `explanation` is all of it. `kind` is what it is about: "verifier", "core" (a relocation), "kfunc", "map",
    "license" or "btf"; `cause_id` names the cause, whatever the kernel's words are ("" if it is not a common
    one), `fix` says what to do, and `registers` are the states at the failing instruction, by `r0` … `r10`.
    """

    def __init__(
        self,
        message: str,
        *,
        errno: int,
        log: str,
        program: str,
        file: str = "",
        line: int = 0,
        source: str = "",
        cause: str = "",
        explanation: Explanation | None = None,
    ) -> None:
        self.log = log
        self.program = program
        self.file = file
        self.line = line
        self.source = source
        self.cause = cause
        self.explanation = explanation
        self.kind = explanation.kind if explanation else "verifier"
        self.cause_id = explanation.id if explanation else ""
        self.fix = explanation.fix if explanation else ""
        self.registers: dict[str, Register] = explanation.registers if explanation else {}
        super().__init__(message, errno=errno)


class PermissionDenied(LoadError, PermissionError):  # type: ignore[misc]  # errno: never None here
    """A capability or privilege is missing. `capability` names it (for example `CAP_BPF`).

    `reason` is "capability", or what refuses a process that has them all: "namespace", "token", "lockdown",
    "memlock", "seccomp", "policy".
    """

    def __init__(self, message: str, *, errno: int = 1, capability: str = "", reason: str = "") -> None:
        self.capability = capability
        self.reason = reason or ("capability" if capability else "policy")
        LoadError.__init__(self, message, errno=errno)
        self.errno = errno  # OSError's constructor, among the bases, has cleared it


class AttachError(ProbeeError):
    """A hook that could not be attached. `hook` is what was asked for, `errno` the kernel's answer or 0."""

    def __init__(self, message: str, *, hook: str = "", errno: int = 0) -> None:
        self.hook = hook
        self.errno = errno
        super().__init__(message)


class Unsupported(ProbeeError):
    """This kernel lacks a feature. `feature` names it, `since` is the Linux version that brought it."""

    def __init__(self, message: str, *, feature: str = "", since: str = "") -> None:
        self.feature = feature
        self.since = since
        super().__init__(message)


class MapError(ProbeeError):
    """A map operation failed (a missing key is a plain `KeyError`). `errno` is the kernel's answer."""

    def __init__(self, message: str, *, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)
