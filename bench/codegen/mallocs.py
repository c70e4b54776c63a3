"""A log-linear histogram of the sizes that malloc is asked for."""

import probee as bp
from probee import u64

sizes = bp.Array[u64](256)
largest = bp.Global[u64](0)


@bp.uprobe("libc", "malloc")
def on_malloc(size: u64):
    if size > largest.value:
        largest.value = size
    sizes[bp.log2_linear(size, 2)] += 1
