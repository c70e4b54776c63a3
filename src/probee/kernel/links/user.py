"""What the methods of `UserHooks` do: from names to points, and which way to attach there."""

from __future__ import annotations

from probee.errors import AttachError
from probee.kernel.links import uprobe as single
from probee.kernel.links.uprobe import Point, check, split_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.kernel.attach_user import UserHooks
    from probee.kernel.links.base import Link


def _target(program: UserHooks, binary: str, symbol: str, named: bool) -> tuple[str, str]:
    """(binary, symbol), from a section's name where left out; `named` if the place needs no symbol."""
    if symbol or named:
        return binary, symbol
    if not binary:
        binary = program.spec.attach_to
    return split_target(binary)


def _returns(program: UserHooks, returns: bool | None) -> bool:
    return program.kind.startswith("uret") if returns is None else returns


def uprobe(
    program: UserHooks,
    binary: str,
    symbol: str,
    offset: int | None,
    address: int | None,
    pid: int | None,
    returns: bool | None,
    cookie: int,
    semaphore: int,
    way: str,
) -> Link:
    """`Program.attach_uprobe`."""
    from probee.symbols import locate as places

    binary, symbol = _target(program, binary, symbol, offset is not None or address is not None)
    back = _returns(program, returns)
    where = symbol or f"{address if offset is None else offset or 0:#x}"
    hook = f"{'uretprobe' if back else 'uprobe'} {binary or f'process {pid}'}:{where}"
    if places.is_one(binary, symbol, pid):
        found = [places.locate(binary, symbol, pid, offset=offset, address=address)]
    else:
        found = places.locate_all(binary, symbol, pid)
        hook += f" ({len(found)} functions)"
    for location in found:
        check(location, hook, back)
    points = [Point(location.path, location.offset, cookie, semaphore) for location in found]
    if program.kind.partition(".")[2].startswith(("multi", "session")):
        from probee.kernel.links import uprobe_multi

        session = "session" in program.kind
        return uprobe_multi.attach(program.fd, points, hook, returns=back, session=session, pid=pid)
    return single.attach(program.fd, points, hook, returns=back, pid=pid, way=way)


def uprobe_multi(
    program: UserHooks,
    binary: str,
    pattern: str | Sequence[str],
    offsets: Sequence[int],
    cookie: int,
    cookies: Sequence[int],
    semaphores: Sequence[int],
    pid: int | None,
    returns: bool | None,
) -> Link:
    """`Program.attach_uprobe_multi`."""
    from probee.kernel.links import uprobe_multi as multi
    from probee.symbols import locate as places

    back = _returns(program, returns)
    session = "session" in program.kind
    kind = "uprobe.session" if session else "uretprobe.multi" if back else "uprobe.multi"
    if isinstance(pattern, str):
        binary, pattern = _target(program, binary, pattern, bool(offsets))
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    where = ",".join(patterns) if not offsets else f"{len(offsets)} offsets"
    hook = f"{kind} {binary or f'process {pid}'}:{where}"
    if offsets:
        found = [places.locate(binary, "", pid, offset=offset) for offset in offsets]
    else:
        found = places.locate_all(binary, patterns, pid)
        hook += f" ({len(found)} functions)"
    for what, numbers in (("cookies", cookies), ("ref_ctr_offsets", semaphores)):
        if numbers and len(numbers) != len(found):
            raise AttachError(f"{hook}: {len(numbers)} {what} for {len(found)} places", hook=hook)
    for location in found:
        check(location, hook, back and not session)
    points = [
        Point(
            location.path,
            location.offset,
            cookies[index] if cookies else cookie,
            semaphores[index] if semaphores else 0,
        )
        for index, location in enumerate(found)
    ]
    return multi.attach(program.fd, points, hook, returns=back, session=session, pid=pid)


def usdt(program: UserHooks, binary: str, provider: str, name: str, pid: int | None, cookie: int) -> Link:
    """`Program.attach_usdt`."""
    from probee.kernel.links import usdt as probes

    if not provider:
        target = binary or program.spec.attach_to
        parts = target.rsplit(":", 2)
        if len(parts) != 3 or not all(parts):
            raise AttachError(
                f"usdt/{target}: expected BINARY:PROVIDER:NAME, as in libc.so.6:libc:setjmp",
                hook=f"usdt {target}",
            )
        binary, provider, name = parts
    return probes.attach(program.fd, program.maps, binary, provider, name, pid=pid, cookie=cookie)
