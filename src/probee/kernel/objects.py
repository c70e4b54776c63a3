"""`probee.load`: a BPF object, from wherever it is, into the kernel."""

from __future__ import annotations

import os

from probee.btf.kinds import STRUCT, UNION
from probee.errors import ObjectError
from probee.kernel.load import Collection
from probee.kernel.load import load as load_spec
from probee.obj import ObjectSpec, read_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from probee.btf.parser import Btf

    Source = str | os.PathLike[str] | bytes | bytearray | memoryview | ObjectSpec


def open_object(
    source: Source,
    *,
    name: str = "",
    lenient: bool = False,
    sections: Mapping[str, str] | None = None,
    records: Mapping[str, str] | None = None,
) -> ObjectSpec:
    """The spec of an object, to be looked at and changed before loading.

    `sections` are section names by program, to load programs as if they stood there; `records` are structs by
    ring or perf buffer. See `load`.
    """
    spec = source if isinstance(source, ObjectSpec) else read_object(source, name, lenient=lenient)
    for program, section in (sections or {}).items():
        spec.program(program).load_as(section)
    for ring, struct in (records or {}).items():
        _set_record(spec, ring, struct)
    return spec


def _set_record(spec: ObjectSpec, ring: str, struct: str) -> None:
    if ring not in spec.maps:
        raise ObjectError(f"{spec.name} has no map {ring!r}; it has {', '.join(spec.maps) or 'none'}")
    found = spec.btf.find(struct, STRUCT, UNION) if spec.btf is not None else None
    if found is None:
        raise ObjectError(
            f"{spec.name} has no struct {struct!r} in its types; compilers leave out those that no map, "
            "global or function mentions"
        )
    spec.maps[ring].record_type_id = found


def load(
    source: Source,
    *,
    name: str = "",
    programs: Iterable[str] | None = None,
    values: Mapping[str, Any] | None = None,
    btf: Btf | str | os.PathLike[str] | None = None,
    pin_root: str | os.PathLike[str] = "",
    maps: Mapping[str, Any] | None = None,
    classes: dict[str, type] | None = None,
    sections: Mapping[str, str] | None = None,
    records: Mapping[str, str] | None = None,
    lenient: bool = False,
    log_level: int = 0,
    kconfig: str = "",
    token: str | os.PathLike[str] | None = None,
) -> Collection:
    """Load a BPF object, as clang or `probee build` make it: create its maps, load its programs.

    Nothing is attached yet: `collection.attach()` attaches all programs whose section says to what, the typed
    methods of `collection.programs["x"]` one. Use the collection in a `with` statement, or close it.

    Args:
        source: a path, the file's bytes, or a spec (`probee.obj.read_object`), which may have been changed.
        name: the object's name in the names of data maps; by default the file's, up to its first dot.
        programs: names of those to load; by default all but those in sections that begin with "?".
        values: global variables by name, set before anything runs; the only way to set constants.
        btf: types that CO-RE is resolved against, instead of the running kernel's: for kernels without BTF. A
            path (raw BTF, or ELF as vmlinux) or a `Btf`.
        pin_root: the folder for maps that say they are pinned by name; by default /sys/fs/bpf.
        maps: maps to use instead of new ones, by name: live ones, descriptors, or paths of pins.
        classes: record classes by the name of the struct.
        sections: section names by program, to load programs as if they stood there.
        records: names of structs by ring or perf buffer: what its records are. C says it nowhere.
        lenient: take section names and map definitions of other loaders too.
        log_level: 1 (each instruction), 2 (also the verifier's states) or 4 (statistics): the log is then in
            `program.log`. A program that is refused has its log in the error in any case.
        kconfig: lines `CONFIG_X=y` that come before those of the kernel.
        token: the BPF file system to get a BPF token from (Linux 6.9), "" for none; by default that of
            $LIBBPF_BPF_TOKEN_PATH, or /sys/fs/bpf where privileges are missing.

    Raises:
        ObjectError: the bytes are no BPF object.
        VerifierError: the verifier refuses a program; the log is its `.log`.
        LoadError: something else is in the way. PermissionDenied, Unsupported: what their names say.
        OSError: the file can't be read.
    """
    spec = open_object(source, name=name, lenient=lenient, sections=sections, records=records)
    return load_spec(
        spec,
        programs=programs,
        values=values,
        classes=classes,
        core_btf=types_from(btf),
        pin_root=os.fspath(pin_root),
        maps=maps,
        log_level=log_level,
        kconfig=kconfig,
        token=None if token is None else os.fspath(token),
    )


def types_from(btf: Btf | str | os.PathLike[str] | None) -> Btf | None:
    """A `Btf` from what the caller gave: a path, a Btf, or None."""
    if isinstance(btf, (str, os.PathLike)):
        from probee.btf import open_btf

        return open_btf(btf)
    return btf
