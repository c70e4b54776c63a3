"""Contexts, packets and kernel memory by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.btf.shipped import shipped_btf
from probee.errors import ProbeeError
from probee.isa.insn import Insn, decode, encode
from probee.machine.contexts import registers, tracepoints
from probee.machine.contexts.packet import Packet, packet_bytes
from probee.machine.contexts.rewrite import SHADOW, SK_BUFF, btf_loads, rewrite
from probee.machine.kernel_memory import Kernel, KernelError, User
from probee.machine.memory import Fault, Memory
from probee.sys.formats import shipped_fields
from probee.sys.tracefs import Field

LDXW, LDXDW, STXDW, MOV64, EXIT, CALL = 0x61, 0x79, 0x7B, 0xBF, 0x95, 0x85


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel(Memory(), shipped_btf())


# ---- packets


def test_a_packet_is_reachable_from_its_first_to_its_last_byte() -> None:
    memory = Memory(1 << 20)
    packet = Packet(memory, b"0123456789abcdef!", meta=b"meta")
    assert memory.read(packet.data, 17) == b"0123456789abcdef!"
    assert memory.read(packet.data_meta, 4) == b"meta"
    for address, size in ((packet.data_end, 1), (packet.data_end - 1, 2), (packet.data_meta - 8, 1)):
        with pytest.raises(Fault):
            memory.read(address, size)


def test_only_the_linear_part_is_seen_until_it_is_pulled() -> None:
    memory = Memory(1 << 20)
    packet = Packet(memory, bytes(range(100)), linear=20)
    assert packet.data_end - packet.data == 20
    assert packet.read(50, 2) == b"\x32\x33"
    with pytest.raises(Fault):
        memory.read(packet.data, 21)
    assert packet.pull(60) == 0
    assert memory.read(packet.data, 60) == bytes(range(60))
    assert packet.pull(101) < 0


def test_head_tail_and_metadata_move_within_their_room() -> None:
    packet = Packet(Memory(1 << 20), bytes(60))
    assert packet.adjust_head(-300) < 0
    assert packet.adjust_head(-4) == 0
    assert (packet.length, packet.headroom) == (64, 252)
    assert packet.adjust_head(51) < 0  # no Ethernet header would be left
    assert packet.adjust_tail(-50) == 0
    assert packet.length == 14
    assert packet.adjust_tail(-1) < 0
    assert packet.adjust_tail(10_000) < 0
    assert packet.adjust_meta(-6) < 0
    assert packet.adjust_meta(-8) == 0
    assert packet.adjust_head(-8) == 0
    assert packet.meta == bytes(8)


@given(st.binary(min_size=14, max_size=200), st.lists(st.integers(-80, 80), max_size=8))
def test_a_packet_keeps_its_bytes_wherever_its_ends_go(data: bytes, moves: list[int]) -> None:
    packet = Packet(Memory(1 << 20), data)
    want = data
    for number, delta in enumerate(moves):
        if number % 2:
            if packet.adjust_head(delta) == 0:
                want = bytes(-delta) + want if delta < 0 else want[delta:]
        elif packet.adjust_tail(delta) == 0:
            want = want + bytes(delta) if delta > 0 else want[: len(want) + delta]
        assert packet.payload == want
        assert packet.memory.read(packet.data, packet.length) == want


def test_packets_are_bytes_or_what_makes_bytes() -> None:
    class Layer:
        def __bytes__(self) -> bytes:
            return b"made"

    assert packet_bytes(Layer()) == packet_bytes(bytearray(b"made")) == b"made"
    for wrong in ("text", 7, None):
        with pytest.raises(TypeError, match="a packet is bytes"):
            packet_bytes(wrong)


# ---- loads of pointer fields


def program(*insns: Insn) -> bytes:
    return encode(insns)


def test_pointer_fields_are_found_through_moves_stack_and_calls() -> None:
    before = program(
        Insn(MOV64, dst=6, src=1),
        Insn(STXDW, dst=10, src=6, off=-8),
        Insn(LDXDW, dst=2, src=10, off=-8),
        Insn(LDXW, dst=3, src=2, off=76),  # data
        Insn(LDXW, dst=4, src=6, off=0),  # len: as it is
        Insn(CALL, src=1, imm=1),
        Insn(EXIT),
        Insn(LDXW, dst=0, src=1, off=80),  # data_end, in a subprogram
        Insn(EXIT),
    )
    after = decode(rewrite(before, 3))
    changed = [i for i, (a, b) in enumerate(zip(decode(before), after, strict=True)) if a != b]
    assert changed == [3, 7]
    assert [(after[i].opcode, after[i].off) for i in changed] == [(LDXDW, SHADOW), (LDXDW, SHADOW + 8)]
    assert rewrite(before, 13) == before  # no packet behind the context of sock_ops


def test_a_register_that_is_the_context_on_one_path_only_is_left_alone() -> None:
    before = program(
        Insn(0x15, dst=2, off=1),  # if r2 == 0: skip
        Insn(MOV64, dst=1, src=2),
        Insn(LDXW, dst=0, src=1, off=76),
        Insn(EXIT),
    )
    assert rewrite(before, 3) == before


def test_loads_through_kernel_pointers_are_known() -> None:
    code = program(
        Insn(LDXDW, dst=2, src=1, off=8),
        Insn(LDXDW, dst=3, src=2, off=100),
        Insn(LDXW, dst=0, src=3, off=4),
        Insn(CALL, imm=158),
        Insn(LDXW, dst=0, src=0, off=4),
        Insn(EXIT),
    )
    assert btf_loads(code, 26) == {1, 2, 4}
    assert btf_loads(code, 6) == set()


@given(st.binary(max_size=400).map(lambda b: b[: len(b) // 8 * 8]), st.sampled_from([1, 3, 6, 26, 29]))
def test_any_code_goes_through_the_rewriter(code: bytes, kind: int) -> None:
    assert len(rewrite(code, kind)) == len(code)
    assert btf_loads(code, kind) <= set(range(len(code) // 8))


def test_offsets_of_pointer_fields_are_those_of_the_kernel(kernel: Kernel) -> None:
    names = ("data", "data_end", "data_meta")
    assert list(SK_BUFF) == [kernel.offset("__sk_buff", name) for name in names]
    assert [kernel.offset("xdp_md", name) for name in names] == [0, 4, 8]


# ---- registers and tracepoints


@pytest.mark.parametrize(("arch", "argument", "result"), [("x86_64", 112, 80), ("aarch64", 0, 0)])
def test_arguments_lie_in_their_registers(arch: str, argument: int, result: int) -> None:
    data = registers.fill(arch, [0x1122, -1], ip=0x99)
    assert data[argument : argument + 8] == (0x1122).to_bytes(8, "little")
    assert registers.fill(arch, [], result=-5)[result : result + 8] == (-5 & (1 << 64) - 1).to_bytes(
        8, "little"
    )
    with pytest.raises(ProbeeError, match="arguments in registers, not 9"):
        registers.fill(arch, [0] * 9)
    with pytest.raises(ProbeeError, match="no register 'q0'"):
        registers.fill(arch, [], q0=1)


def test_registers_are_where_btf_has_them(kernel: Kernel) -> None:
    for name, offset in registers.X86_64.items():
        try:
            assert kernel.offset("pt_regs", name) == offset
        except AttributeError:
            assert name in ("cs", "ss")  # inside of unions in newer kernels


def test_a_record_has_fixed_fields_text_and_arrays() -> None:
    fields = shipped_fields("sched", "sched_process_exec")
    data = tracepoints.record("x", fields, {"pid": -1, "filename": "/bin/sh"}, pid=5)
    assert data[4:8] == (5).to_bytes(4, "little")
    assert data[12:16] == b"\xff" * 4
    where = int.from_bytes(data[8:12], "little")
    assert data[where & 0xFFFF :] == b"/bin/sh\0"
    assert where >> 16 == 8
    wakeup = shipped_fields("sched", "sched_wakeup")
    comm = next(f for f in wakeup if f.name == "comm")
    data = tracepoints.record("x", wakeup, {"comm": "bash"})
    assert data[comm.offset : comm.offset + comm.size] == b"bash".ljust(16, b"\0")
    with pytest.raises(ProbeeError, match="room for 16 bytes"):
        tracepoints.record("x", wakeup, {"comm": "a" * 17})
    with pytest.raises(ProbeeError, match="neither a number nor an object"):
        tracepoints.record("x", wakeup, {"pid": 1.5})


@given(st.integers(-(1 << 31), (1 << 31) - 1), st.text(max_size=40))
def test_records_hold_what_they_are_given(number: int, text: str) -> None:
    fields = [Field("n", "int", 8, 4, True, False), Field("t", "char[]", 12, 4, False, True)]
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    data = tracepoints.record("x", fields, {"n": number, "t": text})
    assert int.from_bytes(data[8:12], "little", signed=True) == number
    where = int.from_bytes(data[12:16], "little")
    assert data[where & 0xFFFF :][: where >> 16] == raw + b"\0"


# ---- kernel memory


def test_objects_are_built_and_read_by_field(kernel: Kernel) -> None:
    parent = kernel.new("task_struct", pid=1, comm="init")
    task = kernel.new("task_struct", pid=7, real_parent=parent, cred={"uid": {"val": 1000}}, in_execve=1)
    assert (task.pid, task.real_parent.comm, task.cred.uid.val) == (7, "init", 1000)
    assert (task.in_execve, task.in_iowait) == (1, 0)
    assert task.real_parent == parent
    assert task.parent is None
    task["cred.gid.val"] = 5
    assert task["cred.gid.val"] == 5
    task.real_parent = None
    assert task.real_parent is None
    dentry = kernel.new("dentry", d_name={"name": "passwd", "len": 6})
    assert (dentry.d_name.name, dentry["d_name.len"]) == ("passwd", 6)
    numbers = kernel.new("pid", level=1, numbers=[{"nr": 3}, {"nr": 4}])
    assert kernel.memory.load(int(numbers) + kernel.offset("pid", "numbers") + 16, 4) == 4


def test_wrong_values_for_fields_are_refused(kernel: Kernel) -> None:
    task = kernel.new("task_struct")
    with pytest.raises(AttributeError, match="no field 'comn'; did you mean comm"):
        task.comn = "x"
    with pytest.raises(OverflowError, match="does not fit 4 bytes"):
        task.pid = 1 << 40
    with pytest.raises(ValueError, match="room for 15 bytes, not 16"):
        task.comm = "a" * 16
    with pytest.raises(TypeError, match="no number"):
        task.pid = 1.5
    with pytest.raises(OverflowError, match="does not fit 1 bits"):
        task.in_execve = 2
    with pytest.raises(KernelError, match="no type 'no_such'"):
        kernel.new("no_such")


def test_programs_read_kernel_objects_and_do_not_write_them(kernel: Kernel) -> None:
    made = kernel.new("task_struct", pid=7)
    with pytest.raises(Fault):
        kernel.memory.write(int(made), b"x")
    kernel.allow_writes(made)
    kernel.memory.write(int(made), b"x")


def test_user_memory_is_apart() -> None:
    memory = Memory(1 << 20)
    user = User(memory)
    words = user.pointers(user.string("ls"), user.string("-l"))
    assert memory.read_string(memory.load(words + 8, 8), 10) == b"-l"
    assert memory.load(words + 16, 8) == 0
    region = memory.find(words)
    assert region is not None
    assert region.kind == "user"
