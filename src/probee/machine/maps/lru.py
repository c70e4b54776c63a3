"""Which entry an LRU map gives up when it is full.

The kernel's way, for one CPU at a time: entries are on an *active* or an *inactive* list, each with a
reference bit that a program's look-up sets. Common maps also have, on each CPU, a list of free entries (a
batch taken from the global one) and a list of *pending* ones, which were added there since the last batch.
When a CPU runs out of free entries, its pending ones move to the lists by their bit; if fewer are inactive
than active, the oldest active ones without the bit become inactive; a scan over the inactive list moves
entries with the bit to the active one; then free entries come from the global list, and from the old end of
the inactive list if those do not suffice. Only where everything was used lately is an entry dropped in
spite of its bit.

So a map may drop entries before it is full, and never drops exactly the one used longest ago: the target of
a batch is half a CPU's share of the map, between 1 and 128 (since Linux 6.16; 128 before). With
BPF_F_NO_COMMON_LRU each CPU has lists and entries of its own.

What differs from the kernel: nothing happens at the same moment, so no lock is ever busy and no entry is
taken away between a scan and its removal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .elements import Element

ACTIVE, INACTIVE, FREE, LOCAL_FREE, PENDING = range(5)
MOST_TARGET = 128
PER_CPU_TARGET = 4


class Chain:
    """A list of entries, newest first, in which each can be moved in constant time."""

    __slots__ = ("count", "root")

    def __init__(self, make: Callable[[], Element]) -> None:
        self.root = root = make()
        root.older = root.newer = root
        self.count = 0

    def __bool__(self) -> bool:
        return self.root.older is not self.root

    def add(self, element: Element) -> None:
        """Put an entry at the new end."""
        root = self.root
        first = root.older
        element.newer, element.older = root, first
        root.older = first.newer = element
        self.count += 1

    def remove(self, element: Element) -> None:
        element.newer.older = element.older
        element.older.newer = element.newer
        self.count -= 1

    def newest(self) -> Element | None:
        found = self.root.older
        return None if found is self.root else found

    def from_oldest(self) -> Iterator[Element]:
        """From the oldest on; the current entry may be moved."""
        at = self.root.newer
        while at is not self.root:
            following = at.newer
            yield at
            at = following


class Lists:
    """The active, the inactive and the free list, with the place where the scan of the inactive one goes
    on."""

    __slots__ = ("chains", "scan", "scans")

    def __init__(self, make: Callable[[], Element], scans: int) -> None:
        self.chains = [Chain(make) for _ in range(3)]
        self.scan = self.chains[INACTIVE].root
        self.scans = scans  # entries looked at in one go

    def _leave(self, element: Element) -> None:
        if element is self.scan:
            self.scan = element.newer
        self.chains[element.place].remove(element)

    def move(self, element: Element, place: int) -> None:
        self._leave(element)
        self.take(element, place)

    def take(self, element: Element, place: int) -> None:
        """Put an entry that is on no list of these on one."""
        element.place = place
        element.referenced = False
        self.chains[place].add(element)

    def give(self, element: Element, place: int) -> None:
        """Take an entry off for another owner."""
        self._leave(element)
        element.place = place

    def rotate(self) -> None:
        active, inactive = self.chains[ACTIVE], self.chains[INACTIVE]
        if inactive.count < active.count:
            first = active.newest()
            for seen, element in enumerate(active.from_oldest(), 1):
                self.move(element, ACTIVE if element.referenced else INACTIVE)
                if seen == self.scans or element is first:
                    break
        if inactive:
            self._scan_inactive(inactive.root)

    def _scan_inactive(self, root: Element) -> None:
        last = self.scan.older
        if last is root:
            last = last.older
        at = self.scan
        seen = 0
        following = at
        while seen < self.scans:
            if at is root:
                at = at.newer
                continue
            following = at.newer
            if at.referenced:
                self.move(at, ACTIVE)
            if at is last:
                break
            at = following
            seen += 1
        self.scan = following

    def shrink(self, wanted: int, drop: Callable[[Element], None], put: Callable[[Element], None]) -> None:
        """Drop up to `wanted` inactive entries without the bit, or one entry in any case."""
        got = 0
        for seen, element in enumerate(self.chains[INACTIVE].from_oldest(), 1):
            if element.referenced:
                self.move(element, ACTIVE)
            else:
                drop(element)
                put(element)
                got += 1
                if got == wanted:
                    break
            if seen == self.scans:
                break
        if got:
            return
        victims = self.chains[INACTIVE] or self.chains[ACTIVE]
        for element in victims.from_oldest():
            drop(element)
            put(element)
            return


class CommonLru:
    """One set of lists for all CPUs, and a batch of free and of pending entries on each."""

    __slots__ = ("_drop", "free", "lists", "pending", "steal", "target")

    def __init__(
        self,
        elements: list[Element],
        cpus: int,
        drop: Callable[[Element], None],
        make: Callable[[], Element],
    ) -> None:
        self._drop = drop
        self.lists = Lists(make, MOST_TARGET)
        self.target = max(1, min(len(elements) // cpus // 2, MOST_TARGET))
        self.free = [Chain(make) for _ in range(cpus)]
        self.pending = [Chain(make) for _ in range(cpus)]
        self.steal = list(range(cpus))
        for element in reversed(elements):
            self.lists.take(element, FREE)

    def pop(self, cpu: int) -> Element | None:
        """An entry to fill; entries that are dropped for it are told to `drop`."""
        element = self._local(cpu)
        if element is None:
            self._refill(cpu)
            element = self._local(cpu)
        if element is None:
            element = self._stolen(cpu)
        if element is not None:
            element.place, element.cpu, element.referenced = PENDING, cpu, False
            self.pending[cpu].add(element)
        return element

    def _local(self, cpu: int) -> Element | None:
        chain = self.free[cpu]
        element = chain.newest()
        if element is not None:
            chain.remove(element)
        return element

    def _refill(self, cpu: int) -> None:
        lists, pending, free = self.lists, self.pending[cpu], self.free[cpu]
        for element in pending.from_oldest():
            pending.remove(element)
            lists.take(element, ACTIVE if element.referenced else INACTIVE)
        lists.rotate()

        def put(element: Element) -> None:
            lists.give(element, LOCAL_FREE)
            free.add(element)

        got = 0
        while got < self.target:
            found = lists.chains[FREE].newest()
            if found is None:
                break
            put(found)
            got += 1
        if got < self.target:
            lists.shrink(self.target - got, self._drop, put)

    def _stolen(self, cpu: int) -> Element | None:
        first = at = self.steal[cpu]
        element = None
        while True:
            element = self._local(at) or self._from_pending(at)
            at = (at + 1) % len(self.free)
            if element is not None or at == first:
                break
        self.steal[cpu] = at
        return element

    def _from_pending(self, cpu: int) -> Element | None:
        chain = self.pending[cpu]
        for regardless in (False, True):
            for element in chain.from_oldest():
                if regardless or not element.referenced:
                    self._drop(element)
                    chain.remove(element)
                    return element
        return None

    def push(self, element: Element) -> None:
        """Give back an entry that was deleted or not needed."""
        if element.place == PENDING:
            self.pending[element.cpu].remove(element)
            element.place, element.referenced = LOCAL_FREE, False
            self.free[element.cpu].add(element)
        elif element.place in (ACTIVE, INACTIVE):
            self.lists.move(element, FREE)


class PerCpuLru:
    """BPF_F_NO_COMMON_LRU: lists and entries of its own for each CPU."""

    __slots__ = ("_drop", "lists")

    def __init__(
        self,
        elements: list[Element],
        cpus: int,
        drop: Callable[[Element], None],
        make: Callable[[], Element],
    ) -> None:
        self._drop = drop
        self.lists = [Lists(make, PER_CPU_TARGET) for _ in range(cpus)]
        share = len(elements) // cpus
        for cpu, lists in enumerate(self.lists):
            for element in reversed(elements[cpu * share : (cpu + 1) * share]):
                element.cpu = cpu
                lists.take(element, FREE)

    def pop(self, cpu: int) -> Element | None:
        lists = self.lists[cpu]
        lists.rotate()
        free = lists.chains[FREE]
        if not free:
            lists.shrink(PER_CPU_TARGET, self._drop, lambda element: lists.move(element, FREE))
        element = free.newest()
        if element is not None:
            lists.move(element, INACTIVE)
        return element

    def push(self, element: Element) -> None:
        if element.place != FREE:
            self.lists[element.cpu].move(element, FREE)
