"""What the parts of `Machine` know of the whole."""

from __future__ import annotations

from typing import Any

from ..btf import Btf
from .contexts.base import Context
from .helpers.services import Services
from .kernel_memory import Kernel, Object, User
from .load import Collection, Program
from .memory import Memory
from .types import Types


class Core:
    """Attributes that `Machine` sets, for the classes it is put together of."""

    arch: str
    btf: Btf
    collections: list[Collection]
    declared: dict[Any, Program]
    kernel: Kernel
    memory: Memory
    paths: dict[int, str]
    programs: dict[str, Program]
    sequences: dict[int, bytearray]
    services: Services
    sockets: dict[int, Object]
    types: Types
    user: User
    _shared: dict[str, Object]

    @property
    def current(self) -> Object:
        raise NotImplementedError

    def run(self, program: Program, context: Context, *, cpu: int | None = None) -> int:
        raise NotImplementedError
