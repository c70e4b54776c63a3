"""`probee prog tracelog`: what programs print, live, or the streams of one program."""

from __future__ import annotations

import sys
from select import POLLIN, poll

from ..errors import Unsupported
from ..sys import kernel
from ..tools._common import visible
from ..tracepipe import TracePipe
from . import seek
from .grammar import Words
from .main import one_interrupt
from .output import Output

_STREAMS = {"stdout": 1, "stderr": 2}
_MISSING = (22, 95, 524)


def tracelog(words: Words, output: Output) -> int:
    """Lines of bpf_trace_printk of all programs until Ctrl-C; `tracelog stderr PROG` is what a program has
    printed so far."""
    if words:
        stream = words.one_of(*_STREAMS)
        with seek.program(words) as handle:
            words.end()
            return _stream(handle, stream, output)
    one_interrupt()
    with TracePipe() as pipe:
        waiting = poll()
        waiting.register(pipe.fileno(), POLLIN)
        waiting.register(1, 0)  # a reader that goes away ends it
        while True:
            for line in pipe.whole_lines():
                if output.json:
                    output.emit(line)
                else:
                    print(visible(line))
            sys.stdout.flush()
            if any(fd == 1 for fd, _ in waiting.poll()):
                return 0


def _stream(handle: seek.Handle, stream: str, output: Output) -> int:
    chunks = []
    try:
        while chunk := kernel().prog_stream_read(handle.fd, _STREAMS[stream]):
            chunks.append(chunk)
    except OSError as error:
        if error.errno in _MISSING:
            raise Unsupported(
                "this kernel's programs have no output streams (Linux 6.17)", feature="streams", since="6.17"
            ) from None
        raise
    text = b"".join(chunks).decode(errors="replace")
    if output.json:
        output.emit(text.splitlines())
    else:
        sys.stdout.write(text)
    return 0
