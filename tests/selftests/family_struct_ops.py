"""TCP's congestion control, written as classes."""

from __future__ import annotations

import socket

from selftest_ports import Live, Port

import probee as bp
from probee import u32, u64

out = bp.Array[u64](8)
ALPHA = 1 << 10


@bp.struct_ops("tcp_congestion_ops")
class Cubic:
    """Slow start, then the window grows by a cube root: the shape of CUBIC with whole numbers."""

    name = "probee_cubic"

    def init(self, sk):
        out[0] += 1

    def ssthresh(self, sk):
        return max(sk.snd_cwnd * 717 // 1024, 2)

    def undo_cwnd(self, sk):
        return max(sk.snd_cwnd, sk.prior_cwnd)

    def cong_avoid(self, sk, ack, acked):
        out[1] += 1
        window = u32(sk.snd_cwnd)
        if window < sk.snd_ssthresh:
            sk.snd_cwnd = min(window + acked, 64)
        else:
            root = 1
            while root * root * root < window and bp.bounded(32):
                root += 1
            sk.snd_cwnd = min(window + root, 64)
        out[2] = sk.snd_cwnd


@bp.struct_ops("tcp_congestion_ops")
class Dctcp:
    """A window cut by how much was marked, as data center TCP does."""

    name = "probee_dctcp"

    def ssthresh(self, sk):
        window = u32(sk.snd_cwnd)
        return max(window - ((window * ALPHA) >> 11), 2)

    def undo_cwnd(self, sk):
        return sk.snd_cwnd

    def cong_avoid(self, sk, ack, acked):
        out[3] += 1
        sk.snd_cwnd = 10

    def set_state(self, sk, state):
        out[4] = state + 1


def transfers(name: str, slot: int, least: int):
    """A check: data goes through a connection that the algorithm governs."""

    def check(live: Live, program: str) -> None:
        with socket.socket() as server, socket.socket() as client:
            for made in (server, client):
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
            accepted, _ = server.accept()
            with accepted:
                client.sendall(bytes(60_000))
                received = 0
                while received < 60_000:
                    received += len(accepted.recv(60_000))
        assert live.maps["out"][slot] >= least

    return check


class _Named:
    def __init__(self, name: str) -> None:
        self.name = name


PORTS = [
    Port("bpf_cubic.c", _Named("Cubic"), transfers("probee_cubic", 1, 1)),
    Port("bpf_cc_cubic.c/init", _Named("Cubic"), transfers("probee_cubic", 0, 1)),
    Port("bpf_dctcp.c", _Named("Dctcp"), transfers("probee_dctcp", 3, 1)),
]
