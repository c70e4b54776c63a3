"""Names in words: Rust's two manglings, C++ through the system's library, and finding symbols by words."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.symbols import demangle, rust
from probee.sys import cxxabi


@pytest.mark.parametrize(
    ("mangled", "words"),
    [
        ("_RNvC6_123foo3bar", "123foo::bar"),
        ("_RNvNtCs1234_4core3fmt5write", "core::fmt::write"),
        ("_RNCNvC1a4main0", "a::main::{closure#0}"),
        ("_RNCNvC1a4mains_0", "a::main::{closure#1}"),
        ("_RNSNvC1a4main6vtable", "a::main::{shim:vtable#0}"),
        ("_RINvC1a1fmE", "a::f::<u32>"),
        ("_RNvMC1aNtB2_1S1f", "<a::S>::f"),
        ("_RNvXC1aNtB2_1SNtB2_1T1f", "<a::S as a::T>::f"),
        ("_RINvC1a1fTmhEE", "a::f::<(u32, u8)>"),
        ("_RINvC1a1fThEE", "a::f::<(u8,)>"),
        ("_RINvC1a1fAhj5_E", "a::f::<[u8; 5]>"),
        ("_RINvC1a1fSeE", "a::f::<[str]>"),
        ("_RINvC1a1fRhQhPhOhE", "a::f::<&u8, &mut u8, *const u8, *mut u8>"),
        ("_RINvC1a1fFUKChEuE", 'a::f::<unsafe extern "C" fn(u8)>'),
        ("_RINvC1a1fFhEhE", "a::f::<fn(u8) -> u8>"),
        ("_RINvC1a1fFG_RL0_hEB7_E", None),
        ("_RINvC1a1fFG_RL0_hEuE", "a::f::<for<'a> fn(&'a u8)>"),
        ("_RINvC1a1fDNtB2_1TEL_E", "a::f::<dyn a::T>"),
        ("_RINvC1a1fDNtB2_1TNtB2_1UEL_E", "a::f::<dyn a::T + a::U>"),
        ("_RINvC1a1fDNtB2_1Tp4ItemhEL_E", "a::f::<dyn a::T<Item = u8>>"),
        ("_RINvC1a1fKj7_E", "a::f::<7>"),
        ("_RINvC1a1fKan7_E", "a::f::<-7>"),
        ("_RINvC1a1fKb1_E", "a::f::<true>"),
        ("_RINvC1a1fKc27_E", "a::f::<'\\''>"),
        ("_RINvC1a1fKRe616263_E", 'a::f::<{"abc"}>'),
        ("_RINvC1a1fKVTNtB2_1Sj1_j2_EE", "a::f::<{a::S(1, 2)}>"),
        ("_RNvC1au8gdel_5qa", "a::gödel"),
        ("_RNvC1a1f.llvm.123", "a::f"),
        ("_RNvC1a1f.cold", "a::f [clone .cold]"),
        ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
        (
            "_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE",
            "<Test + 'static as foo::Bar<Test>>::bar",
        ),
        ("_ZN3foo17h05af221e174051e9E.llvm.99", "foo"),
        ("_ZN3foo17h05af221e174051eE", None),  # 15 digits are no hash
        ("_ZN3foo3barEv", None),  # C++
        ("main", None),
        ("_R", None),
        ("_RNvC", None),
    ],
)
def test_rust(mangled: str, words: str | None) -> None:
    assert rust.demangle(mangled) == words


def test_rust_with_hashes() -> None:
    assert rust.demangle("_ZN3foo17h05af221e174051e9E", hash=True) == "foo::h05af221e174051e9"
    assert rust.demangle("_RNvCs_1a1f", hash=True) == "a[1]::f"


def test_rust_names_that_explode_or_loop() -> None:
    assert rust.demangle("_RNvB_1f") is None
    deep = "_RINvC1a1f" + "T" * 5000 + "u" + "E" * 5000 + "E"
    assert rust.demangle(deep) is None
    # Each back reference doubles what is before it.
    wide = "_RINvC1a1f" + "TuuE"
    for _ in range(40):
        wide += "TBa_Ba_E"
    assert rust.demangle(wide + "E") is None or len(rust.demangle(wide + "E") or "") < 20_000


@given(st.text("_RNvC1a0B9IEKjTL_sShFGDpMXYuo.$x", max_size=60))
def test_rust_garbage(tail: str) -> None:
    for head in ("_R", "_RN", "_RINvC1a1f", "_ZN3foo"):
        rust.demangle(head + tail)


@given(st.text("_$.uLTGTRF0123456789abcdefhE é", max_size=60))
def test_old_rust_garbage(part: str) -> None:
    rust.demangle(f"_ZN{len(part)}{part}17h0123456789abcdefE")


def test_rust_agrees_with_llvm() -> None:
    """On every Rust symbol of this machine's own tools, if it has some."""
    tool = shutil.which("llvm-cxxfilt-22") or shutil.which("llvm-cxxfilt")
    rustc = shutil.which("rustc")
    if not tool or not rustc:
        pytest.skip("needs llvm-cxxfilt and rustc")
    root = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True).stdout.strip()
    from pathlib import Path

    from probee.symbols.elf import Elf

    libraries = sorted(Path(root, "lib").rglob("libstd-*.so"))
    if not libraries:
        pytest.skip("no shared libstd in rustc's sysroot")
    with Elf(str(libraries[0])) as elf:
        names = sorted({symbol.name for symbol in elf.matching("_R*")})[:3000]
    said = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True).stdout.splitlines()
    wrong = [
        n for n, words in zip(names, said, strict=True) if "(." not in words and rust.demangle(n) != words
    ]
    assert names
    assert wrong == []


def test_cpp() -> None:
    if not cxxabi.available():
        pytest.skip("needs a C++ runtime library")
    assert demangle.demangle("_ZN2ns4funcEi") == "ns::func(int)"
    assert demangle.demangle("_ZN2ns4funcEi.cold").startswith("ns::func(int) [")
    assert demangle.demangle("main") == "main"
    assert demangle.demangle("_Zbroken") == "_Zbroken"
    assert cxxabi.demangle("_Z" + "x" * 10_000) is None
    assert cxxabi.demangle("_Z1f\0") is None


@pytest.mark.parametrize(("seconds", "size"), [(1, 32 << 20), (1, 4 << 30)])
def test_cpp_names_that_would_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, seconds: int, size: int
) -> None:
    """f(A<B>, A<A<B>, A<B>>, …): each parameter writes the one before twice."""
    if not cxxabi.available():
        pytest.skip("needs a C++ runtime library")
    monkeypatch.setattr(cxxabi, "_SECONDS", seconds)
    monkeypatch.setattr(cxxabi, "_BYTES", size)
    assert cxxabi.demangle(bomb(2)) == "f(A<B>, A<A<B>, A<B> >, A<A<A<B>, A<B> >, A<A<B>, A<B> > >)"
    many = "_ZN1a" + "2SS" * 20 + "Ev"
    found = cxxabi.demangle_all(["_Z1fv", many, bomb(60), many, "_Z1gv"])
    words = "a::" + "::".join(["SS"] * 20) + "()"
    assert found == ["f()", words, None, words, "g()"]


def bomb(levels: int) -> str:
    return "_Z1f1AI1BE" + "".join(f"S_IS{_base36(n + 1)}_S{_base36(n + 1)}_E" for n in range(levels))


def _base36(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return (_base36(number // 36) if number >= 36 else "") + digits[number % 36]


def test_without_a_cpp_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cxxabi, "LIBRARIES", ("libnone.so",))
    monkeypatch.setattr(cxxabi, "_searched", False)
    monkeypatch.setattr(cxxabi, "_found", None)
    assert not cxxabi.available()
    assert demangle.demangle("_ZN2ns4funcEi") == "_ZN2ns4funcEi"
    assert demangle.demangle("_RNvC1a1f") == "a::f"
    monkeypatch.setattr(cxxabi, "_searched", False)


@pytest.mark.parametrize(
    ("declaration", "name"),
    [
        ("main", "main"),
        ("ns::func(int)", "ns::func"),
        ("ns::Box::get() const", "ns::Box::get"),
        ("long ns::twice<long>(long)", "ns::twice<long>"),
        (
            "std::vector<int, std::allocator<int> >::push_back(int&&)",
            "std::vector<int, std::allocator<int> >::push_back",
        ),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
        ("ns::Fn::operator()(int) const &", "ns::Fn::operator()"),
        ("ns::operator+(ns::A, ns::A)", "ns::operator+"),
        ("ns::A::operator bool() const", "ns::A::operator bool"),
        ("f(int) [clone .cold]", "f"),
        ("ns::f()::{lambda(int)#1}::operator()(int) const", "ns::f()::{lambda(int)#1}::operator()"),
        ("bool ns::operator< <int>(ns::A<int>)", "ns::operator< <int>"),
        ("<a::S as a::T>::f", "<a::S as a::T>::f"),
    ],
)
def test_the_name_in_a_declaration(declaration: str, name: str) -> None:
    assert demangle.base(declaration) == name


@pytest.mark.parametrize(
    ("words", "mangled"),
    [
        ("ns::func(int)", "_ZN2ns4funcEi"),
        ("ns::Box::Box", "_ZN2ns3BoxC1Ev"),
        ("ns::Box::~Box", "_ZN2ns3BoxD1Ev"),
        ("ns::vec<int>::push", "_ZN2ns3vecIiE4pushEi"),
        ("std::string::append", "_ZNSs6appendEPKc"),
        ("std::string::string", "_ZNSsC1Ev"),
        ("ns::A::operator()", "_ZN2ns1AclEv"),
        ("operator+", "_Zpl1A"),
        ("core::fmt::write", "_RNvNtCs1234_4core3fmt5write"),
        ("core::_x", "_RNvCs1234_4core2__x"),
        ("<a::S as a::T>::f", "_RNvXC1aNtB2_1SNtB2_1T1f"),
        ("a::main::{closure#0}", "_RNCNvC1a4main0"),
        ("a::gödel", "_RNvC1au8gdel_5qa"),
        ("ns::*", "_ZN2ns4funcEi"),
    ],
)
def test_what_is_searched_for_holds_in_every_mangling(words: str, mangled: str) -> None:
    from probee.symbols.glob import text_regex

    assert any(text_regex(pattern).fullmatch(mangled) for pattern in demangle.patterns(words))


@given(st.text("ab:<>()[]{} ~,*&-.$_9é", max_size=40))
def test_any_words_are_taken(words: str) -> None:
    demangle.base(words)
    demangle.patterns(words)
    demangle.spellings(["_ZN" + words, "_R" + words])


def test_python_runs_without_the_library_being_loaded() -> None:
    script = "import sys; import probee.symbols.locate; assert 'ctypes' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
