"""Records in memory, as ring buffers and perf buffers leave them, to objects and columns."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from ..btf.values import Codec

    Part = tuple[memoryview, list["Run"]]  # memory, and where records are in it

_MOST = 1 << 8  # headers compared in one step; after as many equal ones NumPy compares the rest
_WORTH_A_COLUMN = 8  # records of a run from which on NumPy's overhead pays


class Run:
    """`count` records of `length` bytes, one every `stride` bytes, the first (its header) at byte `at`."""

    __slots__ = ("at", "count", "length", "stride")

    def __init__(self, at: int, count: int, length: int, stride: int) -> None:
        self.at = at
        self.count = count
        self.length = length
        self.stride = stride


def repeated(heads: memoryview, first: int, step: int, most: int, expected: bytes) -> int:
    """How many items `heads[first::step]` at the start, up to `most`, are `expected`. One is known to be."""
    count = 1
    width = len(expected)
    at_once = 4
    while count < most:
        n = min(at_once, most - count)
        begin = first + count * step
        if at_once == _MOST and "numpy" in sys.modules:
            n = most - count
            found = _numpy_equal(heads, begin, step, n, expected)
            if found < n:
                return count + found
            return most
        some = heads[begin : begin + n * step : step].tobytes()
        if some != expected * n:
            low, high = 0, len(some) // width  # the first `low` are, the first `high` are not
            while high - low > 1:
                middle = (low + high) // 2
                if some[: middle * width] == expected * middle:
                    low = middle
                else:
                    high = middle
            return count + low
        count += n
        at_once = min(_MOST, at_once * 4)
    return count


def _numpy_equal(heads: memoryview, first: int, step: int, most: int, expected: bytes) -> int:
    """How many of `most` items are `expected` before the first that is not."""
    import numpy as np

    kind = np.dtype(f"u{len(expected)}")
    different = np.frombuffer(heads, kind)[first::step][:most] != np.frombuffer(expected, kind)[0]
    return int(different.argmax()) if different.any() else most


def objects(data: memoryview, run: Run, lead: int, codec: Codec | None) -> list[Any]:
    """The records of a run, behind `lead` bytes each, as values; as bytes without a codec.

    A record longer than its type is cut, for a shorter one zeros follow.
    """
    at, length, stride = run.at, run.length, run.stride
    if codec is not None and codec.size <= length:
        view = data[at : at + run.count * stride]
        return list(codec.stream(view, lead, stride - lead - codec.size))
    starts = range(at + lead, at + lead + run.count * stride, stride)
    raw = [data[start : start + length].tobytes() for start in starts]
    if codec is None:
        return raw
    return [codec.unpack(r.ljust(codec.size, b"\0")) for r in raw]


def columns(parts: list[Part], lead: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The records of some runs, behind `lead` bytes each, as one array: a copy."""
    import numpy as np

    size = dtype.itemsize
    total = sum([run.count for _, runs in parts for run in runs])
    if not size:
        return np.zeros(total, dtype)
    raw = np.dtype(f"V{size}")  # whole items move faster than their fields
    out = np.empty(total, raw)
    filled = 0
    singles: list[bytes] = []

    def gather() -> None:
        nonlocal filled
        if singles:
            out[filled : filled + len(singles)] = np.frombuffer(b"".join(singles), raw)
            filled += len(singles)
            singles.clear()

    for data, runs in parts:
        for run in runs:
            if run.count > _WORTH_A_COLUMN and size <= run.length:
                gather()
                item: Any = {"names": ["v"], "formats": [raw], "offsets": [lead], "itemsize": run.stride}
                found = np.frombuffer(data, np.dtype(item), run.count, run.at)["v"]
                out[filled : filled + run.count] = found
                filled += run.count
                continue
            keep = min(size, run.length)
            for start in range(run.at + lead, run.at + lead + run.count * run.stride, run.stride):
                singles.append(data[start : start + keep].tobytes().ljust(size, b"\0"))
    gather()
    return out.view(dtype)
