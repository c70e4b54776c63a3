"""`_` among the targets of an assignment that is never read takes anything, and as often as one likes."""

from __future__ import annotations

import probee as bp
from probee import u64
from probee.testing import assert_verdict

out = bp.Array[u64](3)


@bp.xdp
def port(packet):  # type: ignore[no-untyped-def]
    _, _, udp = packet.read(bp.Ethernet, bp.IPv4, bp.UDP, short=bp.XDP.PASS)
    _, second = 1, 2
    for _ in range(3):
        second += 1
    out[0] = second
    return bp.XDP.DROP if udp.dst_port == 53 else bp.XDP.PASS


@bp.raw_tracepoint("sys_enter")
def read(regs, number):  # type: ignore[no-untyped-def]
    _, more = 5, 6

    def inner():  # type: ignore[no-untyped-def]
        return _ + 1

    out[1] = u64(_)
    out[2] = u64(inner() + more)


def test_it_may_stand_for_values_of_several_types() -> None:
    with bp.Machine(port) as machine:
        packet = bytes(12) + b"\x08\x00" + bytes([0x45]) + bytes(19) + bytes([0, 9, 0, 53, 0, 8, 0, 0])
        assert_verdict(machine.xdp(packet), "DROP")
        assert out[0] == 5


def test_it_is_a_local_where_it_is_read() -> None:
    with bp.Machine(read) as machine:
        machine.fire(read)
        assert [out[1], out[2]] == [5, 12]
