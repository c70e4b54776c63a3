"""What the tools share: their options, the clock, tables and JSON lines, histograms, and when to stop."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from ..session import Session


NOBODY = 0xFFFF_FFFF  # no user has this id: it means "no change" to chown(2)


class Option:
    """An option of a tool. `convert` makes a value of its text or raises ValueError; None: it is a flag."""

    __slots__ = ("convert", "default", "flags", "help", "meta", "name")

    def __init__(
        self,
        *flags: str,
        help: str,
        convert: Callable[[str], Any] | None = None,
        meta: str = "",
        default: Any = None,
    ) -> None:
        self.flags = flags
        self.name = flags[-1].lstrip("-").replace("-", "_")
        self.help = help
        self.convert = convert
        self.meta = meta
        self.default = False if convert is None else default


class Options:
    """The options of one run, as attributes."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def positive(text: str) -> int:
    """A whole number above zero, of the kernel's 31 bits."""
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if value <= 0:
        raise ValueError(f"{text} is not above zero")
    if value >= 1 << 31:
        raise ValueError(f"{text} is too large")
    return value


def seconds(text: str) -> float:
    """A time in seconds, above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"{text} is not a time in seconds above zero")
    return value


def user(text: str) -> int:
    """A user id, or the id of the user of that name."""
    if text.isdecimal():
        if len(text) > 10 or int(text) >= NOBODY:
            raise ValueError(f"{text} is no user id: they are below {NOBODY}")
        return int(text)
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {text!r}") from None


def command(text: str) -> str:
    """A thread's name as the kernel keeps it: at most 15 bytes."""
    if not text:
        raise ValueError("a name is needed")
    return text.encode()[:15].decode(errors="ignore")


PID = Option("-p", "--pid", convert=positive, meta="PID", help="only this process")
UID = Option("-u", "--uid", convert=user, meta="USER", help="only this user, by name or number")
COMM = Option("-c", "--comm", convert=command, meta="NAME", help="only threads of this name")
DURATION = Option("-d", "--duration", convert=seconds, meta="SECONDS", help="stop after this time")
INTERVAL = Option("-i", "--interval", convert=seconds, meta="SECONDS", help="print this often")
JSON = Option("-j", "--json", help="one JSON object a line")


def parse(name: str, manual: str | None, options: Sequence[Option], argv: Sequence[str]) -> Options:
    """Options from the command line; `--help` and mistakes end the process as argparse does.

    Importing argparse takes longer than attaching a tool does, so the plain forms (`-p 7`, `--pid 7`,
    `--pid=7`) are read here and only the rest goes to argparse.
    """
    values = {option.name: option.default for option in options}
    by_flag = {flag: option for option in options for flag in option.flags}
    words = iter(argv)
    for word in words:
        flag, equals, text = word.partition("=") if word.startswith("--") else (word, "", "")
        option = by_flag.get(flag)
        if option is None:
            break
        if option.convert is None:
            if equals:
                break
            values[option.name] = True
            continue
        if not equals:
            text = next(words, "")
        if not text or text.startswith("-"):
            break
        try:
            values[option.name] = option.convert(text)
        except ValueError:
            break
    else:
        return Options(values)
    from ._manual import parse_args

    return Options(parse_args(name, manual, options, argv))


def announce(opts: Options, text: str) -> None:
    """Tell people that it has begun; JSON readers want objects only."""
    if not opts.json:
        print(text, flush=True)


class Rows:
    """Prints rows as a table for people or as JSON lines.

    `layout` is a format string: its fields are the columns, and their names the headings. A value of None is
    left out, a list of words is quoted as a shell would want it. `time_ns`, a `bp.ktime_get_ns()`, becomes ns
    since 1970 in JSON and a column `time` in a table. Fields that the layout does not have are in JSON only.
    """

    def __init__(self, layout: str, *, json: bool) -> None:
        self.layout = layout
        self.json = json
        if json:
            from json import dumps

            self._dumps = dumps
        else:
            print(layout.format_map(_Headings()).rstrip(), flush=True)

    def add(self, **fields: Any) -> None:
        ktime = fields.get("time_ns")
        if self.json:
            if ktime is not None:
                fields["time_ns"] = epoch_ns(ktime)
            print(self._dumps({name: value for name, value in fields.items() if value is not None}))
        else:
            if ktime is not None:
                fields["time"] = clock(ktime)
            print(self.layout.format_map({name: _cell(value) for name, value in fields.items()}).rstrip())


def _cell(value: Any) -> Any:
    if value is None:
        return _Word("")
    if isinstance(value, list):
        from shlex import join

        return visible(join(value))
    return visible(value) if isinstance(value, str) else value


def visible(text: str) -> str:
    """`text` with escapes for what would move the cursor or forge a line: file names may hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else repr(c)[1:-1] for c in text)


class _Word(str):
    """Text where a number may be expected: `>9.3f` sets it in 9 columns."""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec.rstrip("dxf").partition(".")[0])


class _Headings(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return _Word(name.upper().replace("_", " "))


_BOOT_TO_EPOCH = time.time_ns() - time.monotonic_ns()


def epoch_ns(ktime_ns: int) -> int:
    """The wall-clock time, in ns since 1970, of a `bp.ktime_get_ns()`."""
    return ktime_ns + _BOOT_TO_EPOCH


def clock(ktime_ns: int) -> str:
    """The same as local HH:MM:SS.mmm."""
    s, ns = divmod(ktime_ns + _BOOT_TO_EPOCH, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(s))}.{ns // 1_000_000:03}"


def stream(session: Session, events: Any, duration: float | None) -> Iterator[Any]:
    """The events of a ring buffer until `duration` is over; what was printed is flushed before each wait."""
    return session.events(events, duration=duration, idle=sys.stdout.flush)


def rounds(interval: float | None, duration: float | None) -> Iterator[None]:
    """Steps every `interval` seconds, and a last time when `duration` is over or at Ctrl-C.

    In the machine time is what its scenario makes of it: one step, at the end of that.
    """
    machines = sys.modules.get("probee.machine_target")
    if machines is not None and machines.playing:
        for machine in machines.playing:
            while machine.advance():
                pass
        yield
        return
    end = time.monotonic() + duration if duration else float("inf")
    left = end - time.monotonic()
    try:
        while left > 0:
            time.sleep(min(interval or 1e6, left))
            left = end - time.monotonic()
            if left > 0 and interval:
                yield
                sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    yield


class Log2:
    """A histogram whose slot n counts the values from 2**n up to 2**(n+1) - 1, and slot 0 zeros and ones.

    `show` prints what was counted since the last time it was called.
    """

    def __init__(self, title: str, unit: str, *, json: bool) -> None:
        self.title = title
        self.unit = unit
        self.json = json
        self._before: list[int] = []

    def show(self, slots: Iterable[Iterable[int]]) -> None:
        """`slots` are the values of a per-CPU array: for each slot, a count on each CPU."""
        total = [sum(cpus) for cpus in slots]
        before = self._before or [0] * len(total)
        self._before = total
        counts = [now - then for now, then in zip(total, before, strict=True)]
        if self.json:
            from json import dumps

            used = [slot for slot, count in enumerate(counts) if count]
            buckets = [{"from": low(slot), "to": high(slot), "count": counts[slot]} for slot in used]
            record = {"time_ns": time.time_ns(), "title": self.title, "unit": self.unit, "total": sum(counts)}
            print(dumps({**record, "buckets": buckets}))
        else:
            print("\n".join(["", *histogram(counts, self.title, self.unit)]))


def low(slot: int) -> int:
    return 0 if slot == 0 else 1 << slot


def high(slot: int) -> int:
    return (2 << slot) - 1


def histogram(counts: Sequence[int], title: str, unit: str, *, width: int = 40) -> list[str]:
    """The lines of a log2 histogram, from the first slot that is not empty to the last."""
    used = [slot for slot, count in enumerate(counts) if count]
    if not used:
        return [f"{title}: nothing seen"]
    most = max(counts)
    bar = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    lines = [f"{title}, {sum(counts)} in all", f"{unit:>22} : {'count':<9} distribution"]
    for slot in range(used[0], used[-1] + 1):
        span = f"{low(slot):>9} -> {high(slot):<9}"
        stars = bar * -(-counts[slot] * width // most)  # rounded up: what was seen once is seen here
        lines.append(f"{span:>22} : {counts[slot]:<9} |{stars:<{width}}|")
    return lines
