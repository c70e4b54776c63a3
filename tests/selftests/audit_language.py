"""What the language has. Tables of the code where there are any; for constructs the tests that prove them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path

from probee.isa import tables
from probee.isa.helpers import PROTOTYPES
from probee.lang import decl
from probee.lang.kinds import table

REPOSITORY = Path(__file__).resolve().parents[2]
KERNEL = "tests/kernel/test_lang_"
OBJECTS = KERNEL + "services_objects.py::"
DYNPTRS = KERNEL + "services_dynptrs.py::"

# Feature -> the test that shows it in a running kernel; of modules in a compiled object, since few kernels
# under test have one with BTF.
PROOFS: dict[str, str] = {
    "byte order": KERNEL + "packets.py::test_writing_swaps_and_builds",
    "memory functions": KERNEL + "data_structs.py::test_comparison_and_copies",
    "printing": KERNEL + "features.py::test_print",
    "atomics without a result": KERNEL + "features.py::test_const_and_global",
    "typed arguments": KERNEL + "features.py::test_tp_btf_with_trusted_arguments",
    "USDT": KERNEL + "kinds.py::test_usdt_arguments",
    "CO-RE: fields": KERNEL + "features.py::test_current_task",
    "CO-RE: bit fields": KERNEL + "data_globals.py::test_result",
    "CO-RE: types": KERNEL + "features.py::test_existence_checks",
    "CO-RE: types that match": KERNEL + "data_globals.py::test_result",
    "CO-RE: enumerators": KERNEL + "data_globals.py::test_enumerators_that_this_kernel_lacks",
    "CO-RE: flavours and own structs": KERNEL + "data_globals.py::test_flavours_choose_at_load_time",
    "tail calls": KERNEL + "features.py::test_tail_call",
    "maps filled when declared": KERNEL + "data_maps.py::test_functions_in_a_program_array",
    "iterators: numbers": KERNEL + "control.py::test_a_range_of_data_goes_round_as_often_as_it_says",
    "iterators: bits": KERNEL + "control.py::test_bits",
    "iterators: memory areas": KERNEL + "control.py::test_memory_areas",
    "iterators: cgroups": KERNEL + "control.py::test_the_cgroups_above_one",
    "iterators: tasks": KERNEL + "control.py::test_tasks_and_threads",
    "iterators: bpf_for_each": KERNEL + "control.py::test_tasks_and_threads",
    "with RCU": KERNEL + "control.py::test_sections_are_left_on_every_way_out",
    "with preemption off": KERNEL + "control.py::test_sections_are_left_on_every_way_out",
    "with interrupts off": KERNEL + "control.py::test_sections_are_left_on_every_way_out",
    "locks held to the scope's end": KERNEL + "control.py::test_sections_are_left_on_every_way_out",
    "loops": KERNEL + "features.py::test_loops",
    "named data sections": KERNEL + "data_sections.py::test_each_section_is_a_map",
    "may_goto": KERNEL + "control_rounds.py::test_a_loop_until_the_kernel_has_enough",
    "configuration of the kernel (kconfig)": KERNEL + "data_kconfig.py::test_values_are_those_of_the_kernel",
    "bit fields": KERNEL + "data_structs.py::test_bit_fields",
    "callbacks": KERNEL + "control_functions.py::test_bpf_loop_with_captured_locals",
    "global functions": KERNEL + "control_functions.py::test_global_functions",
    "tags: arguments of global functions": KERNEL
    + "control_functions.py::test_a_global_function_of_a_kernel_struct",
    "registers": KERNEL + "kinds.py::test_uprobes_by_pattern_and_by_number",
    "legacy packet loads": KERNEL + "packets.py::test_fragments_are_reached_by_copies",
    "spin locks": OBJECTS + "test_spin_lock",
    "resilient spin locks": OBJECTS + "test_resilient_spin_lock",
    "timers": OBJECTS + "test_timer",
    "work queues": OBJECTS + "test_work_queue",
    "task work": OBJECTS + "test_work_for_a_task",
    "kernel functions": OBJECTS + "test_kernel_functions_and_what_they_give",
    "kernel functions that may be missing": OBJECTS + "test_whether_a_kernel_function_is_there",
    "tags: kptr": OBJECTS + "test_a_task_kept_in_a_map",
    "lists and trees": OBJECTS + "test_trees",
    "objects of the program's own": OBJECTS + "test_lists",
    "objects with reference counts": OBJECTS + "test_trees",
    "dynptrs": DYNPTRS + "test_memory_of_a_map",
    "dynptr kfuncs": DYNPTRS + "test_packets_as_dynptrs",
    "kernel variables (ksym)": DYNPTRS + "test_variables_of_the_kernel",
    "tags: per-CPU kptr": DYNPTRS + "test_objects_of_each_cpu",
    "typed results of helpers": DYNPTRS + "test_sockets_that_are_looked_up",
    "user ring buffer in programs": DYNPTRS + "test_records_from_user_space",
    "callbacks: find_vma": DYNPTRS + "test_memory_areas_found",
    "tags: arena arguments of global functions": KERNEL
    + "arenas.py::test_pointers_given_to_global_functions",
    "arena": KERNEL + "arenas.py::test_a_list",
    "atomics with a result": KERNEL + "atomics.py::test_changes_give_what_was_there",
    "exceptions": KERNEL + "throws.py::test_a_throw_ends_all_frames",
    "kernel's context of a packet": KERNEL + "dynptrs.py::test_a_packet_in_one_piece",
    "CO-RE: ids of types": KERNEL + "throws.py::test_types",
    "hooks, structs and functions of modules": "tests/unit/lang/test_lang_modules.py"
    "::test_programs_use_what_a_module_has",
    "pinned by name": "tests/kernel/test_load_objects.py::test_pinning_by_name",
}

# What stands in no program because Python has no need of it.
NEUTRAL = {
    "compiler barrier": "an empty asm statement keeps clang from reordering; it has no effect of its own",
    "verifier's branch on a comparison as written": "keeps clang from rewriting a comparison",
    "weak symbols": "",
}

# What blocks, and why it stays so.
IMPOSSIBLE = {
    "inline assembly": "for instructions that no compiler makes, to test the verifier; `probee asm` has them",
    "owning functions of private test modules": "BTF does not say what they give or take for good",
    "128-bit integers": "the kernel has no such arithmetic; two u64 do",
    "computed goto": "Python has no goto",
}

# Kinds of arguments that plain calls can't give -> the feature that brings them.
_ARGUMENTS = {
    "func": "callbacks",
    "timer": "timers",
    "spin_lock": "spin locks",
    "kptr_xchg_dest": "tags: kptr",
    "dynptr": "dynptrs",
    "percpu": "kernel variables (ksym)",
}
_RESULTS = ("sock", "sock_common", "tcp_sock", "btf:", "dynptr_mem", "percpu")
_TYPED = "typed results of helpers"
_CALLBACKS = {
    "find_vma": "callbacks: find_vma",
    "user_ringbuf_drain": "user ring buffer in programs",
    "timer_set_callback": "timers",
}


def proven(feature: str) -> bool:
    """Is there a test that shows the feature?"""
    proof = PROOFS.get(feature, "")
    return bool(proof) and proof not in missing_proofs([feature])


@cache
def _tests(file: Path) -> frozenset[str]:
    """Names of the tests in a file, none if there is no such file."""
    text = file.read_text() if file.is_file() else ""
    return frozenset(re.findall(r"^def (test_\w+)", text, re.MULTILINE))


def missing_proofs(features: list[str] | None = None) -> list[str]:
    """Proofs that name no test of this repository."""
    missing = []
    for feature in features if features is not None else list(PROOFS):
        path, _, name = PROOFS[feature].partition("::")
        file = REPOSITORY / path
        if name not in _tests(file):
            missing.append(PROOFS[feature])
    return missing


@cache
def map_types() -> frozenset[str]:
    """The map types that can be declared."""
    package = importlib.import_module("probee.lang.decl")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"probee.lang.decl.{module.name}")
    kinds = set()
    waiting: list[type] = [decl.MapDecl]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        kinds.add(getattr(cls, "kind", 0))
    return frozenset(name for name, (number, _) in tables.MAP_TYPES.items() if number in kinds)


def has_section(key: str) -> bool:
    """Does a decorator make programs of this section?"""
    import probee

    plain = key.removesuffix(".s")
    if plain in _DECORATORS:
        return hasattr(probee, _DECORATORS[plain])
    return (
        table.find({"classifier": "tc", "action": "tc", "cgroup/skb": "cgroup_skb/egress"}.get(plain, plain))
        is not None
    )


_DECORATORS = {
    "kprobe": "kprobe",
    "kretprobe": "kretprobe",
    "ksyscall": "ksyscall",
    "kretsyscall": "kretsyscall",
    "uprobe": "uprobe",
    "uretprobe": "uretprobe",
    "uprobe.multi": "uprobe_multi",
    "uretprobe.multi": "uretprobe_multi",
    "uprobe.session": "uprobe_session",
    "kprobe.multi": "kprobe_multi",
    "kretprobe.multi": "kretprobe_multi",
    "kprobe.session": "kprobe_session",
    "usdt": "usdt",
    "tracepoint": "tracepoint",
    "tp": "tracepoint",
    "raw_tracepoint": "raw_tracepoint",
    "raw_tp": "raw_tracepoint",
    "raw_tracepoint.w": "raw_tracepoint_writable",
    "raw_tp.w": "raw_tracepoint_writable",
    "tp_btf": "tp_btf",
    "fentry": "fentry",
    "fexit": "fexit",
    "fmod_ret": "fmod_ret",
    "freplace": "freplace",
    "lsm": "lsm",
    "lsm_cgroup": "lsm_cgroup",
    "iter": "iter",
    "syscall": "syscall",
    "perf_event": "perf_event",
    "struct_ops": "struct_ops",
    "netfilter": "netfilter",
    "lirc_mode2": "lirc_mode2",
}


def helper_blockers(name: str) -> list[str]:
    """What a call of the helper needs that the language has not."""
    if name not in PROTOTYPES:
        return [f"unknown helper {name}"]
    prototype = PROTOTYPES[name]
    needed = set()
    for kind in prototype.args:
        bare = kind.split("[")[0].rstrip("?")
        for piece, feature in _ARGUMENTS.items():
            if piece in bare.split(":") or bare == piece:
                needed.add(_CALLBACKS.get(name, feature))
    if any(prototype.ret.startswith(kind) for kind in _RESULTS):
        needed.add(_TYPED)
    return sorted(f"construct: {feature}" for feature in needed if not proven(feature))


def blockers(features: set[str]) -> list[str]:
    """The features that keep a program from being written in the language."""
    found: set[str] = set()
    maps = map_types()
    for feature in features:
        group, _, name = feature.partition(": ")
        if feature.startswith("unknown "):
            found.add(feature)
        elif group == "section":
            if not has_section(name):
                found.add(feature)
        elif group == "map":
            if name not in maps:
                found.add(feature)
        elif group == "helper":
            found.update(helper_blockers(name))
        elif group == "kfunc":
            if not proven("kernel functions"):
                found.add("construct: kernel functions")
        elif name not in NEUTRAL and not proven(name):
            found.add(feature)
    return sorted(found)
