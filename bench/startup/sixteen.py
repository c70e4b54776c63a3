"""Sixteen `syscalls:` tracepoints for bench/startup.py: count them, say when they are attached."""

import time

import probee as bp
from probee import u64

calls = bp.PerCpuArray[u64](1)


@bp.tracepoint("syscalls:sys_enter_openat")
@bp.tracepoint("syscalls:sys_enter_close")
@bp.tracepoint("syscalls:sys_enter_read")
@bp.tracepoint("syscalls:sys_enter_write")
@bp.tracepoint("syscalls:sys_enter_mmap")
@bp.tracepoint("syscalls:sys_enter_munmap")
@bp.tracepoint("syscalls:sys_enter_brk")
@bp.tracepoint("syscalls:sys_enter_futex")
@bp.tracepoint("syscalls:sys_exit_openat")
@bp.tracepoint("syscalls:sys_exit_close")
@bp.tracepoint("syscalls:sys_exit_read")
@bp.tracepoint("syscalls:sys_exit_write")
@bp.tracepoint("syscalls:sys_exit_mmap")
@bp.tracepoint("syscalls:sys_exit_munmap")
@bp.tracepoint("syscalls:sys_exit_brk")
@bp.tracepoint("syscalls:sys_exit_futex")
def count():
    calls[0] += 1


if __name__ == "__main__":
    with bp.attach() as session:
        while not calls.sum(0):
            time.sleep(0.001)
        print("attached", flush=True)
        time.sleep(1000)
