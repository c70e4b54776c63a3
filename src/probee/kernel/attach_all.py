"""A whole collection at once: attached as skeletons are, pinned as bpftool pins."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.collection import Collection
    from probee.kernel.links.base import Link
    from probee.obj.spec import ProgramSpec

# Kinds of sections that say all that is needed to attach.
_ALONE = """
    kprobe kretprobe kprobe.multi kretprobe.multi kprobe.session ksyscall kretsyscall
    uprobe uprobe.s uretprobe uretprobe.s uprobe.multi uprobe.multi.s uretprobe.multi uretprobe.multi.s
    uprobe.session uprobe.session.s usdt usdt.s
    tracepoint tp tracepoint.s tp.s raw_tracepoint raw_tp raw_tracepoint.s raw_tp.s raw_tracepoint.w raw_tp.w
    tp_btf tp_btf.s fentry fentry.s fexit fexit.s fmod_ret fmod_ret.s fsession fsession.s
    fentry.multi fentry.multi.s fexit.multi fexit.multi.s fsession.multi fsession.multi.s
    freplace lsm lsm.s iter iter.s
"""
_USER = ("uprobe", "uretprobe")  # need a binary and a function


def attaches_alone(spec: ProgramSpec) -> bool:
    """Whether a program's section says what to attach it to."""
    kind, target = spec.section_kind, spec.attach_to
    if kind not in _ALONE.split() or not target:
        return False
    if kind.startswith(_USER):
        return ":" in target
    return True


def attach_all(collection: Collection) -> dict[str, Link]:
    """See `Collection.attach`."""
    made: dict[str, Link] = {}
    try:
        for name, program in collection.programs.items():
            if name not in collection.links and attaches_alone(program.spec):
                made[name] = program.attach()
        for name, ops in collection.struct_ops.items():
            if name not in collection.links:
                made[name] = ops.attach()
    except BaseException:
        for link in made.values():
            link.close()
        raise
    collection.links.update(made)
    return made


def pin_all(collection: Collection, folder: str | os.PathLike[str]) -> None:
    """See `Collection.pin`."""
    from probee.kernel.pinning import pin, unpin
    from probee.kernel.pins import pin_name

    done: list[str] = []
    try:
        for kind, things in (("map", collection.maps), ("program", collection.programs)):
            for name, thing in things.items():
                data = name.startswith(".")  # several objects in one folder all have a .rodata
                title = collection.spec.maps[name].kernel_name if data else name
                path = os.path.join(os.fspath(folder), pin_name(title))
                pin(thing.fd, path, f"{kind} {name}")
                done.append(path)
    except BaseException:
        for path in done:
            unpin(path)
        raise
