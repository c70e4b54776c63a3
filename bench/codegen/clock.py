"""Hours, minutes and seconds since boot."""

import probee as bp
from probee import u8, u32


class Time(bp.Struct):
    days: u32
    hours: u8
    minutes: u8
    seconds: u8


now = bp.Global[Time]()


@bp.raw_tracepoint("sys_enter")
def tell(regs, number):
    seconds = bp.nsecs() // 1_000_000_000
    now.value.days = seconds // 86400
    now.value.hours = seconds // 3600 % 24
    now.value.minutes = seconds // 60 % 60
    now.value.seconds = seconds % 60
