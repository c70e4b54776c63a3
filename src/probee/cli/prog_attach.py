"""`probee prog pin|attach|detach`: programs that are loaded already."""

from __future__ import annotations

import errno

from .. import sys as kernel_calls
from ..errors import AttachError, ProbeeError
from ..isa.tables import ATTACH_TYPES
from ..sys import caps
from . import seek
from .grammar import Words
from .output import Output
from .pins import pin_at

# What bpftool attaches without a link, and the older words for it.
_HOOKS = (
    "sk_msg_verdict",
    "sk_skb_verdict",
    "sk_skb_stream_verdict",
    "sk_skb_stream_parser",
    "flow_dissector",
)
_OLD = {
    "msg_verdict": "sk_msg_verdict",
    "skb_verdict": "sk_skb_verdict",
    "stream_verdict": "sk_skb_stream_verdict",
    "stream_parser": "sk_skb_stream_parser",
}


def pin(words: Words, output: Output) -> int:
    with seek.program(words) as handle:
        path = words.next("PATH")
        words.end()
        pin_at(handle.fd, path, "the program", output)
    output.done()
    return 0


def attach(words: Words, output: Output) -> int:
    return _do(words, output, attach=True)


def detach(words: Words, output: Output) -> int:
    return _do(words, output, attach=False)


def _do(words: Words, output: Output, *, attach: bool) -> int:
    with seek.program(words) as program:
        hook = words.one_of(*_HOOKS, *_OLD)
        hook = _OLD.get(hook, hook)
        number = ATTACH_TYPES[hook][0]
        target = None
        try:
            if hook != "flow_dissector":
                target = seek.map_(words)
            words.end()
            kernel = kernel_calls.kernel()
            call = kernel.prog_attach if attach else kernel.prog_detach
            try:
                call(target.fd if target else 0, program.fd, number)
            except OSError as error:
                raise _refused(error, hook, attach) from error
        finally:
            if target is not None:
                target.close()
    output.done()
    return 0


def _refused(error: OSError, hook: str, attach: bool) -> ProbeeError:
    number = error.errno or 0
    doing = f"{'attaching' if attach else 'detaching'} {hook}"
    if number in (errno.EPERM, errno.EACCES):
        return caps.denied(doing, caps.CAP_BPF, caps.CAP_NET_ADMIN, error=number)
    reason = {
        errno.EINVAL: "the program is of another kind, or the map is no sockmap",
        errno.EEXIST: "one is attached there already",
        errno.EBUSY: "one is attached there already",
        errno.ENOENT: "that program is not attached there",
    }.get(number, error.strerror)
    return AttachError(f"{doing} failed: {reason}", hook=hook, errno=number)
