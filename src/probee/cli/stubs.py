"""`probee stubs`: the running kernel's types, functions and tracepoints, for editors and type checkers."""

from __future__ import annotations

import argparse
import os

from ..errors import ProbeeError

EXAMPLES = """\
examples:
  probee stubs                      beside probee.vmlinux, where mypy and pyright find it
  probee stubs -o typings           vmlinux.pyi and vmlinux.py in a folder of your own
  probee stubs task_struct sock     these structs and what they lead to
  probee stubs --all                all the kernel's structs

In programs: `from probee import vmlinux`, then `task: vmlinux.task_struct` and `bp.cast(vmlinux.sock, p)`.
"""
MODULE = '''\
"""The kernel's types, see probee.vmlinux."""

from probee.vmlinux import __getattr__ as __getattr__
from probee.vmlinux import events as events
'''


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee stubs",
        description="Write .pyi files for the types of the running kernel.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", metavar="STRUCT", nargs="*", help="structs to begin with (default: the usual)"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="write the module vmlinux there")
    parser.add_argument("-a", "--all", action="store_true", help="all structs of the kernel")
    opts = parser.parse_args(argv)
    from .. import vmlinux
    from ..lang.ktypes import KernelTypes
    from ..lang.services.stub_kernel import render

    text = render(KernelTypes.usual(), opts.names, every=opts.all)
    folder = opts.output or os.path.dirname(vmlinux.__file__ or "")
    files = {"vmlinux.pyi": text}
    if opts.output:
        files["vmlinux.py"] = MODULE
    path = ""
    try:
        os.makedirs(folder, exist_ok=True)
        for name, content in files.items():
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
    except OSError as error:
        raise ProbeeError(f"can't write {path or folder}: {error.strerror}") from None
    count = text.count("\nclass ")
    print(f"{os.path.join(folder, 'vmlinux.pyi')}: {count} types, {len(text) // 1024} KiB")
    return 0
