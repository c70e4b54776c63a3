"""What a selftest program of the kernel uses: sections, helpers, kfuncs, maps, constructs, read from its C.

The text is not preprocessed: what only some branch of an `#if` uses counts. Headers of the selftests' own
are read with the program, unless they are libraries (`LIBRARIES`), whose names are known here. Whatever looks
like a call, an attribute or a section and is none of the known ones becomes the feature `unknown …`.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from probee.isa import sections, tables
from probee.verifier.kfunc_rules import KFUNCS

PROGS = Path("tools/testing/selftests/bpf/progs")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Headers whose names the tables below know.
LIBRARIES = _words(
    """vmlinux.h bpf_misc.h bpf_experimental.h bpf_kfuncs.h bpf_tracing_net.h bpf_compiler.h bpf_iter.h
    bpf_arena_common.h bpf_legacy.h bpf_testmod.h bpf_testmod_kfunc.h bpf_atomic.h bpf_arena_spin_lock.h"""
)

_IGNORED = _words(
    """if for while switch return sizeof do else case typeof __typeof__ __typeof defined offsetof
    int char void long short unsigned signed bool _Bool const volatile struct union enum static extern inline
    __attribute__ __attribute _Static_assert _Generic alignof __alignof__ __extension__ __always_inline
    __noinline __inline __inline__ __hidden __used __maybe_unused __unused __packed __aligned
    __section__ __aligned__ __packed__ __pad__ __ret __x __y __tmp __VA_ARGS__ __LINE__ __FILE__ __func__
    __has_builtin __has_attribute __builtin_constant_p __builtin_expect __builtin_unreachable
    __bpf_unreachable __clang__ __clang_major__ __BYTE_ORDER__ __ORDER_LITTLE_ENDIAN__
    __ORDER_BIG_ENDIAN__ __BPF_CPU_VERSION__ __riscv_xlen likely unlikely NULL ARRAY_SIZE min max
    __builtin_offsetof __BPF_FEATURE_ADDR_SPACE_CAST __BPF_FEATURE_ATOMIC_MEM_ORDERING
    __BPF_FEATURE_MAY_GOTO __ulong __uint __type __array SEC asm __asm__ __asm unroll
    __pragma_loop_unroll __pragma_loop_unroll_full __pragma_loop_unroll_count __pragma_loop_no_unroll
    aligned packed noinline always_inline unused section optimize cleanup preserve_access_index
    __sink __msg __description __retval __log_level __flag __success __failure __auxiliary __xlated
    __jited __msg_unpriv __success_unpriv __failure_unpriv __auxiliary_unpriv __retval_unpriv __license
    __btf_path __arch_x86_64 __arch_arm64 __arch_riscv64 __arch __caps_unpriv __load_if_JITed
    __xlated_unpriv __jited_unpriv __not_msg __stderr __stdout __linear_size __test_tags
    __nonnull __bitwise __bitwise__ __PAGE_SIZE READ_ONCE WRITE_ONCE barrier __bpf_nf_ctx_size
    __u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64 __be16 __be32 __be64 __le16 __le32 __le64 __sum16
    __wsum __sk_buff __kernel_timespec __sk_common __req_common __poll_t __addrpair __portpair
    __builtin_btf_type_id btf_type_tag btf_decl_tag XSTR STR PT_REGS_REGS __kernel_size_t
    swap private __aligned_u64 __section __force __counted_by"""
)

# Names of libraries -> the feature they stand for, "" for what is no feature of its own.
_NAMES: dict[str, str] = {}


def _names(feature: str, names: str) -> None:
    for name in names.split():
        _NAMES[name] = feature


_names(
    "byte order",
    """bpf_htons bpf_htonl bpf_ntohs bpf_ntohl bpf_cpu_to_be64 bpf_be64_to_cpu __bpf_constant_htons
    __bpf_constant_htonl __bpf_htons __bpf_htonl __builtin_bswap16 __builtin_bswap32 __builtin_bswap64
    bpf_cpu_to_be32 bpf_be32_to_cpu __bpf_ntohs __bpf_ntohl __bpf_constant_ntohs __bpf_constant_ntohl htons
    htonl ntohs ntohl ___bpf_swab16 ___bpf_swab32 ___bpf_swab64 bpf_constant_htons""",
)
_names(
    "memory functions",
    """__builtin_memcpy __builtin_memset __builtin_memcmp __builtin_memmove memcpy memset memcmp memmove""",
)
_names("printing", "bpf_printk __bpf_vprintk BPF_SNPRINTF BPF_SEQ_PRINTF __bpf_printk")
_names("bpf_stream output", "bpf_stream_printk")
_names(
    "typed arguments",
    """BPF_PROG BPF_PROG2 BPF_KPROBE BPF_KRETPROBE BPF_UPROBE BPF_URETPROBE BPF_KSYSCALL BPF_KPROBE_SYSCALL
    ___bpf_ctx_cast""",
)
_names("typed arguments", "BPF_STRUCT_OPS BPF_STRUCT_OPS_SLEEPABLE")
_names("USDT", "BPF_USDT bpf_usdt_arg bpf_usdt_arg_cnt bpf_usdt_cookie bpf_usdt_arg_size")
_names(
    "atomics with a result",
    """__sync_val_compare_and_swap __sync_bool_compare_and_swap __sync_lock_test_and_set
    __sync_fetch_and_sub __sync_fetch_and_or __sync_fetch_and_and __sync_fetch_and_xor
    __sync_add_and_fetch __sync_sub_and_fetch __sync_or_and_fetch __sync_and_and_fetch __sync_xor_and_fetch
    __atomic_fetch_add __atomic_exchange_n __atomic_compare_exchange_n cmpxchg xchg
    __c11_atomic_fetch_add __c11_atomic_fetch_and __c11_atomic_fetch_or __c11_atomic_fetch_xor
    __atomic_exchange __sync_fetch_and_add atomic_fetch_add atomic_cmpxchg""",
)
_names(
    "atomics: load-acquire, store-release",
    """__atomic_load_n __atomic_store_n smp_load_acquire smp_store_release __c11_atomic_load
    __c11_atomic_store""",
)
_names(
    "CO-RE: fields",
    """BPF_CORE_READ BPF_CORE_READ_INTO bpf_core_read BPF_CORE_READ_STR_INTO bpf_core_read_str
    BPF_CORE_READ_USER BPF_CORE_READ_USER_INTO bpf_core_read_user bpf_core_field_offset
    bpf_core_field_size bpf_core_field_exists BPF_PROBE_READ BPF_PROBE_READ_INTO BPF_PROBE_READ_USER
    BPF_PROBE_READ_STR_INTO bpf_core_cast __builtin_preserve_access_index __builtin_preserve_field_info
    container_of bpf_core_read_user_str""",
)
_names("CO-RE: bit fields", "BPF_CORE_READ_BITFIELD BPF_CORE_READ_BITFIELD_PROBED")
_names("CO-RE: bit fields written", "BPF_CORE_WRITE_BITFIELD")
_names("CO-RE: types", "bpf_core_type_exists bpf_core_type_size __builtin_preserve_type_info")
_names("CO-RE: types that match", "bpf_core_type_matches")
_names("CO-RE: ids of types", "bpf_core_type_id_local bpf_core_type_id_kernel")
_names("CO-RE: enumerators", "bpf_core_enum_value bpf_core_enum_value_exists __builtin_preserve_enum_value")
_names("tail calls", "bpf_tail_call_static")
_names("iterators: numbers", "bpf_for bpf_repeat")
_names("iterators: bpf_for_each", "bpf_for_each")
_names("may_goto", "cond_break can_loop may_goto cond_break_label __cond_break bpf_may_goto")
_names(
    "exceptions",
    """bpf_throw bpf_assert bpf_assert_with bpf_assert_range bpf_assert_range_with bpf_assert_eq
    bpf_assert_ne bpf_assert_lt bpf_assert_gt bpf_assert_le bpf_assert_ge __exception_cb bpf_assert_op""",
)
_names("locks held to the scope's end", "bpf_guard_preempt")
_names("kernel functions that may be missing", "bpf_ksym_exists")
_names("legacy packet loads", "load_byte load_half load_word")
_names("verifier's branch on a comparison as written", "bpf_cmp_likely bpf_cmp_unlikely")
_names("compiler barrier", "barrier_var")
_names("arena", "cast_kern cast_user __arena __arena_global arena_container_of")
_names(
    "registers",
    """PT_REGS_RC PT_REGS_RC_CORE PT_REGS_IP PT_REGS_SP PT_REGS_FP PT_REGS_SYSCALL_REGS __PT_REGS_CAST
    PT_REGS_IP_CORE PT_REGS_SP_CORE BPF_KRETPROBE_READ_RET_IP BPF_KPROBE_READ_RET_IP PT_REGS_RET
    """,
)
for _n in range(1, 9):
    for _tail in ("", "_CORE", "_SYSCALL", "_CORE_SYSCALL"):
        _NAMES[f"PT_REGS_PARM{_n}{_tail}"] = "registers"
_names(
    "inline assembly",
    """__naked __clobber_all __clobber_common __imm __imm_0 __imm_1 __imm_const __imm_addr __imm_ptr
    __imm_insn BPF_RAW_INSN BPF_EXIT_INSN BPF_MOV64_REG BPF_MOV64_IMM BPF_ST_MEM BPF_ALU64_IMM BPF_LD_MAP_FD
    BPF_MOVSX64_REG BPF_JMP_IMM BPF_LDX_MEM""",
)
_names("tags: kptr", "__kptr __kptr_untrusted __kptr_ref")
_names("tags: per-CPU kptr", "__percpu_kptr")
_names("tags: uptr", "__uptr")
_names("lists and trees", "__contains __contains_rbtree")
_names("tags: arguments of global functions", "__arg_ctx __arg_nonnull __arg_trusted __arg_nullable")
_names("tags: other arguments of global functions", "__arg_untrusted __arg_quiet")
_names("tags: arena arguments of global functions", "__arg_arena")
_names("configuration of the kernel (kconfig)", "__kconfig")
_names("weak symbols", "__weak")
# Inline functions and macros of bpf_tracing_net.h and the like: plain code.
_names(
    "",
    """tcp_sk inet_csk inet_csk_ca tcp_in_slow_start tcp_is_cwnd_limited before after tcp_hdrlen
    tcp_flag_word get_unaligned_be16 get_unaligned_be32 jhash jhash2 SYSCALL_WRAPPER SYS_PREFIX
    __ksym __sk_buff_mark R5""",
)

# Where nothing uses the result of these, they are a plain `+=`.
_STATEMENTS = _words(
    """__sync_fetch_and_add __sync_fetch_and_sub __sync_fetch_and_or __sync_fetch_and_and __sync_fetch_and_xor
    __sync_add_and_fetch __sync_sub_and_fetch __sync_or_and_fetch __sync_and_and_fetch
    __sync_xor_and_fetch"""
)
_USED = r"(?:[=,(!&|<>+?:]|\breturn)\s*(?:\([\w *]+\)\s*)?{}\s*\("

# Names of kfuncs -> features. Others are plain calls.
_KFUNCS = (
    (r"bpf_rcu_read_(lock|unlock)", "with RCU"),
    (r"bpf_preempt_(disable|enable)", "with preemption off"),
    (r"bpf_local_irq_(save|restore)", "with interrupts off"),
    (r"bpf_iter_num_\w+", "iterators: numbers"),
    (r"bpf_iter_bits_\w+", "iterators: bits"),
    (r"bpf_iter_task_vma_\w+", "iterators: memory areas"),
    (r"bpf_iter_css(_task)?_(new|next|destroy)", "iterators: cgroups"),
    (r"bpf_iter_task_(new|next|destroy)", "iterators: tasks"),
    (r"bpf_iter_kmem_cache_\w+", "iterators: slab caches"),
    (r"bpf_(percpu_)?obj_(new|drop)(_impl)?", "objects of the program's own"),
    (r"bpf_refcount_acquire(_impl)?", "objects with reference counts"),
    (r"bpf_(list|rbtree)_\w+", "lists and trees"),
    (r"bpf_dynptr_\w+", "dynptr kfuncs"),
    (r"bpf_wq_\w+", "work queues"),
    (r"bpf_task_work_\w+", "task work"),
    (r"bpf_arena_\w+", "arena"),
    (r"bpf_res_spin_\w+", "resilient spin locks"),
    (r"bpf_throw", "exceptions"),
    (r"bpf_cast_to_kern_ctx", "kernel's context of a packet"),
    (r"bpf_rdonly_cast", "CO-RE: fields"),
    (r"bpf_session_(cookie|is_return)", "session programs: is_return, cookie"),
)

_CTX = {
    "__sk_buff": "tc",
    "xdp_md": "xdp",
    "sk_msg_md": "sk_msg",
    "pt_regs": "kprobe",
    "bpf_sock_ops": "sockops",
}
_PRIVATE = re.compile(r"testmod|bpf_kfunc_call_test|bpf_test_modorder|bpf_kfunc_common_test")
_OWNING = re.compile(rb"KF_(ACQUIRE|RELEASE|ITER|RET_NULL)")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_MARKS = re.compile(r'"(?:\\.|[^"\\\n])*"|[{};]')
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


class Tree:
    """A kernel's source tree: its selftests and the kfuncs it declares."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.progs = root / PROGS
        if not self.progs.is_dir():
            raise FileNotFoundError(f"{root} has no {PROGS}")

    @cached_property
    def kfuncs(self) -> tuple[frozenset[str], dict[str, bool]]:
        """Names of the kernel's kfuncs, and of those of the selftests' own modules: do they own something?"""
        real: set[str] = set()
        private: dict[str, bool] = {}
        rooms = [self.root / d for d in ("kernel", "net", "fs", "drivers", "mm", "security", "lib", "crypto")]
        rooms.append(self.root / PROGS.parent)
        for room in rooms:
            for file in room.rglob("*.c"):
                if not file.is_file() or (room == rooms[-1] and file.parent == self.progs):
                    continue
                data = file.read_bytes()
                if b"BTF_ID_FLAGS" in data:
                    found = re.findall(rb"BTF_ID_FLAGS\(\s*func\s*,\s*(\w+)([^)]*)\)", data)
                    if room == rooms[-1]:
                        private.update((name.decode(), bool(_OWNING.search(flags))) for name, flags in found)
                    else:
                        real.update(name.decode() for name, _ in found)
        return frozenset(real - private.keys()), private

    def files(self) -> list[Path]:
        return sorted(self.progs.glob("*.c"))

    def text(self, file: Path, seen: set[Path] | None = None) -> str:
        """A program's text without comments, its own headers in place."""
        seen = seen if seen is not None else set()
        seen.add(file)
        text = _COMMENT.sub(" ", file.read_text(errors="replace"))

        def include(match: re.Match[str]) -> str:
            name = match[1]
            if Path(name).name in LIBRARIES or name.startswith(("linux/", "bpf/", "asm/", "sys/")):
                return ""
            for place in (file.parent, self.progs, self.progs.parent):
                path = (place / name).resolve()
                if path.is_file() and path.is_relative_to(self.progs.parent.resolve()):
                    return "" if path in seen else self.text(path, seen)
            return ""

        return re.sub(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', include, text, flags=re.MULTILINE)


class Program:
    """One file of the selftests. `features` are strings `group: name`, `negative`: a refusal is expected."""

    def __init__(self, file: Path, tree: Tree) -> None:
        self.name = file.name
        self.tree = tree
        text = tree.text(file)
        self.negative = bool(re.search(r"\b__failure\b", text))
        self.features: set[str] = set()
        self.heads = _heads(text)
        self._sections(text)
        self._maps(text)
        self._constructs(text)
        self._names(text)

    def add(self, *features: str) -> None:
        self.features.update(features)

    def _sections(self, text: str) -> None:
        for match in re.finditer(r"SEC\(([^()]*)\)([^;{]*)", text):
            name = "".join(re.findall(r'"([^"]*)"', match[1])).lstrip("?")
            if not name or name in ("license", ".maps", "version"):
                continue
            if name == "maps":
                self.add("unknown map definition of old (SEC maps)")
            elif name.startswith((".struct_ops", "struct_ops")):
                self.add("section: struct_ops")
            elif name.startswith(".addr_space"):
                self.add("construct: arena")
            elif re.match(r"\.(data|bss|rodata)\b", name):
                self.add("construct: named data sections")
            elif (found := sections.match(name)) is not None:
                self.add(f"section: {found[0]}")
                if _PRIVATE.search(found[1]):
                    self.add("construct: hooks, structs and functions of modules")
            else:
                kinds = [kind for struct, kind in _CTX.items() if re.search(rf"struct {struct}\b", match[2])]
                old = name.partition("/")[0]
                known = kinds or ([old] if old in ("sk_skb", "sk_msg") else [])
                self.add(*[f"section: {kind}" for kind in known] or [f"unknown section {name}"])
        for struct in (
            re.findall(r"\bstruct (\w+?)(?:___\w+)? \w+ = \{", text) if "struct_ops" in text else ()
        ):
            if struct.startswith("bpf_testmod"):
                self.add("construct: hooks, structs and functions of modules")

    def _maps(self, text: str) -> None:
        for name in set(re.findall(r"\bBPF_MAP_TYPE_(\w+)", text)):
            word = name.lower()
            self.add(f"map: {word}" if word in tables.MAP_TYPES else f"unknown map type {name}")

    def _constructs(self, text: str) -> None:
        for feature, pattern in _PATTERNS:
            if re.search(pattern, text):
                self.add(f"construct: {feature}")
        plain = _without_texts(text)
        for match in re.finditer(r"\basm\s*(?:volatile\s*)?(?:goto\s*)?\(\s*", plain):
            empty = plain.startswith('""', match.end())
            self.add("construct: compiler barrier" if empty else "construct: inline assembly")
        if _global_functions(self.heads):
            self.add("construct: global functions")

    def _names(self, text: str) -> None:
        plain = _without_texts(text)
        own = set(re.findall(r"#\s*define\s+(\w+)", plain))
        own |= {_function(head) for head in self.heads}
        own |= set(re.findall(r"\btypedef\b[^;{}]*?\b(\w+)\s*(?:;|\()", plain))
        own |= set(re.findall(r"\(\s*\*\s*(?:const\s+)?(\w+)\s*(?:\[\w*\])?\s*\)\s*\(", plain))
        externs = {
            name
            for statement in re.findall(r"\bextern\b[^;]*;", plain)
            if "__ksym" in statement
            for name in re.findall(r"\b(\w+)\s*\(", statement)[:1]
        }
        for statement in re.findall(r"\bextern\b[^;(]*;", plain):
            if match := re.search(r"(\w+)\s*(?:\[\w*\])?\s+__ksym", statement):
                self.add("construct: kernel variables (ksym)")
                own.add(match[1])
        calls = set(re.findall(r"\b([A-Za-z_]\w*)\s*\(", plain))
        tags = set(re.findall(r"\b(__\w+)\b", plain))
        real, private = self.tree.kfuncs
        for name in calls | tags | externs:
            short = name[4:] if name.startswith("bpf_") else ""
            if name in _IGNORED:
                continue
            if name in _STATEMENTS and not re.search(_USED.format(name), plain):
                self.add("construct: atomics without a result")
                continue
            if name in _NAMES and name not in own:
                if _NAMES[name]:
                    self.add(f"construct: {_NAMES[name]}")
                continue
            if short in tables.HELPERS and name in calls and name not in externs:
                self.add(f"helper: {short}")
                continue
            kfunc = name.partition("___")[0]
            if kfunc in private or (name in externs and _PRIVATE.search(kfunc)):
                owning = private.get(kfunc, True)
                words = "owning functions of private test modules"
                self.add(f"construct: {words if owning else 'hooks, structs and functions of modules'}")
                continue
            feature = next((f for pattern, f in _KFUNCS if re.fullmatch(pattern, kfunc)), "")
            if feature and name in calls:
                self.add(f"construct: {feature}")
                continue
            if kfunc in real or kfunc in KFUNCS or name in externs:
                self.add(
                    f"kfunc: {kfunc}"
                    if kfunc in real or kfunc in KFUNCS
                    else f"unknown kernel function {kfunc}"
                )
                continue
            if name in own or name not in calls or f"{name}_t" in plain or _declared(name, plain):
                self._tag(name, own)
                continue
            if re.search(rf"\b(?:struct|union|enum)\s+{name}\s*\(", plain) or name.isupper():
                self.add(*([] if not name.isupper() else [f"unknown call {name}"]))
                continue
            self.add(f"unknown call {name}")

    def _tag(self, name: str, own: set[str]) -> None:
        known = (
            name in own
            or not name.startswith("__")
            or name.startswith(("__NR_", "__TARGET_ARCH", "__SO_", "__MAX", "__sk_b"))
        )
        if not known and name.startswith(("__arg_", "__percpu", "__rcu", "__user")):
            self.add(f"unknown tag {name}")


def _declared(name: str, text: str) -> bool:
    """Is the name declared in the file, as a function of known type: `name(` is then no unknown call."""
    types = r"(?:int|long|char|void|bool|u?int\d+_t|[us]\d+|__[us]\d+|size_t|struct \w+|enum \w+|unsigned)"
    return bool(re.search(rf"\b{types}\b\s*\**\s*{name}\s*\(", text)) and not name.startswith("bpf_")


def _without_texts(text: str) -> str:
    """Literals replaced by "s", or "" where they are empty."""
    return _STRING.sub(lambda m: '""' if m[0] == '""' else '"s"', text)


def _heads(text: str) -> list[str]:
    """What stands in front of each `{` of the file's top level."""
    heads, depth, start = [], 0, 0
    for match in _MARKS.finditer(text):
        mark = match[0]
        if mark == "{":
            if depth == 0:
                heads.append(text[start : match.start()])
            depth += 1
        elif mark == "}":
            depth = max(depth - 1, 0)
        if mark in ";}" and depth == 0:
            start = match.end()
    return heads


def _function(head: str) -> str:
    """The name of the function that a head begins, "" if it begins something else."""
    for name in re.findall(r"\b(\w+)\s*\(", head):
        if name in _IGNORED or (name.startswith("__") and name in _NAMES):
            continue
        if name.startswith("BPF_") or name == "SYSCALL_WRAPPER":
            inside = re.search(rf"\b{name}\s*\(\s*(\w+)", head)
            return inside[1] if inside else ""
        return str(name)
    return ""


def _global_functions(heads: list[str]) -> bool:
    """Functions that are neither static nor programs."""
    for head in heads:
        if _function(head) and not re.search(r"\bstatic\b|__always_inline|SEC\(|=", head):
            return True
    return False


_PATTERNS = (
    ("spin locks", r"\bbpf_spin_lock\b"),
    ("resilient spin locks", r"\bbpf_res_spin_lock\b"),
    ("timers", r"\bstruct bpf_timer\b"),
    ("work queues", r"\bstruct bpf_wq\b"),
    ("task work", r"\bstruct bpf_task_work\b"),
    ("lists and trees", r"\bbpf_(list_head|list_node|rb_root|rb_node)\b"),
    ("objects with reference counts", r"\bbpf_refcount\b"),
    ("dynptrs", r"\bstruct bpf_dynptr\b"),
    ("bit fields", r"\b(?:unsigned|int|__?[us]\d+|bool)\s+\w+\s*:\s*\d+\s*;"),
    ("128-bit integers", r"\b__u?int128\b"),
    ("CO-RE: flavours and own structs", r"preserve_access_index|\bstruct \w+___\w+"),
    ("loops", r"\b(?:for|while)\s*\("),
    ("computed goto", r"goto\s*\*"),
    ("tail calls", r"\bbpf_tail_call\b"),
    ("maps filled when declared", r"\.values\s*=|__array\(\s*values"),
    ("variadic macros or functions of its own", r"\bva_list\b"),
    ("several objects linked", r"(?m)^extern (?!.*__(?:ksym|kconfig))[^;\n]*;"),
    ("callbacks", r"\bbpf_(?:loop|for_each_map_elem|timer_set_callback|find_vma|user_ringbuf_drain)\b"),
    ("pinned by name", r"LIBBPF_PIN_BY_NAME"),
    ("function pointers called", r"\(\s*\*\s*\w+\s*\)\s*\([^)]*\)\s*="),
)
