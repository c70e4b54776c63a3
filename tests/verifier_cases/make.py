"""Makes a file of verifier cases from a kernel source tree, for `probee verify-cases`.

    apt-get install linux-source-6.12 clang gcc libbpf-dev
    tar xf /usr/src/linux-source-6.12.tar.xz
    python tests/verifier_cases/make.py linux-source-6.12 -o cases.json.xz [--live]

The cases are the kernel's (GPL-2.0), which is why the file is not in this repository. Two sorts are read:

- `tools/testing/selftests/bpf/verifier/*.c`: arrays in C. The kernel's `test_verifier.c` is compiled with
  another `main`, which writes them as JSON.
- `progs/verifier_*.c` and others beside them: programs that clang compiles; what is expected of them stands
  in declaration tags.

`--live` adds what the running kernel says of each (needs root).
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from probee.btf import Btf, kernel_btf, render_c
from probee.errors import ObjectError, ProbeeError
from probee.isa.insn import encode
from probee.isa.tables import MAP_TYPES, name_of
from probee.obj import read_object
from probee.verifier.cases import CaseFile
from probee.verifier.objects import Objects

CLANGS = ("clang", *(f"clang-{number}" for number in range(25, 13, -1)))
HERE = os.path.dirname(os.path.abspath(__file__))
SELFTESTS = "tools/testing/selftests/bpf"
FIXUPS = """
    map_hash_8b map_hash_48b map_hash_16b map_array_48b map_sockmap map_sockhash map_xskmap map_stacktrace
    prog1 prog2 map_in_map cgroup_storage percpu_cgroup_storage map_spin_lock map_array_ro map_array_wo
    map_array_small sk_storage_map map_event_output map_reuseport_array map_ringbuf map_timer map_kptr
""".split()  # noqa: SIM905 - in the order of dump.c
TAGS = "comment:test_"
FUNC, DECL_TAG = 12, 17


def old_cases(tree: str, work: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cases of verifier/*.c, and the BTF of their maps."""
    folder = os.path.join(tree, SELFTESTS)
    names = sorted(name for name in os.listdir(os.path.join(folder, "verifier")) if name.endswith(".c"))
    os.makedirs(os.path.join(work, "verifier"))
    with open(os.path.join(work, "verifier", "tests.h"), "w", encoding="utf-8") as file:
        file.write("#ifdef FILL_ARRAY\n")
        for name in names:
            file.write(
                f'#undef CASES_FILE\n#define CASES_FILE "{name}"\n#include "{folder}/verifier/{name}"\n'
            )
        file.write("#endif\n")
    places = []
    for name in names:
        with open(os.path.join(folder, "verifier", name), encoding="utf-8") as file:
            places.append((name, file.read()))
    binary = os.path.join(work, "dump")
    includes = [
        work,
        folder,
        *(os.path.join(tree, part) for part in ("tools/include", "tools/include/uapi", "tools/lib")),
    ]
    command = ["gcc", "-w", "-O0", "-g0", "-D_GNU_SOURCE", f'-DTEST_VERIFIER="{folder}/test_verifier.c"']
    command += [f"-I{each}" for each in includes] + [os.path.join(HERE, "dump.c"), "-o", binary]
    command += ["-no-pie", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-z,lazy"]
    subprocess.run(command, check=True)
    told = json.loads(subprocess.run([binary], check=True, capture_output=True).stdout)
    return [_old(case, places) for case in told["tests"]], {"linux": told["meta"]}


def _old(case: dict[str, Any], places: list[tuple[str, str]]) -> dict[str, Any]:
    quoted = json.dumps(case["name"])[1:-1]
    case["file"] = next((name for name, text in places if f'"{quoted}"' in text), "?")
    case["fixups"] = {name: held for name, held in zip(FIXUPS, case.pop("fixups"), strict=True) if held}
    case["source"] = "linux"
    case["id"] = f"linux/{case['file']}#{case.pop('number')}"
    case["expected"] = ("undef", "accept", "reject", "accept")[case.pop("result")]
    return case


def new_cases(tree: str, work: str, pattern: str) -> list[dict[str, Any]]:
    """The cases of progs/*.c whose names begin as `pattern` says. What clang refuses is named."""
    folder = os.path.join(tree, SELFTESTS)
    target = kernel_btf()
    clang = next((name for name in CLANGS if shutil.which(name)), "clang")
    header = os.path.join(work, "vmlinux.h")
    with open(header, "w", encoding="utf-8") as file:
        file.write(render_c(target))
    _helper_header(tree, work)
    found = []
    for name in sorted(os.listdir(os.path.join(folder, "progs"))):
        if not name.endswith(".c") or not name.startswith(tuple(pattern.split(","))):
            continue
        path = os.path.join(work, name[:-2] + ".o")
        command = [
            clang,
            "-O2",
            "-g",
            "-target",
            "bpf",
            "-mcpu=v4",
            "-w",
            "-std=gnu17",
            "-idirafter/usr/include/x86_64-linux-gnu",
            "-D__TARGET_ARCH_x86",
            "-DENABLE_ATOMICS_TESTS",
        ]
        command += [
            f"-I{work}",
            f"-I{folder}",
            f"-I{folder}/progs",
            f"-I{tree}/tools/include/uapi",
            f"-I{tree}/tools/lib",
        ]
        command += ["-c", os.path.join(folder, "progs", name), "-o", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = next((line for line in done.stderr.splitlines() if "error:" in line), "it failed")
            print(f"{name}: clang: {why[-150:]}", file=sys.stderr)
            continue
        found += _programs(path, name, target)
    return found


def _helper_header(tree: str, work: str) -> None:
    """`bpf_helper_defs.h`, which the tree makes with a script of its own; else libbpf-dev's."""
    header = os.path.join(work, "bpf_helper_defs.h")
    maker = os.path.join(tree, "scripts", "bpf_doc.py")
    if os.path.exists(maker):
        uapi = os.path.join(tree, "tools", "include", "uapi", "linux", "bpf.h")
        with open(header, "w", encoding="utf-8") as file:
            subprocess.run([sys.executable, maker, "--header", "--file", uapi], check=True, stdout=file)
    else:
        shutil.copy("/usr/include/bpf/bpf_helper_defs.h", header)


def _programs(path: str, source: str, target: Btf) -> list[dict[str, Any]]:
    with open(path, "rb") as file:
        spec = read_object(file.read(), source)
    tags = _tags(spec.btf) if spec.btf else {}
    objects = Objects(spec, target)
    found = []
    for name, program in spec.programs.items():
        told = tags.get(name, [])
        words = [tag.removeprefix(TAGS) for tag in told]
        try:
            prepared = objects.prepare(program)
        except ObjectError as error:
            print(f"{source}: {name}: {error}", file=sys.stderr)
            continue
        made = prepared.program
        infos = list({id(info): info for info in made.map_refs.values()}.values())
        numbers = {info.name: at for at, info in enumerate(infos)}
        found.append(
            {
                "id": f"linux-new/{source}#{name}",
                "file": source,
                "name": name,
                "section": program.section,
                "source": "linux-new",
                "prog_type_nr": made.prog_type,
                "expected_attach_type": made.attach_type,
                "attach_btf_id": made.attach_btf_id,
                "prog_flags": made.flags | _flags(words),
                "insns": encode(made.insns).hex(),
                "n_insns": len(made.insns),
                "func_info": _functions(prepared.linked.functions, spec.btf),
                "maps": [
                    {
                        "name": info.name,
                        "type": info.type,
                        "key_size": info.key_size,
                        "value_size": info.value_size,
                        "max_entries": info.max_entries,
                        "map_flags": info.flags,
                        "btf_value_type_id": info.value_type,
                    }
                    for info in infos
                ],
                "map_refs": [
                    {"insn": at, "map": numbers[info.name], "pseudo": made.insns[at].src, "off": 0}
                    for at, info in made.map_refs.items()
                ],
                "kfunc_calls": [[at, called, 0] for at, called in made.kfuncs.items()],
                "expected": "reject"
                if any(word.startswith("expect_failure") for word in words)
                else "accept",
                "msgs": [word.partition("=")[2] for word in words if word.startswith("expect_msg")],
                "retval": next(
                    (word.partition("=")[2] for word in words if word.startswith("retval=")), None
                ),
            }
        )
    return found


def _functions(functions: list[tuple[int, str]], btf: Btf | None) -> list[list[Any]]:
    out: list[list[Any]] = []
    for start, name in functions:
        number = btf.find(name, FUNC) if btf else None
        out.append([start, name, btf.type(number).linkage if btf and number else 1])
    return out


def _tags(btf: Btf) -> dict[str, list[str]]:
    """The declaration tags of functions."""
    found: dict[str, list[str]] = {}
    for number in range(1, len(btf)):
        held = btf.type(number)
        if held.kind == DECL_TAG and held.name.startswith("comment:"):
            found.setdefault(btf.type(held.type).name, []).append(held.name)
    return found


def _flags(words: list[str]) -> int:
    bits = 0
    for word in words:
        if word.startswith("prog_flags="):
            value = word.partition("=")[2]
            bits |= {"BPF_F_ANY_ALIGNMENT": 2, "BPF_F_STRICT_ALIGNMENT": 1, "BPF_F_TEST_STATE_FREQ": 8}.get(
                value, 0
            )
    return bits


def add_live(content: dict[str, Any]) -> None:
    """What the running kernel says of each case."""
    from probee.cli.verify_live import LiveKernel

    cases = CaseFile(json.dumps(content).encode(), kernel_btf()).cases
    with LiveKernel() as live:
        for test, case in zip(content["tests"], cases, strict=True):
            try:
                if case.problem:
                    raise ProbeeError(case.problem)
                verdict, _ = live.verify(case.program)
            except ProbeeError as error:
                test["live"] = {"env": str(error)}
                continue
            test["live"] = {
                "verdict": verdict.verdict,
                "message": verdict.message or None,
                "insns_processed": verdict.insns_processed,
            }
            if verdict.verdict == "unsupported":
                test["live"]["env"] = verdict.message


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifier cases from a kernel source tree.")
    parser.add_argument("tree", help="the unpacked source")
    parser.add_argument("-o", "--out", default="verifier-cases.json.xz")
    parser.add_argument("--live", action="store_true", help="add the running kernel's verdicts (needs root)")
    parser.add_argument("--progs", default="verifier_", help="beginnings of names of progs/*.c, with commas")
    opts = parser.parse_args()
    tree = os.path.abspath(opts.tree)
    if not os.path.isdir(os.path.join(tree, SELFTESTS)):
        parser.error(f"{opts.tree} has no {SELFTESTS}")
    with tempfile.TemporaryDirectory() as work:
        tests, meta = old_cases(tree, work)
        tests += new_cases(tree, work, opts.progs)
    content: dict[str, Any] = {
        "format": 1,
        "license": "GPL-2.0",
        "kernel": os.uname().release,
        "meta": meta,
        "tests": tests,
    }
    if opts.live:
        add_live(content)
    data = json.dumps(content).encode()
    with open(opts.out, "wb") as file:
        file.write(lzma.compress(data) if opts.out.endswith(".xz") else data)
    kinds = sorted({name_of(MAP_TYPES, held["type"]) for test in tests for held in test.get("maps", [])})
    print(f"{len(tests)} cases in {opts.out}; map types: {', '.join(kinds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
