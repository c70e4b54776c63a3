"""What the verifier is given: a program's instructions with its maps, type information and purpose.

`Program.insns` are the slots as the kernel gets them. Map references (`lddw` with `src` 1, 2, 5 or 6) are
told by `map_refs`: index of the instruction -> `MapInfo`; the verifier doesn't look at the descriptor in
`imm`. Kernel functions (`call` with `src` 2) are told by `kfuncs`: index -> name, or by the BTF id in `imm`
where the name is not given.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probee.btf import Btf
    from probee.isa.insn import Insn

ANY_ALIGNMENT = 2  # BPF_F_ANY_ALIGNMENT
STRICT_ALIGNMENT = 1  # BPF_F_STRICT_ALIGNMENT
TEST_STATE_FREQ = 8  # BPF_F_TEST_STATE_FREQ
SLEEPABLE = 16  # BPF_F_SLEEPABLE
XDP_HAS_FRAGS = 32  # BPF_F_XDP_HAS_FRAGS


class MapInfo:
    """A map as the verifier sees it. `type` is the number of `enum bpf_map_type`; sizes are in bytes.

    `btf`, `key_type` and `value_type` tell the types of keys and values (0: not told). `inner` is the
    template of maps of maps. `data` is the first value's bytes of a map that is frozen and read-only
    for programs, from which loads give known numbers.
    """

    __slots__ = (
        "btf",
        "data",
        "flags",
        "inner",
        "key_size",
        "key_type",
        "max_entries",
        "name",
        "record",
        "type",
        "value_size",
        "value_type",
    )

    def __init__(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        btf: Btf | None = None,
        key_type: int = 0,
        value_type: int = 0,
        inner: MapInfo | None = None,
        data: bytes | None = None,
    ) -> None:
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.name = name
        self.btf = btf
        self.key_type = key_type
        self.value_type = value_type
        self.inner = inner
        self.data = data
        self.record: object = None  # special fields of the value, found when the program is first looked at

    def __repr__(self) -> str:
        return (
            f"MapInfo({self.name!r}, type={self.type}, {self.key_size}/{self.value_size}×{self.max_entries})"
        )


class Program:
    """One program with its subprograms appended, as `BPF_PROG_LOAD` takes it.

    `prog_type` and `attach_type` are UAPI numbers. `target` is the name of the function, tracepoint,
    LSM hook or iterator it attaches to (`attach_btf_id` is its id in the kernel's BTF; either may be
    given), for struct_ops "struct.member". `func_info` is a list of (instruction, BTF id of the
    function in `btf`). `lines` is a list of (instruction, file, line, column, source).
    """

    __slots__ = (
        "attach_btf_id",
        "attach_type",
        "btf",
        "flags",
        "func_info",
        "gpl",
        "insns",
        "kfuncs",
        "lines",
        "map_refs",
        "name",
        "prog_type",
        "target",
    )

    def __init__(
        self,
        insns: Sequence[Insn],
        prog_type: int,
        *,
        attach_type: int = 0,
        name: str = "",
        gpl: bool = True,
        flags: int = 0,
        map_refs: Mapping[int, MapInfo] | None = None,
        kfuncs: Mapping[int, str] | None = None,
        btf: Btf | None = None,
        func_info: Sequence[tuple[int, int]] = (),
        lines: Sequence[tuple[int, str, int, int, str]] = (),
        target: str = "",
        attach_btf_id: int = 0,
    ) -> None:
        self.insns = list(insns)
        self.prog_type = prog_type
        self.attach_type = attach_type
        self.name = name
        self.gpl = gpl
        self.flags = flags
        self.map_refs = dict(map_refs or {})
        self.kfuncs = dict(kfuncs or {})
        self.btf = btf
        self.func_info = list(func_info)
        self.lines = list(lines)
        self.target = target
        self.attach_btf_id = attach_btf_id
