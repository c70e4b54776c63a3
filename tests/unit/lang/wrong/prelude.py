# ruff: noqa: F401, F403
"""What the wrong programs beside this file may use."""

import asyncio
import decimal
import enum
import json
import os
import random
import re
import struct
import time

import probee as bp
from probee import *
from probee import Char, i8, i16, i32, i64, u8, u16, u32, u64


class Point(bp.Struct):
    x: i32
    y: i32


class Event(bp.Struct):
    time_ns: u64
    pid: u32
    kind: u8
    comm: Char[16]
    at: Point
    sizes: u32[4]


class Big(bp.Struct):
    data: u64[40]


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


class Shape(enum.Enum):
    ROUND = 1


class Thing:
    size = 3


counts = bp.Hash[u32, u64](64)
points = bp.Hash[u32, Point](64)
names = bp.Hash[Char[16], u64](64)
slots = bp.Array[u64](8)
percpu = bp.PerCpuArray[u64](8)
events = bp.RingBuf[Event](4096)
queue = bp.Queue[u64](8)
bloom = bp.BloomFilter[u32](64)
storage = bp.TaskStorage[u64]()
stacks = bp.StackTrace(64)
jumps = bp.ProgArray(4)
devices = bp.DevMap(8)
sockets = bp.SockMap(8)
limit = bp.Const[u32](7)
word = bp.Const[Char[16]]("bash")
total = bp.Global[u64](0)
here = bp.Global[Point]()
N = 10
PORTS = (22, 80, 443)
TABLE = {1: 10, 2: 20}
ITEMS = [1, 2, 3]
SETTINGS = {"port": 80}
RATIO = 0.5
thing = Thing()


def double(x: u64) -> u64:
    return 2 * x


def add(a, b):
    return a + b
