"""`Collection`: the live programs and maps of one object."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from probee.btf.values import Codecs
    from probee.kernel.globals import Globals
    from probee.kernel.links.base import Link
    from probee.kernel.program import Program
    from probee.kernel.struct_ops import StructOps
    from probee.obj.spec import ObjectSpec


class Collection:
    """The live programs and maps of one object, by the names of its source.

    `links` are those that `attach()` made. `struct_ops` are the struct_ops maps, ready to be attached.
    `btf_error` says why the kernel did not take the object's types, "" if it did. Closing it closes all of
    these; what is pinned stays.
    """

    __slots__ = (
        "__weakref__",
        "_codecs",
        "_globals",
        "_own_pins",
        "arena_offset",
        "btf_error",
        "links",
        "maps",
        "programs",
        "spec",
        "struct_ops",
    )

    def __init__(self, spec: ObjectSpec) -> None:
        self.spec = spec
        self.maps: dict[str, Any] = {}
        self.programs: dict[str, Program] = {}
        self.links: dict[str, Link] = {}
        self.struct_ops: dict[str, StructOps] = {}
        self.btf_error = ""
        self.arena_offset = 0  # of the global variables in the arena
        self._codecs: Codecs | None = None  # one for maps and globals: the same record classes
        self._globals: Globals | None = None
        self._own_pins: list[str] = []  # made while loading

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<collection {self.spec.name}: programs {list(self.programs)}, maps {list(self.maps)}>"

    @property
    def globals(self) -> Globals:
        """The object's global variables as live attributes."""
        if self._globals is None:
            from probee.kernel.globals import Globals

            self._globals = Globals(self.maps, self.spec, self._codecs, self.arena_offset)
        return self._globals

    def attach(self) -> dict[str, Link]:
        """Attach every program whose section says to what, and every struct_ops map, as skeletons do.

        Programs for network devices, cgroups and sockets, and those without a target (`SEC("kprobe")`), are
        left out: attach these with their own methods, as `collection.programs["x"].attach_xdp("eth0")`. Links
        are by name of program or map, also in `links`. If one fails, those made before it are closed.
        """
        from probee.kernel.attach_all import attach_all

        return attach_all(self)

    def pin(self, folder: str | os.PathLike[str]) -> None:
        """Pin every program and map under its name in a folder of a BPF file system, as bpftool does.

        The folder is made if it is missing. Raises AttachError, PermissionDenied; nothing stays pinned then.
        """
        from probee.kernel.attach_all import pin_all

        pin_all(self, folder)

    def close(self) -> None:
        """Close links, programs, maps and globals."""
        for link in self.links.values():
            link.close()
        if self._globals is not None:
            from probee.kernel.globals import close

            close(self._globals)
        for program in self.programs.values():
            program.close()
        for live in self.maps.values():
            live.close()
