"""BPF tokens (Linux 6.9): rights that a privileged process delegated to a BPF file system.

A process in a user namespace gets a token from such a mount and may then load what the mount allows.
"""

from __future__ import annotations

import os

from probee import sys as kernel_calls
from probee.errors import LoadError

DEFAULT = "/sys/fs/bpf"
VARIABLE = "LIBBPF_BPF_TOKEN_PATH"


def open_token(path: str | None = None) -> int:
    """A token from the BPF file system at `path`, or at that of the environment variable.

    0 if the path is empty, which asks for none. Raises LoadError if there is no token to be had.
    """
    where = os.environ.get(VARIABLE, "") if path is None else path
    if not where:
        return 0
    try:
        return _create(where)
    except OSError as error:
        raise LoadError(
            f"no BPF token from {where}: {os.strerror(error.errno or 0)} (it must be a BPF file system that"
            " was mounted with delegate_cmds= and the like, for this user namespace)",
            errno=error.errno or 0,
        ) from None


def try_token() -> int:
    """A token from the usual place, 0 if there is none."""
    if os.environ.get(VARIABLE) == "":
        return 0
    try:
        return _create(DEFAULT)
    except OSError:
        return 0


def _create(path: str) -> int:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return kernel_calls.kernel().token_create(folder)
    finally:
        os.close(folder)
