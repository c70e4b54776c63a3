"""Events: `fire` runs the programs that an event would run, with contexts built from plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..btf.kinds import FUNC, PTR, TYPE_TAG, TYPEDEF
from ..errors import ProbeeError
from ..isa.sections import SECTIONS
from ..isa.syscalls import SYSCALLS, TRACEPOINT_NAMES
from .contexts import registers, tracepoints
from .contexts.base import Context, arguments
from .fire_sockets import Sockets
from .kernel_memory import Object
from .load import Program
from .results import Result, Results

# Program types (linux/bpf.h).
KPROBE, TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT = 2, 5, 7, 17
RAW_TRACEPOINT_WRITABLE, TRACING, LSM = 24, 26, 29
_RAW = ("tp_btf", "raw_tp", "raw_tracepoint", "raw_tracepoint.w", "raw_tp.w")
_TRACEPOINTS = ("tp", "tracepoint")
_DECIDES = ("lsm", "lsm.s", "lsm_cgroup", "fmod_ret", "fmod_ret.s")
_RETURNS = ("fexit", "kretprobe", "uretprobe", "kretsyscall", "kretprobe.multi", "uretprobe.multi")
_SESSIONS = ("kprobe.session", "uprobe.session", "uprobe.session.s")
_MISSING: Any = object()


class Firing(Sockets):
    """What `Machine` has of these."""

    # ---- which programs

    def fire(self, target: Any, /, *args: Any, **fields: Any) -> Results:
        """Let an event happen: runs every program that is attached to it, and returns their results.

        `target` is an event or a program. Events are written as in attaching: `"sched:sched_switch"` (a
        tracepoint; fields by name), `"sched_switch"` (raw: the kernel's arguments by position),
        `"tcp_connect"` or `"fentry:tcp_connect"` (a function: arguments by position or name, `result=` for
        its result), `"kprobe:…"`, `"uprobe:…"`, `"perf_event"`, `"lsm:file_open"`. A program is given itself,
        or by its name; then it alone runs. Text becomes a string in kernel or user memory where a pointer is
        wanted, a dict a struct, an object of the machine its address. Raises ProbeeError if nothing is
        attached there or the values don't fit; Fault if a program does what it must not.
        """
        if hasattr(target, "hook") and hasattr(target, "args"):  # a declared program
            return self._declared_program(target, args, fields)
        if isinstance(target, Program):
            return self._all(target.name, [target], args, fields)
        if not isinstance(target, str):
            raise ProbeeError(f"fire an event by its name, or a program, not {target!r}")
        if target in self.programs:
            return self._all(target, [self.programs[target]], args, fields)
        group, colon, event = target.partition(":")
        if group == "syscalls" and colon:
            return self._syscall_event(event, args, fields)
        found = self._attached(target)
        if not found:
            raise self._nothing(target)
        if any(_is_pattern(p.target) for p in found):
            fields.setdefault("function", target.rpartition(":")[2].rpartition("/")[2])
        return self._all(target, found, args, fields)

    def _declared_program(self, decl: Any, args: tuple[Any, ...], fields: dict[str, Any]) -> Results:
        program = self.declared.get(decl) or self.programs.get(decl.name)
        if program is not None:
            return self._all(program.name, [program], args, fields)
        if decl.kind == "tracepoint" and decl.args[0] == "syscalls":  # one of those that were merged
            return self._syscall_event(decl.args[1], args, fields)
        raise ProbeeError(f"{decl.name} is no program of this machine; it has {', '.join(self.programs)}")

    def _attached(self, target: str) -> list[Program]:
        """The programs whose section names the event."""
        group, colon, event = target.partition(":")
        slash = target.partition("/")
        if colon and not (group in SECTIONS or "/" in group):
            wanted = f"{group}/{event}"
            return [p for p in self.programs.values() if p.kind in _TRACEPOINTS and p.target == wanted]
        if colon and group in SECTIONS:
            return self._of_kind(group, event)
        if target in SECTIONS:
            return self._of_kind(target, "")
        if slash[1] and slash[0] in SECTIONS:
            return self._of_kind(slash[0], slash[2])
        found = [
            p
            for p in self.programs.values()
            if p.target == target or (p.type == KPROBE and _matches(p.target, target))
        ]
        return sorted(found, key=lambda p: p.kind in _RETURNS)

    def _of_kind(self, kind: str, target: str) -> list[Program]:
        kinds = {kind, f"{kind}.s", f"{kind}.multi", f"{kind}.multi.s"}
        if kind in ("kprobe", "uprobe"):
            kinds |= {f"{kind}.session", f"{kind}.session.s"}
        for same in (_TRACEPOINTS, _RAW):
            if kind in same:
                kinds.update(same)
        found = [p for p in self.programs.values() if p.kind in kinds]
        if not target:
            return found
        exact = [
            p for p in found if p.target in (target, target.replace(":", "/")) or _matches(p.target, target)
        ]
        return exact or [p for p in found if p.target.rpartition(":")[2] == target]

    def _nothing(self, target: str) -> ProbeeError:
        have = ", ".join(f"{p.name} ({p.section})" for p in self.programs.values()) or "no programs"
        return ProbeeError(f"nothing is attached to {target}; the machine has {have}")

    def _all(
        self, target: str, programs: list[Program], args: tuple[Any, ...], fields: Mapping[str, Any]
    ) -> Results:
        runs: list[Result] = []
        for program in programs:
            if program.kind in _SESSIONS:
                runs += self._session(program, args, fields)
                continue
            run = self._one(program, args, fields)
            runs.append(run)
            if program.kind in _DECIDES and program.kind != "lsm_cgroup" and run.retval:
                break  # the kernel asks no further
        return Results(target, runs)

    def _one(self, program: Program, args: tuple[Any, ...], fields: Mapping[str, Any]) -> Result:
        build = self._builders().get(program.type)
        if build is None:
            raise ProbeeError(f"the machine can't fire {program.section} programs")
        return build(program, args, dict(fields))

    def _builders(self) -> dict[int, Callable[[Program, tuple[Any, ...], dict[str, Any]], Result]]:
        return {
            **self._packet_types(),
            **self._socket_types(),
            KPROBE: self._probe,
            TRACEPOINT: self._tracepoint,
            PERF_EVENT: self._perf_event,
            RAW_TRACEPOINT: self._raw,
            RAW_TRACEPOINT_WRITABLE: self._raw,
            TRACING: self._tracing,
            LSM: self._tracing,
        }

    def _finish(self, program: Program, context: Context, *, wide: bool = False) -> Result:
        try:
            result = Result(program.name, self.run(program, context), wide=wide)
            result.facts = context.facts
        finally:
            context.free(self.memory)
        return result

    # ---- tracepoints

    def _tracepoint(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        group, _, event = program.target.partition("/")
        if args:
            raise ProbeeError(f"{group}:{event} has fields with names: {event}(…, name=value)")
        layout = self.types.fields(group, event)
        if group == "syscalls":
            fields = self._syscall_fields(event, fields)
        text = self.user.string if group == "syscalls" else self.kernel.text
        data = tracepoints.record(f"{group}:{event}", layout, fields, pid=self.current.pid, text=text)
        region = self.memory.alloc(max(8, len(data)), "ctx", writable=False, name=f"{group}:{event}")
        region.data[: len(data)] = data
        return self._finish(program, Context(region))

    def _syscall_fields(self, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        number = self._number(event)
        out = {name: self._user_value(value, event, name) for name, value in fields.items()}
        return {"__syscall_nr": number, **out} if number is not None else out

    def _number(self, event: str) -> int | None:
        name = event.removeprefix("sys_enter_").removeprefix("sys_exit_")
        return SYSCALLS.get(self.arch, {}).get(TRACEPOINT_NAMES.get(name, name))

    def _user_value(self, value: Any, event: str, name: str) -> Any:
        """An argument of a system call: text, bytes and structs go to user memory."""
        if isinstance(value, str):
            return self.user.string(value)
        if isinstance(value, (bytes, bytearray)):
            return self.user.place(bytes(value))
        if isinstance(value, Mapping):
            words = next((f.type for f in self.types.fields("syscalls", event) if f.name == name), "").split()
            known = [w for w in words if w not in ("struct", "const", "__user", "*")]
            made = self.kernel.new(known[0] if known else name, **value)
            return self.user.place(bytes(self.memory.find(int(made)).data))  # type: ignore[union-attr]
        return value

    def syscall(
        self, name: str, /, *args: Any, ret: int | None = 0, took_ms: float = 0, **fields: Any
    ) -> Results:
        """A system call: its entry with the arguments (by position or name), then its exit with `ret`.

        Text is a string in user memory, a dict a struct there. With `ret` None it doesn't return. The clock
        moves by `took_ms` milliseconds in between. Runs programs on `syscalls:`, `raw_syscalls:`, `sys_enter`
        and `sys_exit`, merged or not.
        """
        runs = list(self._syscall_event(f"sys_enter_{name}", args, fields, required=False))
        if took_ms:
            self.services.clock.advance(ms=took_ms)
        if ret is not None:
            runs += list(self._syscall_event(f"sys_exit_{name}", (), {"ret": ret}, required=False))
        if not runs:
            raise self._nothing(f"the system call {name}")
        return Results(name, runs)

    def _syscall_event(
        self, event: str, args: tuple[Any, ...], fields: Mapping[str, Any], *, required: bool = True
    ) -> Results:
        enter = event.startswith("sys_enter_")
        layout = [f for f in self.types.fields("syscalls", event) if not f.name.startswith(("common_", "__"))]
        names = [f.name for f in layout]
        if len(args) > len(names):
            raise ProbeeError(f"{event} has {len(names)} arguments ({', '.join(names)}), not {len(args)}")
        given = {**dict(zip(names, args, strict=False)), **fields}
        for name in given:
            if name not in names:
                raise ProbeeError(f"syscalls:{event} has no field {name!r}; it has {', '.join(names)}")
        given = {name: self._user_value(value, event, name) for name, value in given.items()}
        runs = []
        for program in self.programs.values():
            if program.kind in _TRACEPOINTS and program.target == f"syscalls/{event}":
                runs.append(self._tracepoint(program, (), given))
        number = self._number(event)
        raw = [p for p in self.programs.values() if p.kind in _RAW and p.target == event[: 9 if enter else 8]]
        if raw and number is not None:
            values = [registers.number(given.get(name, 0)) for name in names]
            regs = self._syscall_regs(number, values if enter else [], None if enter else given.get("ret", 0))
            second = number if enter else registers.number(given.get("ret", 0))
            runs += [self._raw(program, (regs, second), {}) for program in raw]
        whole = f"raw_syscalls/sys_{'enter' if enter else 'exit'}"
        for program in self.programs.values():
            if program.kind in _TRACEPOINTS and program.target == whole:
                values = [registers.number(given.get(name, 0)) for name in names]
                more = {"args": values + [0] * (6 - len(values))} if enter else {"ret": given.get("ret", 0)}
                runs.append(self._tracepoint(program, (), {"id": number or 0, **more}))
        if not runs and required:
            raise self._nothing(f"syscalls:{event}")
        return Results(f"syscalls:{event}", runs)

    def _syscall_regs(self, number: int, values: list[int], result: int | None) -> Object:
        """The registers of a task in a system call, as `struct pt_regs` of the kernel."""
        regs = self.kernel.new("struct pt_regs")
        mask = (1 << 64) - 1
        if self.arch == "x86_64":
            regs.orig_ax = number
            for name, value in zip(registers.SYSCALL["x86_64"], values, strict=False):
                setattr(regs, name, value & mask)
            if result is not None:
                regs.ax = result & mask
            return regs
        for i, value in enumerate(values):
            regs.regs[i] = value & mask
        if values:
            regs.orig_x0 = values[0] & mask
        regs.syscallno = number
        if result is not None:
            regs.regs[0] = result & mask
        return regs

    # ---- functions and raw tracepoints: 64-bit arguments

    def _params(self, program: Program, target: str = "") -> tuple[list[tuple[str, int]], int] | None:
        """The parameters (name, type) of what a program is attached to, and the type it returns."""
        btf, target = self.btf, target or program.target
        if program.kind.partition(".")[0] in ("tp_btf", "raw_tp", "raw_tracepoint"):
            alias = btf.find(f"btf_trace_{target}", TYPEDEF)
            if alias is None:
                return None
            proto = btf.type(btf.strip(btf.type(btf.strip(alias)).type))
            params = list(proto.params[1:])
            stub = btf.find(f"__probestub_{target}", FUNC) or btf.find(f"__traceiter_{target}", FUNC)
            if stub is not None and not any(name for name, _ in params):
                params = list(btf.type(btf.type(stub).type).params[1:])
            return params, 0
        name = f"bpf_lsm_{target}" if program.kind.startswith("lsm") else target
        id = btf.find(name.partition("+")[0], FUNC)
        if id is None:
            return None
        proto = btf.type(btf.type(id).type)
        return list(proto.params), proto.type

    def _values(
        self,
        where: str,
        params: list[tuple[str, int]] | None,
        args: tuple[Any, ...],
        fields: Mapping[str, Any],
        *,
        user: bool = False,
    ) -> list[int]:
        """The arguments as 64-bit numbers, by position or by name."""
        if params is None:
            if fields:
                raise ProbeeError(
                    f"the machine's types don't have {where}: give its arguments in order, not by name"
                )
            return [self._plain(value, user) for value in args]
        if len(args) > len(params):
            raise ProbeeError(f"{where} has {len(params)} arguments, not {len(args)}")
        given: list[Any] = [*args, *[_MISSING] * (len(params) - len(args))]
        names = [name for name, _ in params]
        for name, value in fields.items():
            if name not in names:
                known = ", ".join(n or f"[{i}]" for i, n in enumerate(names)) or "none"
                raise ProbeeError(f"{where} has no argument {name!r}; it has {known}")
            given[names.index(name)] = value
        return [
            self._argument(0 if value is _MISSING else value, type, f"{where}.{name}", user)
            for (name, type), value in zip(params, given, strict=True)
        ]

    def _plain(self, value: Any, user: bool) -> int:
        if isinstance(value, str):
            return self.user.string(value) if user else self.kernel.text(value)
        if isinstance(value, (bytes, bytearray)):
            return self.user.place(bytes(value)) if user else self.kernel.place(bytes(value))
        return registers.number(value)

    def _argument(self, value: Any, type: int, what: str, user: bool) -> int:
        t = self.btf.type(self.btf.strip(type))
        if t.kind != PTR:
            if isinstance(value, (str, bytes, Mapping)):
                raise ProbeeError(f"{what} is no pointer: give a number")
            return registers.number(value)
        tag = self.btf.type(t.type) if t.type else None
        if user or (tag is not None and tag.kind == TYPE_TAG and tag.name == "user"):
            return self._plain(value, True)
        if isinstance(value, Mapping):
            try:
                return registers.number(self.kernel._pointer(t, value, what))
            except TypeError as error:
                raise ProbeeError(str(error)) from None
        return self._plain(value, False)

    def _raw(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        found = self._params(program)
        values = self._values(program.target, found[0] if found else None, args, fields)
        return self._finish(program, arguments(self.memory, values))

    def _tracing(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        kind = program.kind.partition(".")[0]
        if kind == "tp_btf":
            return self._raw(program, args, fields)
        if kind == "iter":
            raise ProbeeError(f"run an iterator with machine.iterate({program.name!r}, [objects])")
        result = fields.pop("result", 0)
        found = self._params(program)
        if found is None and kind not in ("freplace",) and (fields or not args):
            raise ProbeeError(f"the machine's types have no function {program.target}; give btf=")
        values = self._values(program.target, found[0] if found else None, args, fields)
        extra = (self._plain(result, False),) if kind in ("fexit", "fmod_ret", "lsm") else ()
        ip = self._function_address(program.target)
        run = self._finish(program, arguments(self.memory, values, extra=extra, ip=ip))
        if program.kind == "lsm_cgroup":
            run.deny(self._refusal(run))
        elif program.kind in _DECIDES:
            run.deny(run.retval)
        return run

    def _function_address(self, name: str) -> int:
        """A made-up address for a kernel function, always the same."""
        from zlib import crc32

        symbols = self.services.symbols
        if name not in symbols:
            symbols[name] = 0xFFFF_FFFF_8100_0000 + (crc32(name.encode()) & 0x7F_FFF0)
        return int(symbols[name])

    # ---- registers

    def _probe(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        kind = program.kind.partition(".")[0]
        user = kind in ("uprobe", "uretprobe", "usdt")
        cookie = fields.pop("cookie", 0)
        facts: dict[str, Any] = dict(fields.pop("facts", {}))
        stack, user_stack = fields.pop("stack", []), fields.pop("user_stack", [])
        result = fields.pop("result", None)
        if result is None and kind in ("kretprobe", "uretprobe", "kretsyscall"):
            result = args[0] if args else 0
            args = ()
        places = registers.REGISTERS.get(self.arch, {})
        direct = {name: registers.number(fields.pop(name)) for name in list(fields) if name in places}
        function = fields.pop("function", "") or program.target.rpartition(":")[2].partition("+")[0]
        if kind in ("ksyscall", "kretsyscall"):
            data = self._syscall_probe(program.target, args, fields, result)
        else:
            if kind == "usdt":
                self._usdt_spec(program, args, cookie)
                cookie, args = 0, ()
            found = None if user else self._params(program, function)
            values = self._values(function, found[0] if found else None, args, fields, user=user)
            ip = direct.pop(registers.POINTER[self.arch], 0) or self._function_address(function)
            value = None if result is None else self._plain(result, user)
            facts["ip"] = ip
            data = registers.fill(self.arch, values, result=value, ip=ip, **direct)
        region = self.memory.alloc(len(data), "ctx", writable=False, name="pt_regs")
        region.data[:] = data
        context = Context(region)
        context.cookie, context.stack, context.user_stack = cookie, list(stack), list(user_stack)
        context.facts.update(facts)
        return self._finish(program, context)

    def _session(self, program: Program, args: tuple[Any, ...], fields: Mapping[str, Any]) -> list[Result]:
        """A function's start, and if `result` is given its return, unless the program said 1 at the start."""
        given = dict(fields)
        result = given.pop("result", None)
        cookie = self.memory.alloc(8, "kernel", name="session cookie")
        try:
            runs = [self._probe(program, args, {**given, "facts": {"session": cookie}})]
            if result is not None and not runs[0].retval:
                facts = {"session": cookie, "is_return": True}
                runs.append(self._probe(program, (), {**given, "result": result, "facts": facts}))
        finally:
            self.memory.free(cookie)
        return runs

    def _syscall_probe(self, name: str, args: tuple[Any, ...], fields: dict[str, Any], result: Any) -> bytes:
        """Registers at the function behind a system call: on x86-64 its argument is the user's registers."""
        event = f"sys_enter_{name}"
        names = [
            f.name for f in self.types.fields("syscalls", event) if not f.name.startswith(("common_", "__"))
        ]
        given = {**dict(zip(names, args, strict=False)), **fields}
        values = [registers.number(self._user_value(given.get(n, 0), event, n)) for n in names]
        if result is not None:
            return registers.fill(self.arch, [], result=registers.number(result))
        inner = self._syscall_regs(self._number(event) or 0, values, None)
        return registers.fill(self.arch, [int(inner)])

    def _usdt_spec(self, program: Program, args: tuple[Any, ...], cookie: int) -> None:
        """What libbpf writes for a USDT probe when it attaches it: all arguments as constants."""
        specs = program.maps.get("__bpf_usdt_specs")
        if specs is None:
            raise ProbeeError(f"{program.name} has no map __bpf_usdt_specs, which bpf_usdt_arg() reads")
        values = [self._plain(value, True) & (1 << 64) - 1 for value in args]
        entry = {
            "args": tuple({"val_off": value} for value in values) + ({},) * (12 - len(values)),
            "usdt_cookie": cookie,
            "arg_cnt": len(values),
        }
        specs[0] = entry

    def _perf_event(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        period, address = fields.pop("period", 1), fields.pop("addr", 0)
        stack, user_stack = fields.pop("stack", []), fields.pop("user_stack", [])
        told = {name: fields.pop(name) for name in ("counter", "branches") if name in fields}
        facts = {**fields.pop("facts", {}), **told}
        where = {name: registers.number(value) for name, value in fields.items()}
        ip = where.pop("ip", 0) or (stack or user_stack or [0])[0]
        data = registers.fill(self.arch, [], ip=ip, **where)
        data += period.to_bytes(8, "little") + registers.number(address).to_bytes(8, "little")
        region = self.memory.alloc(len(data), "ctx", writable=False, name="bpf_perf_event_data")
        region.data[:] = data
        context = Context(region)
        context.stack, context.user_stack = list(stack), list(user_stack)
        context.facts.update(facts)
        return self._finish(program, context)


def _is_pattern(target: str) -> bool:
    """Whether a program is attached to several functions (Linux: multi and session links)."""
    return "*" in target or "?" in target


def _matches(pattern: str, target: str) -> bool:
    """Whether the name of a function (`vfs_read`, `libc:getpid`) fits a program's pattern."""
    from fnmatch import fnmatchcase

    if not _is_pattern(pattern):
        return False
    return fnmatchcase(target, pattern if ":" in target else pattern.rpartition(":")[2])
