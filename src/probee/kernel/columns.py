"""Maps and records as columns: NumPy arrays out and in, Arrow tables and data frames out."""

from __future__ import annotations

import numpy as np

from ..btf.values import text
from .batch import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pandas
    import pyarrow

    from .maps import KeyedMap

    Array = np.ndarray[Any, Any]

_FIRST = 1 << 13  # entries of the first chunk of a map, see batch
_BUCKET = 64  # more entries than a bucket has: a full chunk may lack so many


def to_numpy(m: KeyedMap, locked: bool) -> Array:
    """A structured array of all entries: `key` and `value`."""
    key, value = m.key.dtype(), np.dtype(m.value_dtype())
    cpus = getattr(m, "cpus", 0)
    shape = (cpus,) if cpus else ()
    # Entries are moved as what NumPy moves fastest: numbers as numbers, anything else as so many bytes.
    moved_key, moved_value = _mover(key), _mover(value)
    slot = np.dtype(
        {"names": ["v"], "formats": [moved_value], "offsets": [0], "itemsize": m.span // (cpus or 1)}
    )
    layout: dict[str, Any] = {"names": ["key", "value"], "offsets": [0, m.key_size]}
    layout["itemsize"] = m.key_size + value.itemsize * (cpus or 1)
    raw: Any = np.dtype({**layout, "formats": [moved_key, (moved_value, shape)]})  # type: ignore[call-overload]
    out = np.empty(0, raw)
    filled = 0
    try_walk = not locked
    for keys, values, n in m.chunks():
        if filled + n > len(out):
            grown = np.empty(max(filled + n, min(m.max_entries, 4 * filled)), raw)
            grown[:filled] = out[:filled]
            out = grown
        part = out[filled : filled + n]
        part["key"] = np.frombuffer(keys, moved_key, n)
        part["value"] = np.frombuffer(values, slot, n * (cpus or 1))["v"].reshape(n, *shape)
        filled += n
        if try_walk and n > _FIRST - _BUCKET:  # there is more than one chunk
            found = _walked(m, moved_key, moved_value)
            if found is not None:
                out = np.empty(len(found), raw)
                out["key"], out["value"] = found["key"], found["value"]
                filled = len(found)
                break
        try_walk = False
    out = out[:filled].copy() if filled < len(out) * 3 // 4 else out[:filled]
    return out.view(np.dtype({**layout, "formats": [key, (value, shape)]}))  # type: ignore[call-overload]


def _walked(m: KeyedMap, key: Any, value: Any) -> Any:
    """The entries as a program in the kernel copies them; None if it can't."""
    from . import walk

    rows = walk.walk(m) if walk.fits(m) else None
    if rows is None:
        return None
    size = rows.shape[1] * 8
    offsets = [0, m.key_size + 7 & ~7]
    item: Any = {"names": ["key", "value"], "formats": [key, value], "offsets": offsets, "itemsize": size}
    return np.frombuffer(rows, np.dtype(item))


def _mover(dtype: Any) -> Any:
    return dtype if _is_number(dtype) else np.dtype(f"V{dtype.itemsize}")


def _is_number(dtype: Any) -> bool:
    return dtype.names is None and dtype.subdtype is None and dtype.kind in "iufb"


# ---- in


def update_many(m: KeyedMap, keys: Any, values: Any, flags: int) -> None:
    """Set the entries that two columns describe."""
    cpus = getattr(m, "cpus", 0)
    key_column = fitted(keys, m.key.dtype(), "keys")
    count = len(key_column)
    shape = (cpus,) if cpus else ()
    value_column = fitted(values, np.dtype(m.value_dtype()), "values", shape)
    if len(value_column) != count:
        raise ValueError(f"{count} keys, but {len(value_column)} values")
    if cpus and m.value_size * cpus != m.span:  # each CPU's value starts at a multiple of 8
        slots = np.zeros((count, cpus, m.span // cpus), np.uint8)
        slots[:, :, : m.value_size] = as_bytes(value_column).reshape(count, cpus, m.value_size)
        value_column = slots
    write(m, as_bytes(key_column), as_bytes(value_column), count, flags)


def as_bytes(array: Array) -> Any:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8) if array.size and array.dtype.itemsize else np.empty(0, np.uint8)


def fitted(column: Any, dtype: Any, what: str, shape: tuple[int, ...] = ()) -> Array:
    """A column as a contiguous array of `dtype`, each entry of `shape`; checks that the values fit.

    Raises OverflowError for a number that does not, TypeError for what is no such value.
    """
    base, inner = (dtype.base, dtype.shape) if dtype.subdtype is not None else (dtype, ())
    if dtype.names is None and not isinstance(column, np.ndarray) and base.kind == "S":
        column = [c.encode("utf-8", "surrogateescape") if isinstance(c, str) else c for c in column]
    array = np.asarray(column)
    if dtype.names is not None and array.dtype.names is None:
        array = np.array([tuple(c) for c in column], dtype) if len(array) else np.empty(0, dtype)
    expected = array.shape[:1] + shape + inner
    if array.shape != expected and array.size:
        raise TypeError(f"{what}: an array of shape {expected} is needed, not {array.shape}")
    if array.dtype == base:
        return np.ascontiguousarray(array)
    if dtype.names is not None:
        return _fitted_struct(array, dtype, what, shape)
    _check(array, base, what)
    return np.ascontiguousarray(array.astype(base))


def _fitted_struct(array: Array, dtype: Any, what: str, shape: tuple[int, ...]) -> Array:
    if array.dtype.names is None or set(array.dtype.names) != set(dtype.names):
        raise TypeError(f"{what}: the fields {', '.join(dtype.names)} are needed, not {array.dtype}")
    out = np.zeros(array.shape, dtype)
    for name in dtype.names:
        out[name] = fitted(array[name], dtype[name], f"{what}: {name}", shape)
    return out


_TAKEN = {"i": "iub", "u": "iub", "f": "iufb", "b": "b", "S": "S", "V": "V"}  # kinds of dtypes, for each


def _check(array: Array, base: Any, what: str) -> None:
    """Raise unless the numbers or texts of an array can be stored as `base`."""
    if not array.size:
        return
    if array.dtype.kind not in _TAKEN.get(base.kind, ""):
        hint = ", text comes as bytes" if array.dtype.kind == "U" else ""
        raise TypeError(f"{what}: {base} is needed, not {array.dtype}{hint}")
    if base.kind in "iu" and array.dtype.kind != "b":
        limits = np.iinfo(base)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            value = low if low < limits.min else high
            raise OverflowError(f"{what}: {value} does not fit {base} ({limits.min} to {limits.max})")
    elif base.kind == "S":
        longest = int(np.char.str_len(array).max())
        if longest > base.itemsize:
            raise ValueError(f"{what}: {longest} bytes do not fit {base.itemsize}")
    elif base.kind == "V" and array.dtype.itemsize != base.itemsize:
        raise ValueError(f"{what}: {array.dtype.itemsize} bytes, where {base.itemsize} are needed")


# ---- out


def to_arrow(array: Array) -> pyarrow.Table:
    """A structured array as an Arrow table with a column for each field."""
    pa = _library("pyarrow")
    columns = {name: _arrow(pa, array[name]) for name in array.dtype.names or ()}
    return pa.table(columns)


def _library(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise ImportError(
            f"this needs {name}: pip install 'probee[columns]' (or {name})", name=name
        ) from None


def _arrow(pa: Any, array: Array) -> Any:
    """A column, whose items may be structs, text, bytes or arrays, as an Arrow array."""
    dtype = array.dtype
    if array.ndim > 1 and dtype.kind == "u" and dtype.itemsize == 1 and array.ndim == 2:
        return _fixed(pa, array)
    if array.ndim > 1:
        length = array.shape[1]
        items = array.reshape(array.shape[0] * length, *array.shape[2:])
        return pa.FixedSizeListArray.from_arrays(_arrow(pa, items), length)
    if dtype.names is not None:
        if not dtype.names:
            return pa.nulls(len(array))
        return pa.StructArray.from_arrays([_arrow(pa, array[n]) for n in dtype.names], names=dtype.names)
    if dtype.kind == "S":
        return _arrow_text(pa, array)
    if dtype.kind == "V":
        return _fixed(pa, np.ascontiguousarray(array).view(np.uint8).reshape(len(array), dtype.itemsize))
    return pa.array(np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False)))


def _fixed(pa: Any, array: Array) -> Any:
    rows = np.ascontiguousarray(array)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(array.shape[1]), len(array), [None, pa.py_buffer(rows)]
    )


def _arrow_text(pa: Any, array: Array) -> Any:
    """Text fields as strings, without going through Python objects where all is UTF-8."""
    size = array.dtype.itemsize
    if not size or not len(array):
        return pa.array([""] * len(array), pa.string())
    rows = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), size)
    used = np.minimum.accumulate(rows != 0, axis=1)  # up to the first NUL
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(used.sum(axis=1), out=offsets[1:])
    kind, width = (pa.string(), np.int32) if offsets[-1] < 1 << 31 else (pa.large_string(), np.int64)
    data = [None, pa.py_buffer(offsets.astype(width)), pa.py_buffer(rows[used])]
    strings = pa.Array.from_buffers(kind, len(array), data)
    try:
        strings.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(_texts(array), kind)
    return strings


def _texts(array: Array) -> list[str]:
    return [text(item) for item in array.tolist()]


def to_pandas(array: Array) -> pandas.DataFrame:
    """A structured array as a data frame. Structs are columns of their fields, `key.pid`, arrays columns of
    their items, `value.0`, text is str, bytes are bytes."""
    pd = _library("pandas")
    columns: dict[str, Any] = {}
    for name in array.dtype.names or ():
        _flatten(array[name], name, columns)
    return pd.DataFrame(columns, index=range(len(array)), copy=False)


def _flatten(array: Array, name: str, out: dict[str, Any]) -> None:
    dtype = array.dtype
    if array.ndim == 2 and dtype.kind == "u" and dtype.itemsize == 1:
        out[name] = [row.tobytes() for row in array]
    elif array.ndim > 1:
        for i in range(array.shape[1]):
            _flatten(array[:, i], f"{name}.{i}", out)
    elif dtype.names is not None:
        for field in dtype.names:
            _flatten(array[field], f"{name}.{field}", out)
    elif dtype.kind == "S":
        out[name] = _texts(array)
    elif dtype.kind == "V":
        out[name] = [bytes(item) for item in array]
    else:
        out[name] = np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False))
