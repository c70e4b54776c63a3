"""The tools, each one short file: its kernel programs on top, what people see of them below.

A tool has a docstring (its manual: one line, a description, `Examples:`), and `main(argv) -> exit code`.
"""

from __future__ import annotations

# One line each, so that `probee tools` and `probee --help` need not import them.
TOOLS = {
    "execsnoop": "every program executed, with its arguments and parent",
    "opensnoop": "every file opened, by whom, and how it ended",
    "runqlat": "how long threads wait for a CPU, as a histogram",
    "biolatency": "how long block I/O takes, as a histogram",
    "syscount": "which system calls are made, how often, how long they take",
    "tcpstates": "TCP connections as they change state, and the time spent in each",
}
