"""LLVM: a module's text to an object. The only place that imports llvmlite for the machine, and only when
there is something to compile.
"""

from __future__ import annotations

from ..errors import ProbeeError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGE = 4000  # lines of text: beyond that the costlier passes are left out
_QUICK = ("sroa", "simplify_cfg", "instruction_combine", "simplify_cfg")
_machines: dict[int, Any] = {}


def _machine(level: int) -> Any:
    """The target, with the effort that code generation makes: 0 to 3."""
    if level not in _machines:
        try:
            import llvmlite.binding as llvm
        except ImportError:
            raise Unsupported("native code needs LLVM: pip install llvmlite", feature="JIT") from None
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            opt=level,
            reloc="pic",
            codemodel="small",
        )
        _machines[level] = machine
    return _machines[level]


def compile_object(text: str, *, quick: bool = False) -> bytes:
    """The ELF object of a module in LLVM's language. `quick` takes a quarter of the time, for code
    that is slower.

    Raises:
        Unsupported: llvmlite is missing.
    """
    machine = _machine(0 if quick else 2)
    import llvmlite.binding as llvm

    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise ProbeeError(f"LLVM did not take the code made for it: {error}") from None
    level = 2 if text.count("\n") < _LARGE else 1
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_unrolling = level == 2
    builder = llvm.create_pass_builder(machine, options)
    if quick:
        passes = llvm.create_new_function_pass_manager()
        for name in _QUICK:
            getattr(passes, f"add_{name}_pass")()
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)
    else:
        builder.getModulePassManager().run(module, builder)
    found: bytes = machine.emit_object(module)
    return found
