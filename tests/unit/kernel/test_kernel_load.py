"""Loading against the fake kernel: order, relocations, fall-backs, and what is left after a failure."""

from __future__ import annotations

import errno
import struct
import sys

import pytest

from probee.errors import LoadError, PermissionDenied, Unsupported, VerifierError
from probee.kernel import rejection
from probee.kernel.load import load
from probee.obj.spec import MAP_FD, MAP_VALUE, Function, GlobalSpec, MapSpec, ObjectSpec, ProgramSpec, Reloc
from probee.sys import caps, use
from probee.sys.bpf import TestRun
from probee.sys.fake import FakeKernel

HASH, ARRAY, PROG_ARRAY = 1, 2, 3
LDDW = struct.pack("=BBhi", 0x18, 0x01, 0, 0) + bytes(8)
EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)


def object_spec(section: str = "raw_tp/sys_enter") -> ObjectSpec:
    """A program that refers to a hash and to a global at offset 4 of `.rodata`."""
    spec = ObjectSpec("sample", sys.byteorder)
    spec.license = "GPL"
    spec.maps["counts"] = MapSpec("counts", map_type=HASH, key_size=4, value_size=8, max_entries=16)
    spec.maps[".rodata"] = MapSpec(
        ".rodata",
        map_type=ARRAY,
        key_size=4,
        value_size=8,
        max_entries=1,
        flags=1 << 7 | 1 << 10,
        initial=b"\1\0\0\0\2\0\0\0",
    )
    spec.maps[".bss"] = MapSpec(
        ".bss", map_type=ARRAY, key_size=4, value_size=4, max_entries=1, flags=1 << 10, initial=bytes(4)
    )
    spec.globals["limit"] = GlobalSpec("limit", ".rodata", 4, 4, 0, True)
    code = LDDW + LDDW + EXIT
    function = Function("count", section, 1, 0, len(code) // 8, False, False)
    spec.functions.append(function)
    spec.code[1] = code
    spec.relocs[1] = {0: Reloc(MAP_FD, "counts", 0), 2: Reloc(MAP_VALUE, ".rodata", 4)}
    spec.programs["count"] = ProgramSpec(spec, function)
    return spec


@pytest.fixture
def fake():  # type: ignore[no-untyped-def]
    with use(FakeKernel()) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"


def test_maps_come_first_and_their_descriptors_get_into_the_code(fake: FakeKernel) -> None:
    with load(object_spec()) as live:
        made = {call["name"]: call for call in fake.called("map_create")}
        assert set(made) == {"counts", ".rodata", ".bss"}
        (loaded,) = fake.called("prog_load")
        first, second = (struct.unpack_from("=BBhiBBhi", loaded["insns"], at) for at in (0, 16))
        assert first[3] == live.maps["counts"].fd
        assert (second[3], second[7]) == (live.maps[".rodata"].fd, 4)
        assert (loaded["type"], loaded["license"], loaded["name"]) == (17, "GPL", "count")
        names = [name for name, _ in fake.calls]
        assert names.index("prog_load") > max(i for i, name in enumerate(names) if name == "map_create")
        assert loaded["log_size"] == 0  # a log is asked for only after a rejection


def test_data_maps_are_filled_and_constants_frozen(fake: FakeKernel) -> None:
    with load(object_spec(), values={"limit": b"\7\0\0\0"}) as live:
        assert [call["value"] for call in fake.called("map_update")] == [b"\1\0\0\0\7\0\0\0"]
        assert [call["fd"] for call in fake.called("map_freeze")] == [live.maps[".rodata"].fd]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"limits": bytes(4)}, "no global 'limits'; it has limit"), ({"limit": bytes(2)}, "is 4 bytes, not 2")],
)
def test_values_that_do_not_fit(fake: FakeKernel, values: dict[str, bytes], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(object_spec(), values=values)


def test_a_rejection_is_explained_from_a_growing_log(fake: FakeKernel) -> None:
    log = "5: (79) r1 = *(u64 *)(r0 +0) ; R10=fp0\n" * 8000 + "R0 invalid mem access 'map_value_or_null'\n"
    assert len(log) > 262144
    fake.refuse("prog_load", errno.EACCES, log, times=3)
    with pytest.raises(VerifierError, match="the verifier refuses count: R0 invalid mem access") as caught:
        load(object_spec())
    assert [call["log_size"] for call in fake.called("prog_load")] == [0, 262144, 2097152]
    assert (caught.value.errno, caught.value.log, caught.value.program) == (errno.EACCES, log, "count")


ADD = struct.pack("=BBhi", 0x07, 0x01, 0, 1)
BACK = struct.pack("=BBhi", 0x05, 0, -2, 0)
LONG_BACK = struct.pack("=BBhi", 0x06, 0, 0, -2)
CALL = struct.pack("=BBhi", 0x85, 0x10, 0, -2)  # a subprogram in front: no loop


def test_jumps_backwards() -> None:
    assert rejection.back_jumps(ADD + EXIT) == []
    assert rejection.back_jumps(ADD + BACK + CALL + LONG_BACK + EXIT) == [1, 3]


@pytest.mark.parametrize(("loops", "level"), [(1, 4), (2, 1)])
def test_a_long_log_is_asked_for_only_if_it_is_needed(fake: FakeKernel, loops: int, level: int) -> None:
    spec = object_spec()
    spec.code[1] = LDDW + LDDW + (ADD + BACK) * loops + EXIT
    spec.functions[0].count = len(spec.code[1]) // 8
    fake.refuse("prog_load", errno.E2BIG, "BPF program is too large. Processed 1000001 insn\n", times=2)
    with pytest.raises(VerifierError, match="too large"):
        load(spec)
    assert [call["log_level"] for call in fake.called("prog_load")] == [0, level]


def test_a_load_that_goes_well_with_a_log_counts(fake: FakeKernel) -> None:
    fake.refuse("prog_load", errno.EINVAL)
    with load(object_spec()) as live:
        assert live.programs["count"].fd > 0


def test_a_missing_capability(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 1 << caps.CAP_BPF)
    fake.refuse("prog_load", errno.EPERM, times=2)
    with pytest.raises(PermissionDenied, match=r"loading program count needs CAP_PERFMON.*sudo ") as caught:
        load(object_spec())
    assert caught.value.capability == "CAP_PERFMON"


def test_a_map_that_may_not_be_made(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 0)
    fake.refuse("map_create", errno.EPERM)
    with pytest.raises(PermissionDenied, match=r"creating map counts needs CAP_BPF.*sudo "):
        load(object_spec())


def test_a_refusal_without_a_word(fake: FakeKernel) -> None:
    fake.refuse("prog_load", errno.E2BIG, times=2)
    with pytest.raises(LoadError, match="without a word: Argument list too long") as caught:
        load(object_spec())
    assert caught.value.errno == errno.E2BIG


def test_locked_memory_is_lifted_on_old_kernels_only(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    from probee.kernel import features

    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (65536, 65536))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append(limit))
    monkeypatch.setattr(caps, "effective", lambda: (1 << 41) - 1)
    assert rejection.raise_memlock() is False
    assert limits == []
    features.forget()
    fake.refuse("prog_load", errno.EPERM)
    fake.refuse("prog_load", errno.EINVAL)  # the probe: a helper of Linux 5.11
    with load(object_spec()) as live:
        assert live.programs["count"].fd > 0
    assert limits == [(resource.RLIM_INFINITY, resource.RLIM_INFINITY)]


def test_sections_that_say_no_kind(fake: FakeKernel) -> None:
    with pytest.raises(LoadError, match="section 'mystery' of program count names no kind of program"):
        load(object_spec("mystery"))


def test_the_other_byte_order(fake: FakeKernel) -> None:
    spec = object_spec()
    spec.endian = "big" if sys.byteorder == "little" else "little"
    with pytest.raises(LoadError, match="endian"):
        load(spec)


def test_programs_that_are_not_loaded_by_themselves(fake: FakeKernel) -> None:
    with load(object_spec("?raw_tp/sys_enter")) as live:
        assert live.programs == {}
    with load(object_spec("?raw_tp/sys_enter"), programs=["count"]) as live:
        assert list(live.programs) == ["count"]


def test_slots_of_program_arrays(fake: FakeKernel) -> None:
    spec = object_spec()
    spec.maps["jumps"] = MapSpec("jumps", map_type=PROG_ARRAY, key_size=4, value_size=4, max_entries=4)
    spec.maps["jumps"].slots = [(3, "count")]
    with load(spec) as live:
        update = fake.called("map_update")[-1]
        assert (update["fd"], update["key"]) == (live.maps["jumps"].fd, struct.pack("=I", 3))
        assert update["value"] == struct.pack("=I", live.programs["count"].fd)


def test_test_runs(fake: FakeKernel) -> None:
    fake.run = TestRun(3, b"out", b"", 17)
    with load(object_spec()) as live:
        assert live.programs["count"].test_run(ctx=bytes(16)) == (3, b"out", 17)
        assert fake.called("prog_test_run")[0]["repeat"] == 0  # raw tracepoints take no repeat
        fake.refuse("prog_test_run", 524)
        with pytest.raises(Unsupported, match="can't test-run"):
            live.programs["count"].test_run()
        fake.refuse("prog_test_run", errno.EINVAL)
        with pytest.raises(LoadError, match="Invalid argument"):
            live.programs["count"].test_run()


def test_closing_twice(fake: FakeKernel) -> None:
    live = load(object_spec())
    live.close()
    live.close()
    with pytest.raises(Exception, match="program count is closed"):
        _ = live.programs["count"].fd
