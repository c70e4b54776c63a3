"""Programs written in Python: from functions to an ELF object."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .decl import ProgramDecl
    from .ktypes import KernelTypes


def compile(
    programs: list[ProgramDecl],
    *,
    ktypes: KernelTypes | None = None,
    merge_syscalls: bool = True,
    license: str = "Dual MIT/GPL",
    cpu: str = "v3",
    debug: str = "",
) -> bytes:
    """The ELF object of the programs, in libbpf's conventions.

    `ktypes` are the kernel's types, `KernelTypes.usual()` if they are left out. `debug` is as in `llvm.emit`.
    Raises CompileError at the place of what the language or BPF does not have.
    """
    from .codegen import Compiler

    # LLVM starts in a child while the front end works
    with Compiler(cpu, optimise=debug != "slots") as compiler:
        from . import llvm
        from .frontend import compile_module

        if ktypes is None:
            from .ktypes import KernelTypes

            ktypes = KernelTypes.usual()
        module = compile_module(programs, ktypes=ktypes, merge_syscalls=merge_syscalls, license=license)
        return llvm.emit(module, compiler=compiler, debug=debug)
