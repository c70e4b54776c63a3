"""Numbers of the BTF format (UAPI header `linux/btf.h`): kinds, sizes of their records, encodings.

Plain integers, because this module is on the start-up path.
"""

from __future__ import annotations

MAGIC = 0xEB9F
VERSION = 1
HEADER_SIZE = 24

VOID = 0
INT = 1
PTR = 2
ARRAY = 3
STRUCT = 4
UNION = 5
ENUM = 6
FWD = 7
TYPEDEF = 8
VOLATILE = 9
CONST = 10
RESTRICT = 11
FUNC = 12
FUNC_PROTO = 13
VAR = 14
DATASEC = 15
FLOAT = 16  # Linux 5.13
DECL_TAG = 17  # Linux 5.16
TYPE_TAG = 18  # Linux 5.17
ENUM64 = 19  # Linux 6.0

KIND_MAX = ENUM64

KIND_NAMES = (
    "void",
    "int",
    "ptr",
    "array",
    "struct",
    "union",
    "enum",
    "fwd",
    "typedef",
    "volatile",
    "const",
    "restrict",
    "func",
    "func_proto",
    "var",
    "datasec",
    "float",
    "decl_tag",
    "type_tag",
    "enum64",
)

# INT encodings.
INT_SIGNED = 1
INT_CHAR = 2
INT_BOOL = 4

# VAR and FUNC linkages.
LINK_STATIC = 0
LINK_GLOBAL = 1
LINK_EXTERN = 2

# Bytes that follow the 12-byte record of a kind: a fixed part, and a part for each of its `vlen` items.
FIXED_EXTRA = (0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0)
ITEM_EXTRA = (0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12)

# Kinds whose third word is a size in bytes; in all others it is a type id (or nothing).
SIZED = frozenset((INT, STRUCT, UNION, ENUM, DATASEC, FLOAT, ENUM64))

# Kinds that only qualify or rename another type.
MODIFIERS = frozenset((TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG))
COMPOSITES = frozenset((STRUCT, UNION))
ENUMS = frozenset((ENUM, ENUM64))
