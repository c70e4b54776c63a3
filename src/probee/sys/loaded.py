"""What the dynamic linker has made of a library in this very process."""

from __future__ import annotations

import os
from _ctypes import dlclose, dlopen, dlsym


def address_of(path: str, symbol: str) -> int:
    """Where `symbol` of the shared object `path` is in our memory; 0 if that is not loaded here.

    For an indirect function (STT_GNU_IFUNC) it is the implementation that suits this machine's CPU. Nothing
    is loaded, so none of the library's code runs but the choice itself.
    """
    try:
        handle = dlopen(path, os.RTLD_NOW | os.RTLD_NOLOAD)
    except OSError:
        return 0
    try:
        return int(dlsym(handle, symbol))
    except OSError:
        return 0
    finally:
        dlclose(handle)
