"""`UserHooks`: the methods of `Program` that attach to code of user-space programs."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.kernel.links.base import Link

# Kind of section -> method.
USER = {
    "uprobe": "attach_uprobe",
    "uprobe.s": "attach_uprobe",
    "uretprobe": "attach_uprobe",
    "uretprobe.s": "attach_uprobe",
    "uprobe.multi": "attach_uprobe_multi",
    "uprobe.multi.s": "attach_uprobe_multi",
    "uretprobe.multi": "attach_uprobe_multi",
    "uretprobe.multi.s": "attach_uprobe_multi",
    "uprobe.session": "attach_uprobe_multi",
    "uprobe.session.s": "attach_uprobe_multi",
    "usdt": "attach_usdt",
    "usdt.s": "attach_usdt",
}


class UserHooks(Attachable):
    """Uprobes and USDT."""

    __slots__ = ()

    def attach_uprobe(
        self,
        binary: str = "",
        symbol: str = "",
        *,
        offset: int | None = None,
        address: int | None = None,
        pid: int | None = None,
        returns: bool | None = None,
        cookie: int = 0,
        ref_ctr_offset: int = 0,
        way: str = "auto",
    ) -> Link:
        """Run where a function of a program or library starts, or (`returns`) returns. Type `kprobe`.

        `binary` is a path, a library ("c", "libc.so.6"), an executable on PATH, or `archive!/member`; with
        `pid`, as that process would name it, or "" for its executable. `symbol` is a function's name,
        `name+offset`, `name@VERSION`, a C++ or Rust name in words (`ns::func`, `ns::func(int)`), an offset in
        the file, or a pattern (`*`, `?`). Without one, `offset` is bytes into the file, and `address` is
        virtual, as linked. What is left out comes from the section's name.

        All processes are probed, or the one called `pid`. `ref_ctr_offset` is the place in the file of a
        counter that is 1 higher meanwhile. `way` forces an older way of attaching: "perf" or "tracefs".
        Linux 4.17; `cookie` 5.15, sleepable programs 6.0. Raises `AttachError`, `PermissionDenied`,
        `Unsupported`.
        """
        from probee.kernel.links import user

        return user.uprobe(self, binary, symbol, offset, address, pid, returns, cookie, ref_ctr_offset, way)

    def attach_uprobe_multi(
        self,
        binary: str = "",
        pattern: str | Sequence[str] = "",
        *,
        offsets: Sequence[int] = (),
        cookie: int = 0,
        cookies: Sequence[int] = (),
        ref_ctr_offsets: Sequence[int] = (),
        pid: int | None = None,
        returns: bool | None = None,
    ) -> Link:
        """Run at every function whose name matches `pattern` (or one of several), as one link. Type `kprobe`.

        `offsets` are places in the file instead, with a cookie each in `cookies`, and a counter each in
        `ref_ctr_offsets`; `cookie` is for all. A program of a section `uprobe.session` runs at start and
        return. The rest is as with `attach_uprobe`.

        Linux 6.6 (sessions 6.13, `Unsupported` before); where there are no such links, or for a program that
        was not loaded for them, one perf event for each function.
        """
        from probee.kernel.links import user

        return user.uprobe_multi(
            self, binary, pattern, offsets, cookie, cookies, ref_ctr_offsets, pid, returns
        )

    def attach_usdt(
        self,
        binary: str = "",
        provider: str = "",
        name: str = "",
        *,
        pid: int | None = None,
        cookie: int = 0,
    ) -> Link:
        """Run at a statically defined probe (USDT) of a program or library. Type `kprobe`.

        `binary` is as with `attach_uprobe`; `provider` and `name` are the probe's. What is left out comes
        from the section's name. Programs that use libbpf's `usdt.bpf.h` read the arguments with
        `bpf_usdt_arg` and `cookie` with `bpf_usdt_cookie`. A probe's semaphore is up while the link is there.

        Linux 4.20; on kernels before 5.15, programs with arguments attach to libraries only with `pid`.
        """
        from probee.kernel.links import user

        return user.usdt(self, binary, provider, name, pid, cookie)
