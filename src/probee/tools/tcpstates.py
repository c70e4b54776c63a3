"""Print TCP connections as they change state, with the time spent in the state before.

Each line is one change of one socket: opening (CLOSE, SYN_SENT, ESTABLISHED), closing (FIN_WAIT1, FIN_WAIT2,
LAST_ACK, CLOSE), listening. Many changes are made by an arriving packet while some other process runs, so
PID and COMM name the socket's owner only for what the owner did itself: connecting, listening, closing.

Examples:
  probee tcpstates                    all, until Ctrl-C
  probee tcpstates --remote-port 443  connections to HTTPS servers
  probee tcpstates --local-port 22 -d 60
  probee tcpstates --json | jq 'select(.new == "SYN_SENT")'

  TIME             PID COMM         LOCAL              REMOTE             OLD         NEW                MS
  14:21:07.850   93314 curl         10.0.0.5:0         192.0.2.7:443      CLOSE       SYN_SENT
  14:21:07.872       0 swapper/0    10.0.0.5:51004     192.0.2.7:443      SYN_SENT    ESTABLISHED    22.161
"""

from __future__ import annotations

import sys

import probee as bp
from probee import Annotated, u8, u16, u32, u64
from probee.tools._common import DURATION, JSON, Option, Rows, parse, positive, stream

STATES = (
    "?",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)  # include/net/tcp_states.h, from 1
CLOSE = 7
IPPROTO_TCP = 6


class Change(bp.Struct):
    time_ns: u64
    since_ns: u64  # when the old state began; 0 if that was before we looked
    pid: u32
    old: u16
    new: u16
    family: u16
    local_port: u16
    remote_port: u16
    comm: Annotated[str, 16]
    local: Annotated[list[u8], 16]  # IPv4 addresses as ::ffff:a.b.c.d
    remote: Annotated[list[u8], 16]


changes = bp.RingBuf[Change](256 * 1024)
began = bp.LruHash[u64, u64](65_536)  # when each socket entered its state
only_local = bp.Const[u16](0)
only_remote = bp.Const[u16](0)


@bp.tracepoint("sock:inet_sock_set_state")
def on_change(args):
    if args.protocol != IPPROTO_TCP:
        return
    if (only_local and args.sport != only_local) or (only_remote and args.dport != only_remote):
        return
    now = bp.ktime_get_ns()
    socket = u64(args.skaddr)
    with changes.reserve() as e:
        e.time_ns = now
        e.since_ns = began[socket]
        e.pid = bp.pid()
        e.old = args.oldstate
        e.new = args.newstate
        e.family = args.family
        e.local_port = args.sport
        e.remote_port = args.dport
        e.comm = bp.comm()
        e.local = args.saddr_v6
        e.remote = args.daddr_v6
    if args.newstate == CLOSE:
        del began[socket]
    else:
        began[socket] = now


def port(text: str) -> int:
    if (number := positive(text)) > 65535:
        raise ValueError(f"{text} is not a port")
    return number


def address(family: int, ip: bytes, number: int) -> str:
    from socket import AF_INET, AF_INET6, inet_ntop  # after the heading is out: it is slow to import

    if family == AF_INET:
        return f"{inet_ntop(AF_INET, ip[12:])}:{number}"
    return f"[{inet_ntop(AF_INET6, ip)}]:{number}"


OPTIONS = (
    Option("-l", "--local-port", convert=port, meta="PORT", help="only this port on our side"),
    Option("-r", "--remote-port", convert=port, meta="PORT", help="only this port on the other side"),
    DURATION,
    JSON,
)


def main(argv: list[str]) -> int:
    opts = parse("tcpstates", __doc__, OPTIONS, argv)
    only_local.value = opts.local_port or 0
    only_remote.value = opts.remote_port or 0
    layout = "{time:<12} {pid:>7} {comm:<16} {local:<22} {remote:<22} {old:<11} {new:<11} {ms:>9.3f}"
    with bp.attach(catch_interrupt=True) as session:
        rows = Rows(layout, json=opts.json)
        for e in stream(session, changes, opts.duration):
            rows.add(
                time_ns=e.time_ns,
                pid=e.pid,
                comm=e.comm,
                local=address(e.family, e.local, e.local_port),
                remote=address(e.family, e.remote, e.remote_port),
                old=STATES[e.old],
                new=STATES[e.new],
                ms=(e.time_ns - e.since_ns) / 1e6 if e.since_ns else None,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
