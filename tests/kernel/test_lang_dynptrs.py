"""Dynptrs change packets and memory: the same in the kernel and in the machine."""

from __future__ import annotations

import struct

import pytest

import dynptr_programs as p
import lang_module
import probee as bp
from services_module import attached

PACKET = struct.pack("!6s6sH", b"\1" * 6, b"\2" * 6, 0x0800) + bytes(range(100))


def packet_calls(target):
    """Run a packet's program: its result, and the packet afterwards."""
    if target == "kernel":
        with bp.attach(p, cache=False) as session:
            yield lambda name, data: session.programs[name].test_run(data)[:2]
        return
    with bp.Machine(p, cache=False) as machine:

        def fire(name, data):
            result = machine.fire(name, data)[0]
            return result.retval, result.packet

        yield fire


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def packet(request):
    _probe(request.param)
    yield from packet_calls(request.param)


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def call(request):
    _probe(request.param)
    with attached(p, request.param) as call:
        yield call


def _probe(target):
    if target == "kernel" and lang_module.kernel_types().kfunc("bpf_dynptr_memset") is None:
        pytest.skip("this kernel has no function bpf_dynptr_memset (Linux 6.17)")


def swapped(data, at):
    return data[:at] + data[at + 4 : at + 8] + data[at : at + 4] + data[at + 8 :]


def test_a_packet_in_one_piece(packet):
    assert packet("in_tc", PACKET) == (0, swapped(PACKET, 20))
    assert packet("as_the_kernel_has_it", PACKET)[0] == len(PACKET)


def test_a_packet_in_pieces(packet):
    data = PACKET + bytes(i & 0xFF for i in range(6000))
    assert packet("in_xdp", data) == (2, swapped(data, 4090))
    assert packet("in_xdp", PACKET) == (1, PACKET)


def test_memory(call):
    assert call("memory", 0, 0, 0) == [-7, 1, 8, 802]
    one, two = (bytes(p.blocks[i].data) for i in range(2))
    assert one == bytes(4) + b"\7" * 8 + bytes(52)
    assert two == bytes(36) + b"\7" * 8 + bytes(20)
