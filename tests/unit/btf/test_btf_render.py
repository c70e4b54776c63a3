"""BTF as C that compiles and as Python that imports, with the layout it had."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from probee.btf import Btf, BtfBuilder, kernel_btf, kinds, render_c, render_python
from probee.btf.c_layout import Layouts, bitfield
from probee.btf.c_source import c_type
from probee.errors import ObjectError, Unsupported

CLANGS = [f"clang-{n}" for n in (22, 21, 20, 19)] + ["clang"]


@pytest.fixture
def clang() -> str:
    for name in CLANGS:
        if shutil.which(name):
            return name
    pytest.skip("no clang here")


@pytest.fixture(scope="module")
def vmlinux() -> Btf:
    try:
        return kernel_btf()
    except Unsupported as e:
        pytest.skip(str(e))


def checks(btf: Btf, names: dict[int, str]) -> list[str]:
    """C that fails to compile if a size or an offset is not the BTF's."""
    out = []
    for t in btf.own_types():
        if t.kind in (kinds.STRUCT, kinds.UNION) and t.name and t.id in names:
            name = f"{t.kind_name} {names[t.id]}"
            out.append(f'_Static_assert(sizeof({name}) == {t.size}, "{name}");')
            for m in t.members:
                at, width = bitfield(btf, m)
                if m.name and not width:
                    place = f"__builtin_offsetof({name}, {m.name})"
                    out.append(f'_Static_assert({place} == {at // 8}, "{name}.{m.name}");')
    return out


def compiles(clang: str, text: str, *options: str) -> None:
    command = [clang, "-std=gnu11", "-w", "-fsyntax-only", "-ferror-limit=5", *options, "-xc", "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[:2000]


@pytest.fixture(scope="module")
def vmlinux_c(vmlinux: Btf) -> str:
    return render_c(vmlinux)


@pytest.mark.parametrize("target", ["bpf", "x86_64-linux-gnu", "aarch64-linux-gnu"])
def test_the_kernels_types_compile_with_their_layout(
    clang: str, vmlinux: Btf, vmlinux_c: str, target: str
) -> None:
    seen: dict[str, int] = {}
    first = {}
    for t in vmlinux.own_types():
        # A later type of the same name is called by another, which only the renderer knows.
        if t.kind in (kinds.STRUCT, kinds.UNION, kinds.ENUM, kinds.ENUM64) and t.name:
            seen[t.name] = seen.get(t.name, 0) + 1
            first[t.id] = t.name
    asserts = checks(vmlinux, {id: name for id, name in first.items() if seen[name] == 1})
    assert len(asserts) > 1000
    compiles(clang, "\n".join([vmlinux_c, *asserts]), "-target", target)


def test_the_header_form_compiles(clang: str, vmlinux: Btf) -> None:
    text = render_c(vmlinux, [vmlinux.find("task_struct", kinds.STRUCT) or 0], header=True)
    program = "int f(struct task_struct *t) { return t->pid; }"
    assert text.startswith("#ifndef __VMLINUX_H__")
    compiles(clang, f"{text}\n{text}\n{program}", "-target", "bpf", "-g", "-O2")


def layouts() -> BtfBuilder:
    """Structs that a compiler would lay out otherwise by itself."""
    b = BtfBuilder()
    c, i, ll = b.int_("char", 1, 1), b.int_("int", 4, 1), b.int_("long long", 8, 1)
    pair = b.struct("pair", 5, [("a", i, 0), ("b", c, 32)])  # packed
    b.struct("holds_packed", 12, [("x", c, 0), ("p", pair, 8), ("y", i, 64)])
    b.struct("gaps", 64, [("a", c, 0), ("b", i, 128), ("c", c, 160)])
    b.struct("bits", 16, [("a", i, 0, 3), ("b", i, 8, 5), ("c", ll, 64, 40), ("d", c, 104, 8)])
    b.struct("bits_packed", 4, [("a", i, 0, 20), ("b", i, 20, 12)])
    b.struct("bits_across", 5, [("a", i, 0, 20), ("b", i, 20, 20)])
    b.struct("tail", 32, [("a", ll, 0)])
    b.struct("empty", 0)
    b.struct("only_room", 24)
    b.union("both", 8, [("a", i, 0), ("b", ll, 0), ("c", c, 0, 3)])
    b.union("aligned", 64, [("a", i, 0)])
    b.union("packed_union", 5, [("a", i, 0), ("b", b.array(c, 5), 0)])
    inner = b.struct("", 8, [("x", i, 0), ("", b.union("", 4, [("y", i, 0), ("z", c, 0)]), 32)])
    b.struct("anonymous", 24, [("a", c, 0), ("", inner, 32), ("n", inner, 96)])
    b.struct("overlap", 8, [("a", i, 0), ("b", i, 16)])
    b.struct("flexible", 4, [("n", i, 0), ("data", b.array(c, 0), 32)])
    b.struct("old_bits", 4, [("a", b.int_("int", 4, 1, bits=3), 0), ("b", b.int_("int", 4, 1, bits=7), 3)])
    b.struct("wide", 32, [("a", c, 0), ("b", b.int_("__int128", 16, 1), 128)])
    b.struct("floats", 16, [("f", b.float_("float", 4), 0), ("d", b.float_("double", 8), 64)])
    for size in (1, 2, 4):
        e = b.enum(f"e{size}", [(f"E{size}", 1)], size=size)
        b.struct(f"has_e{size}", 8, [("e", e, 0), ("f", e, 32)])
    e8 = b.enum64("e8", [("E8_SMALL", 1)])
    huge = b.enum64("huge", [("HUGE", (1 << 64) - 1), ("ONE", 1)])
    low = b.enum64("low", [("LOW", -(1 << 63))])
    b.struct("enums", 24, [("a", e8, 0), ("b", huge, 64), ("c", low, 128)])
    return b


def test_layouts_are_kept_in_c(clang: str) -> None:
    btf = layouts().btf()
    names = {t.id: t.name for t in btf.own_types() if t.name and t.name != "overlap"}
    text = render_c(btf)
    values = '_Static_assert(HUGE == 0xFFFFFFFFFFFFFFFFULL && LOW < 0 && E8_SMALL == 1, "values");'
    for target in ("bpf", "x86_64-linux-gnu", "aarch64-linux-gnu"):
        compiles(clang, "\n".join([text, *checks(btf, names), values]), "-target", target)
    assert "char __opaque[8];" in text
    assert text.count("__opaque") == 1
    found = Layouts(btf)
    assert not found.of(btf.type(btf.find("bits_packed") or 0)).packed
    assert found.of(btf.type(btf.find("bits_across") or 0)).packed


def test_what_is_declared_before_what(clang: str) -> None:
    """Types that need each other, given in the worst order."""
    b = BtfBuilder()
    i = b.int_("int", 4, 1)  # 1
    b.struct("a", 24, [("b", 4, 0), ("next", 3, 64), ("u", 6, 128)])  # 2: uses what comes later
    b.ptr(2)  # 3
    b.typedef("b_t", 5)  # 4
    b.struct("b", 8, [("a", 3, 0)])  # 5
    b.typedef("callback_t", 7)  # 6
    b.ptr(8)  # 7
    b.func_proto(3, [("x", 10), ("later", 9), ("", 0)])  # 8
    b.ptr(4)  # 9
    b.ptr(11)  # 10
    b.fwd("unknown")  # 11
    b.enum("", [("ALONE", 1)])
    b.enum("", [("USED", 2)])
    b.struct("uses", 4, [("e", b.next_id - 1, 0)])
    b.func("f", b.func_proto(0))
    b.var("v", i)
    text = render_c(b.btf())
    compiles(clang, text)
    assert text.index("struct b {") < text.index("struct a {")
    assert "struct unknown;" in text
    assert "enum {\n\tALONE = 1,\n};" in text
    assert text.count("USED") == 1
    assert "f(" not in text


def test_names_that_collide(clang: str) -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    first = b.struct("s", 4, [("a", i, 0)])
    b.struct("s", 8, [("b", i, 32)])
    b.union("s", 4, [("c", i, 0)])
    b.fwd("s")
    b.typedef("t", first)
    b.typedef("t", i)
    b.enum("e", [("A", 1)])
    b.enum("e", [("A", 2), ("t", 3)])
    b.struct("weird::name<int>", 4, [("default", i, 0), ("1st", i, 0, 3)])
    b.int_("i32", 4, 1)
    b.struct("rust", 4, [("x", b.next_id - 1, 0)])
    text = render_c(b.btf())
    compiles(clang, text)
    for part in ("struct s___2 {", "union s___3 {", "typedef int t___2;", "A___2 = 2", "t___3 = 3"):
        assert part in text
    assert "typedef signed int i32;" in text


def test_declarations() -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    c = b.const(b.int_("char", 1, 1))
    proto = b.func_proto(b.ptr(c), [("x", i), ("y", b.ptr(0)), ("", 0)])
    array = b.array(b.array(i, 3), 2)
    cases = {
        b.ptr(c): "const char *v",
        b.const(b.ptr(c)): "const char *const v",
        b.volatile(b.restrict(b.ptr(i))): "int *volatile restrict v",
        array: "int v[2][3]",
        b.ptr(array): "int (*v)[2][3]",
        b.array(b.ptr(i), 4): "int *v[4]",
        b.const(b.array(i, 4)): "const int v[4]",
        proto: "const char *v(int x, void *y, ...)",
        b.ptr(proto): "const char *(*v)(int x, void *y, ...)",
        b.array(b.ptr(proto), 2): "const char *(*v[2])(int x, void *y, ...)",
        b.ptr(b.func_proto(b.ptr(proto))): "const char *(*(*v)(void))(int x, void *y, ...)",
        b.ptr(b.func_proto(0, [("", 0)])): "void (*v)()",
        b.ptr(b.type_tag("user", i)): '__attribute__((btf_type_tag("user"))) int *v',
        b.struct("", 4, [("x", i, 0)]): "struct {…} v",
        b.ptr(0): "void *v",
    }
    btf = b.btf()
    for id, text in cases.items():
        assert c_type(btf, id, "v") == text


def test_tags_and_functions(clang: str) -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    s = b.struct("s", 8, [("p", b.ptr(b.type_tag("user", i)), 0)])
    b.decl_tag("whole", s)
    b.decl_tag('mem"ber', s, 0)
    f = b.func("f", b.func_proto(i, [("x", i)]), kinds.LINK_EXTERN)
    b.decl_tag("kfunc", f)
    v = b.var("v", s, kinds.LINK_GLOBAL)
    text = render_c(b.btf(), [s, f, v])
    compiles(clang, text)
    assert '__attribute__((btf_decl_tag("whole")))' in text
    assert (
        '\t__attribute__((btf_type_tag("user"))) int *p __attribute__((btf_decl_tag("mem\\"ber")));' in text
    )
    assert 'extern int f(int x) __attribute__((btf_decl_tag("kfunc")));' in text
    assert "extern struct s v;" in text


def test_only_what_is_asked_for() -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    inner = b.struct("inner", 4, [("x", i, 0)])
    other = b.struct("other", 4, [("x", i, 0)])
    s = b.struct("s", 16, [("inner", inner, 0), ("other", b.ptr(other), 64)])
    assert render_c(b.btf(), [s]) == (
        "struct inner {\n\tint x;\n};\n\nstruct other;\n\nstruct s {\n\tstruct inner inner;\n"
        "\tstruct other *other;\n};\n"
    )


# --- Python ----------------------------------------------------------------------------------------


def imported(text: str) -> dict[str, object]:
    space: dict[str, object] = {"__name__": "rendered"}
    exec(compile(text, "rendered", "exec"), space)
    return space


def test_python() -> None:
    b = BtfBuilder()
    i, u8 = b.int_("int", 4, 1), b.int_("unsigned char", 1)
    char, flag = b.int_("char", 1, 1), b.int_("_Bool", 1, kinds.INT_BOOL)
    state = b.enum("state", [("ON", 1), ("OFF", 2)])
    inner = b.struct("inner", 8, [("a", i, 0), ("b", i, 32)])
    b.struct(
        "event",
        88,
        [
            ("pid", b.typedef("pid_t", i), 0),
            ("comm", b.array(char, 16), 32),
            ("ok", flag, 160),
            ("state", state, 192),
            ("inner", inner, 224),
            ("p", b.ptr(b.const(inner)), 320),
            ("table", b.array(b.array(i, 3), 2), 384),
            ("x", i, 576, 3),
            ("y", i, 579, 5),
            ("from", u8, 592),
            ("", b.union("", 8, [("u", i, 0), ("v", b.ptr(0), 0)]), 640),
        ],
    )
    text = render_python(b.btf())
    assert 'class event(Struct):\n    """struct event, 88 bytes."""\n\n    pid: i32\n' in text
    for line in (
        "comm: Char[16]  # char comm[16]",
        "ok: bool",
        "state: u32  # enum state state",
        "inner: inner",
        "p: u64  # const struct inner *p",
        "table: i32[3][2]  # int table[2][3]",
        "bits_72: u8  # x:3, y:5",
        "from_: u8  # unsigned char from",
        "union_80: u64  # union of u, v",
        "ON = 1",
        "pid_t = i32",
    ):
        assert line in text, text
    imported(text)


def test_python_keeps_the_layout(vmlinux: Btf) -> None:
    from probee.lang import decl

    names = ["task_struct", "sk_buff", "file", "iphdr", "tcphdr", "sock", "inode", "page", "bpf_prog"]
    ids = [id for name in names if (id := vmlinux.find(name, kinds.STRUCT)) is not None]
    assert ids
    space = imported(render_python(vmlinux, ids))
    for id in ids:
        t = vmlinux.type(id)
        made = space[t.name]
        assert isinstance(made, type)
        assert decl.size_of(made) == t.size  # type: ignore[arg-type]


def test_structs_that_contain_themselves_are_refused() -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    b.struct("a", 8, [("x", i, 0), ("b", b.next_id + 1, 32)])
    b.struct("b", 4, [("a", b.next_id - 1, 0)])
    b.typedef("t", b.next_id)
    for render in (render_c, render_python):
        with pytest.raises(ObjectError, match="contains itself"):
            render(b.btf(), [2])
    with pytest.raises(ObjectError, match=r"itself|does not end"):
        render_c(b.btf(), [4])
