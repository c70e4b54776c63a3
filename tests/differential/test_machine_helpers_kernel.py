"""The machine's helpers do as the kernel's: the same tc programs, run in both on the same packet."""

from __future__ import annotations

import errno

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine_asm import Asm, in_kernel, syscall
from probee.machine.helpers.strings import parse
from probee.sys import kernel

pytestmark = pytest.mark.root

# An Ethernet frame with an IPv4 header and some bytes of UDP behind it.
FRAME = bytes(range(12)) + bytes.fromhex(
    "0800 4500002e 00010000 4011 b861 c0a80001 c0a800c7 0035 1388 001a 0000"
)
FRAME += bytes(range(60, 60 + 64 - len(FRAME)))

PREAMBLE = "r6 = r1\n"
STACK = """
    r6 = r1
    *(u64 *)(r10 - 8) = 0
    *(u64 *)(r10 - 16) = 0
    *(u64 *)(r10 - 24) = 0
    *(u64 *)(r10 - 32) = 0
"""


def text_on_stack(text: bytes, at: int) -> str:
    """Instructions that put text, padded with zeros to words of 8, at r10 + at."""
    padded = text + bytes(-len(text) % 8)
    lines = []
    for i in range(0, len(padded), 8):
        lines.append(f"r1 = {int.from_bytes(padded[i : i + 8], 'little'):#x} ll")
        lines.append(f"*(u64 *)(r10 {'-' if at + i < 0 else '+'} {abs(at + i)}) = r1")
    return "\n".join(lines) + "\n"


STORE_RESULT = """
    r7 = r0
    r1 = r6
    r2 = 14
    r3 = r10
    r3 += -32
    r4 = 32
    r5 = 0
    call skb_store_bytes
    r0 = r7
    exit
"""


def call(helper: str, *args: int | str) -> str:
    lines = [f"r{i} = {arg}" for i, arg in enumerate(args, 1)]
    return "\n".join([*lines, f"call {helper}"]) + "\n"


def stack(offset: int, register: int) -> str:
    return f"r{register} = r10\nr{register} += {offset}\n"


def same(text: str, data: bytes = FRAME) -> tuple[int, bytes]:
    """Run in both; the result of both, which is the same."""
    theirs = in_kernel(text, data)
    machine = Asm()
    context = machine.packet(data)
    r0 = machine.run(text, context=context)
    low = r0 & 0xFFFFFFFF
    ours = (low - (1 << 32) if low >> 31 else low), context.packet.payload
    assert ours == theirs
    return ours


@pytest.mark.parametrize(
    ("helper", "args"),
    [
        ("skb_change_tail", (100, 0)),
        ("skb_change_tail", (40, 0)),
        ("skb_change_tail", (4, 0)),
        ("skb_change_tail", (60, 1)),
        ("skb_change_head", (16, 0)),
        ("skb_change_head", (16, 1)),
        ("skb_pull_data", (30,)),
        ("skb_pull_data", (4000,)),
        ("skb_change_proto", (0xDD86, 0)),
        ("skb_change_proto", (0xDD86, 1)),
        ("skb_change_proto", (0x1234, 0)),
        ("skb_adjust_room", (8, 0, 0)),
        ("skb_adjust_room", (8, 1, 0)),
        ("skb_adjust_room", (-8, 0, 0)),
        ("skb_adjust_room", (-60, 0, 0)),
        ("skb_adjust_room", (5000, 0, 0)),
        ("skb_adjust_room", (8, 2, 0)),
        ("skb_change_type", (3,)),
        ("skb_change_type", (9,)),
        ("l3_csum_replace", (24, 0x1234, 0x4321, 2)),
        ("l3_csum_replace", (24, 0x12345678, 0x87654321, 4)),
        ("l3_csum_replace", (24, 0, 0x1234, 0)),
        ("l3_csum_replace", (24, 1, 0x1234, 0)),
        ("l3_csum_replace", (24, 1, 0x1234, 3)),
        ("l3_csum_replace", (25, 1, 0x1234, 2)),
        ("l3_csum_replace", (2400, 1, 0x1234, 2)),
        ("l3_csum_replace", (24, 1, 2, 0x12)),
        ("l4_csum_replace", (40, 0x1234, 0x4321, 2)),
        ("l4_csum_replace", (40, 0x1234, 0x4321, 0x22)),
        ("l4_csum_replace", (40, 0x1234, 0x4321, 0x62)),
        ("l4_csum_replace", (24, 0x1234, 0x4321, 0x12)),
        ("l4_csum_replace", (24, 1, 2, 0x102)),
        ("set_hash_invalid", ()),
        ("skb_ecn_set_ce", ()),
        ("skb_vlan_pop", ()),
        ("csum_update", (5,)),
        ("csum_level", (0,)),
        ("csum_level", (1,)),
        ("csum_level", (3,)),
        ("csum_level", (4,)),
        ("skb_set_tstamp", (5, 0)),
    ],
)
def test_a_helper_on_a_packet(helper: str, args: tuple[int, ...]) -> None:
    lines = "".join(f"r{i} = {arg}\n" for i, arg in enumerate(args, 2))
    same(f"{lines}call {helper}\nexit\n")


def test_ecn_is_set_where_the_sender_knows_it() -> None:
    frame = bytearray(FRAME)
    frame[15] = 2
    result, packet = same("call skb_ecn_set_ce\nexit\n", bytes(frame))
    assert result == 1
    assert packet[15] == 3


@pytest.mark.parametrize(("offset", "size"), [(0, 16), (48, 16), (49, 16), (0xFFFFFFFF, 4), (64, 8)])
def test_load_bytes(offset: int, size: int) -> None:
    same(
        STACK
        + stack(-32, 3)
        + f"r1 = r6\nr2 = {offset:#x} ll\nr4 = {size}\ncall skb_load_bytes\n"
        + STORE_RESULT
    )


@pytest.mark.parametrize(("offset", "start"), [(0, 0), (0, 1), (40, 1), (45, 1), (0, 2)])
def test_load_bytes_relative(offset: int, start: int) -> None:
    same(
        STACK
        + stack(-32, 3)
        + f"r1 = r6\nr2 = {offset}\nr4 = 10\nr5 = {start}\ncall skb_load_bytes_relative\n"
        + STORE_RESULT
    )


@pytest.mark.parametrize(("offset", "flags"), [(20, 0), (60, 0), (61, 0), (20, 1), (20, 2), (20, 4), (20, 3)])
def test_store_bytes(offset: int, flags: int) -> None:
    same(
        STACK
        + text_on_stack(b"wxyz", -8)
        + stack(-8, 3)
        + f"r1 = r6\nr2 = {offset}\nr4 = 4\nr5 = {flags}\ncall skb_store_bytes\nexit\n"
    )


@given(
    old=st.binary(max_size=8).map(lambda raw: raw[: len(raw) // 4 * 4]),
    new=st.binary(max_size=8).map(lambda raw: raw[: len(raw) // 4 * 4]),
    seed=st.sampled_from((0, 1, 0xFFFF, 0xFFFFFFFF, 0x80001234)),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_checksum_difference(old: bytes, new: bytes, seed: int) -> None:
    same(
        STACK
        + (text_on_stack(old, -8) if old else "")
        + (text_on_stack(new, -16) if new else "")
        + (stack(-8, 1) if old else "r1 = 0\n")
        + f"r2 = {len(old)}\n"
        + (stack(-16, 3) if new else "r3 = 0\n")
        + f"r4 = {len(new)}\nr5 = {seed:#x} ll\ncall csum_diff\nexit\n"
    )


NUMBERS = [
    b"0",
    b"12",
    b" -7x",
    b"0x1f",
    b"077",
    b"-",
    b"",
    b"99999999999999999999",
    b"+5",
    b"0x",
    b"0xg",
    b"08",
]
NUMBERS += [b"18446744073709551615", b"-9223372036854775808", b"9223372036854775808", b"\t42\n"]


@pytest.mark.parametrize("helper", ["strtol", "strtoul"])
@pytest.mark.parametrize("flags", [0, 8, 10, 16, 7, 42])
@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_from_text(helper: str, flags: int, text: bytes) -> None:
    used, number = parse(text + b"\0" * 4, flags, signed=helper == "strtol")
    theirs = sysctl_result(helper, flags, text + b"\0" * 4)
    assert (used, number & (1 << 64) - 1 if used > 0 else 0) == theirs


def sysctl_result(helper: str, flags: int, text: bytes) -> tuple[int, int]:
    """The helpers are for sysctl and syscall programs: run one of the latter, which has its context back."""
    program = (
        "r6 = r1\n*(u64 *)(r10 - 40) = 0\n"
        + text_on_stack(text.ljust(32, b"\0"), -32)
        + stack(-32, 1)
        + f"r2 = {len(text)}\nr3 = {flags}\n"
        + stack(-40, 4)
        + f"call {helper}\n*(u64 *)(r6 + 0) = r0\n"
        + "r1 = *(u64 *)(r10 - 40)\n*(u64 *)(r6 + 8) = r1\nr0 = 0\nexit\n"
    )
    out = syscall(program, 16)
    used = int.from_bytes(out[:8], "little", signed=True)
    return used, int.from_bytes(out[8:16], "little") if used > 0 else 0


@pytest.mark.parametrize(
    ("fmt", "args"),
    [
        (b"%d %i %u", (5, 0xFFFFFFFF, 0xFFFFFFFF)),
        (b"%x %X %lx", (0xABC, 0xABC, 0xFFFFFFFFFFFF)),
        (b"%lld %llu", (-1, -1)),
        (b"%5d|%-5d|%05d", (42, 42, -42)),
        (b"%+d % d %c", (7, 7, 65)),
        (b"100%%", ()),
        (b"%", ()),
        (b"%y", (1,)),
        (b"%d", ()),
        (b"%d", (1, 2)),
        (b"%08lx|%-8x|", (0xAB, 0xAB)),
        (b"%px", (0xFFFF888000001234,)),
        (b"%s", (0,)),
        (b"%5c|%-3c|", (66, 67)),
        (b"%3u|%03u|%+u", (1234, 7, 9)),
        (b"%1$d", (1,)),
        (b"%hd", (1,)),
        (b"%#x", (1,)),
    ],
)
def test_formats(fmt: bytes, args: tuple[int, ...]) -> None:
    """bpf_snprintf wants its format in a read-only map; both print into a value of another one."""
    raw = b"".join((a & (1 << 64) - 1).to_bytes(8, "little") for a in args)

    def program(constant: int) -> str:
        lines = "".join(text_on_stack(raw[i : i + 8], -32 + i) for i in range(0, len(raw), 8))
        return (
            "r6 = r1\n"
            + lines
            + stack(-96, 1)
            + "".join(f"*(u64 *)(r10 - {96 - i}) = 0\n" for i in range(0, 64, 8)).replace("r10 - 0", "r10")
            + f"r2 = 64\nr3 = map_value({constant}, 0x0) ll\n"
            + (stack(-32, 4) if raw else "r4 = 0\n")
            + f"r5 = {len(raw)}\ncall snprintf\n"
            "r7 = r0\n"
            + "".join(
                f"r1 = *(u64 *)(r10 - {96 - i})\n*(u64 *)(r6 + {8 + i}) = r1\n" for i in range(0, 64, 8)
            )
            + "*(u64 *)(r6 + 0) = r7\nr0 = 0\nexit\n"
        )

    value = fmt + b"\0"
    calls = kernel()
    fd = calls.map_create(2, 4, len(value), 1, flags=1 << 7)
    try:
        calls.map_update(fd, bytes(4), value)
        calls.map_freeze(fd)
        try:
            out = syscall(program(fd), 72)
        except OSError as refused:
            theirs = -(refused.errno or 0), b""
        else:
            theirs = int.from_bytes(out[:8], "little", signed=True), out[8:].partition(b"\0")[0]
    finally:
        calls.close(fd)

    machine = Asm()
    constant = machine.map(2, 4, len(value), 1, flags=1 << 7)
    machine.found(constant).sys_update(bytes(4), value)
    context = machine.context(72)
    machine.run(program(constant), context=context)
    memory = bytes(context.region.data)
    ours = int.from_bytes(memory[:8], "little", signed=True), memory[8:].partition(b"\0")[0]
    if theirs[0] == -errno.EINVAL:
        assert ours[0] == -errno.EINVAL
    else:
        assert ours == theirs
