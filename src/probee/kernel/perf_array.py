"""BPF_MAP_TYPE_PERF_EVENT_ARRAY: perf events by index, to write records to or to read."""

from __future__ import annotations

from .holders import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .perf_buffer import PerfBuffer, PerfSnapshots


class PerfEventArray(Unreadable):
    """Assign perf events (descriptors) to indexes, or make a reader of records with `buffer()`.

    The kernel does not tell what is in it.
    """

    __slots__ = ()

    def buffer(
        self,
        of: Any = None,
        *,
        pages: int = 64,
        wakeup: int = 1,
        watermark: int = 0,
        ordered: bool = False,
    ) -> PerfBuffer:
        """A reader of what programs write with `bpf_perf_event_output`: a ring for each CPU that is online.

        `of` says what the records are: the name of a struct of the object, or a description (see
        `probee.maps`); without it they are bytes, padded by the kernel with up to 7 bytes. `pages` is the
        size of each ring, rounded up to a power of two. Readers wake after `wakeup` records of a CPU, or
        after `watermark` bytes: fewer wake-ups cost the programs less. `ordered` gives the records of all
        CPUs in the order of their time. Raises MapError, PermissionDenied (CAP_PERFMON).
        """
        from .perf_buffer import PerfBuffer

        return PerfBuffer(self, of, pages=pages, wakeup=wakeup, watermark=watermark, ordered=ordered)

    def snapshots(self, of: Any = None, *, pages: int = 64) -> PerfSnapshots:
        """A flight recorder: rings in which new records overwrite the oldest, to be looked at now and then
        (Linux 4.7). Arguments as for `buffer`."""
        from .perf_buffer import PerfSnapshots

        return PerfSnapshots(self, of, pages=pages)
