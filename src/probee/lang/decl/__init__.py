"""What a program declares: integer types, text, structs, maps, globals, and the functions to run on a hook.

These are plain objects that the compiler reads. Everything here also works in CPython without a kernel:
integers wrap, structs hold values, so the same function can run as Python in a test. Every program imports
this package at every start, so it imports nothing but `sys` and `struct`. Map types that few programs use are
in modules of their own: `queues`, `storages`, `redirects`, `nested`.
"""

from __future__ import annotations

from .functions import GlobalFunction as GlobalFunction
from .functions import global_function as global_function
from .maps import Array as Array
from .maps import Hash as Hash
from .maps import LpmTrie as LpmTrie
from .maps import LruHash as LruHash
from .maps import LruPerCpuHash as LruPerCpuHash
from .maps import MapDecl as MapDecl
from .maps import PerCpuArray as PerCpuArray
from .maps import PerCpuHash as PerCpuHash
from .maps import ProgArray as ProgArray
from .maps import RingBuf as RingBuf
from .maps import StackTrace as StackTrace
from .programs import ProgramDecl as ProgramDecl
from .programs import perf_event as perf_event
from .programs import programs_in as programs_in
from .programs import raw_tracepoint as raw_tracepoint
from .programs import symbols as symbols
from .programs import tp_btf as tp_btf
from .programs import tracepoint as tracepoint
from .programs import uprobe as uprobe
from .programs import uretprobe as uretprobe
from .refuse import NotAttached as NotAttached
from .structs import Field as Field
from .structs import KernelStruct as KernelStruct
from .structs import Struct as Struct
from .structs import StructType as StructType
from .structs import Union as Union
from .structs import normalise as normalise
from .types import ArrayType as ArrayType
from .types import Bits as Bits
from .types import BitsType as BitsType
from .types import Char as Char
from .types import CharType as CharType
from .types import EnumType as EnumType
from .types import FixedList as FixedList
from .types import Ptr as Ptr
from .types import PtrType as PtrType
from .types import ScalarType as ScalarType
from .types import align_of as align_of
from .types import bool_ as bool_
from .types import coerce as coerce
from .types import default as default
from .types import i8 as i8
from .types import i16 as i16
from .types import i32 as i32
from .types import i64 as i64
from .types import ir_type as ir_type
from .types import pack as pack
from .types import size_of as size_of
from .types import u8 as u8
from .types import u16 as u16
from .types import u32 as u32
from .types import u64 as u64
from .types import unpack as unpack
from .variables import Const as Const
from .variables import Global as Global
from .variables import Var as Var
