"""Netlink's bytes: attributes there and back, and messages of a kernel gone mad."""

from __future__ import annotations

import errno
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.kernel import network
from probee.sys import netlink
from probee.sys.netlink import NetlinkError, Route, attribute, attributes


class Peer:
    """In place of the socket: answers with these datagrams."""

    def __init__(self, *datagrams: bytes) -> None:
        self.waiting = list(datagrams)
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, address: object) -> None:
        self.sent.append(data)

    def recv(self, size: int) -> bytes:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nothing more")
        return self.waiting.pop(0)

    def close(self) -> None:
        pass


def route(*datagrams: bytes) -> tuple[Route, Peer]:
    made = Route.__new__(Route)
    peer = Peer(*datagrams)
    made._sequence = 0
    made._socket = peer  # type: ignore[assignment]
    return made, peer


def message(kind: int, body: bytes, *, flags: int = 0, sequence: int = 1) -> bytes:
    data = struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body
    return data.ljust(len(data) + 3 & ~3, b"\0")


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=6))
def test_attributes_come_back(facts: dict[int, bytes]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in facts.items())
    assert {kind: bytes(value) for kind, value in attributes(data).items()} == facts


@given(st.binary(max_size=200))
def test_garbage_for_attributes_is_an_os_error(data: bytes) -> None:
    with suppress(OSError):
        attributes(data)


def test_flags_of_an_attribute_are_no_part_of_its_kind() -> None:
    assert list(attributes(attribute(7 | netlink.NLA_F_NESTED, b"x"))) == [7]


@given(st.lists(st.binary(max_size=120), max_size=4))
def test_garbage_from_the_kernel_is_an_os_error(datagrams: list[bytes]) -> None:
    made, _ = route(*datagrams)
    with suppress(OSError):
        made.request(netlink.RTM_SETLINK, b"")


@given(st.binary(max_size=120), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_garbage_in_a_frame_is_an_os_error(body: bytes, kind: int, flags: int) -> None:
    made, _ = route(message(kind, body, flags=flags))
    with suppress(OSError):
        made.request(netlink.RTM_SETLINK, b"")


@given(st.binary(max_size=160))
def test_garbage_about_interfaces_is_a_refusal(body: bytes) -> None:
    made, _ = route(message(16, bytes(16) + body) + message(3, bytes(4)))
    with suppress(OSError):
        network.devices(made)


def test_a_dump_is_all_parts_of_it() -> None:
    made, peer = route(
        message(16, b"left", sequence=9),  # an answer to somebody who gave up
        message(16, b"one1", flags=2) + message(16, b"two2", flags=2),
        message(16, b"six6", flags=2) + message(3, bytes(4), flags=2),
    )
    assert made.dump(netlink.RTM_GETLINK, b"") == [b"one1", b"two2", b"six6"]
    assert len(peer.sent) == 1


def test_a_dump_that_was_interrupted_starts_again() -> None:
    torn = message(16, b"torn", flags=2 | 0x10) + message(3, bytes(4), flags=2)
    whole = message(16, b"done", flags=2, sequence=2) + message(3, bytes(4), flags=2, sequence=2)
    made, peer = route(torn, whole)
    assert made.dump(netlink.RTM_GETLINK, b"") == [b"done"]
    assert len(peer.sent) == 2


def test_the_kernels_own_words_are_kept() -> None:
    header = struct.pack("=IHHII", 20, 19, 5, 1, 0)
    words = attribute(1, b"Peer MTU is too large to set XDP\0")
    capped = struct.pack("=i", -errno.ERANGE) + header + words
    whole = struct.pack("=i", -errno.ERANGE) + header + b"body" + words
    for body, flags in ((capped, 0x300), (whole, 0x200)):
        made, _ = route(message(2, body, flags=flags))
        with pytest.raises(NetlinkError, match="Peer MTU") as caught:
            made.request(netlink.RTM_SETLINK, b"body")
        assert caught.value.errno == errno.ERANGE
        assert caught.value.explained == "Peer MTU is too large to set XDP"


def test_an_error_without_words_has_the_numbers_name() -> None:
    made, _ = route(message(2, struct.pack("=i", -errno.EBUSY) + bytes(16)))
    with pytest.raises(NetlinkError, match="busy") as caught:
        made.request(netlink.RTM_SETLINK, b"")
    assert not caught.value.explained


def test_error_zero_is_success() -> None:
    made, _ = route(message(2, bytes(20)))
    assert made.request(netlink.RTM_SETLINK, b"") == []
