"""Wrong programs of every kind, and what the compiler says to them; contexts against the kernel's BTF."""

from __future__ import annotations

from textwrap import dedent

import pytest

import lang_module
import probee as bp
from probee.errors import CompileError
from probee.isa.sections import SECTIONS
from probee.lang.kinds import contexts, table
from probee.lang.types import Array, NetInt

ABOVE = """\
import probee as bp
from probee import *
from probee import u8, u16, u32, u64

out = bp.Array[u64](4)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def message(ktypes, tmp_path):
    def message(hook: str, body: str, params: str = "pkt") -> str:
        lines = dedent(body).strip("\n").splitlines()
        text = f"{ABOVE}\n@bp.{hook}\ndef program({params}):\n" + "".join(f"    {x}\n" for x in lines)
        with pytest.raises(CompileError) as found:
            lang_module.to_ir(lang_module.make(text, tmp_path), ktypes)
        error = found.value
        assert error.line, error
        return f"{error.message} | {error.advice}"

    return message


CASES = [
    ("xdp", "eth = pkt.read(Ethernet)\nreturn eth.type", "eth may be None here"),
    ("xdp", "return pkt.read(Ethernet).type", "may be None"),
    ("xdp", "pkt.read()\nreturn 2", "read() takes a header"),
    ("xdp", "pkt.read(5)\nreturn 2", "not the number 5"),
    ("xdp", "a, b = pkt.read(Ethernet, IPv4)\nreturn 2", "say what to return if not"),
    ("xdp", "return 17", "does not return 17 | return bp.XDP.ABORTED or bp.XDP.DROP"),
    ("xdp", "pkt.data", "has no field data"),
    ("xdp", "pkt.ingress_ifindex = 3", "can't be assigned in a XDP program"),
    ("xdp", "pkt.mark = 3", "has no field mark"),
    ("xdp", "pkt.tcp_port", "has no field tcp_port"),
    ("xdp", "pkt.redirect(out, 1)", "can't be redirected by the map out"),
    ("xdp", "pkt.skip(99999)", "a packet is shorter"),
    ("xdp", "pkt.load(4)", "takes an offset in bytes and a type"),
    (
        "xdp",
        "e = pkt.read(Ethernet, short=2)\npkt.adjust_head(-4)\nreturn e.type",
        "which may move the packet",
    ),
    ("xdp", "e = pkt.read(Ethernet, short=2)\ne.update(type=3)", "has no checksum"),
    ("xdp", "i = pkt.read(IPv4, short=2)\ni.update(tll=3)", "has no field tll"),
    ("xdp", "i = pkt.read(IPv4, short=2)\ni.update(checksum=3)", "follows by itself"),
    ("xdp", "i = pkt.read(IPv4, short=2)\ni.update(ttl=3, transport=i)", "depends on the addresses only"),
    ("xdp", "i = pkt.read(IPv4, short=2)\nif i.src == b'1234': pass", "text can't be compared"),
    ("xdp", "i = pkt.read(IPv6, short=2)\nif i.src == b'1234': pass", "16 bytes can't be compared with 4"),
    ("xdp", "return 2", "gives 1 parameter, not 2"),
    ("tc", "pkt.data_end", "has no field data_end"),
    ("tc", "pkt.len = 4", "it may assign cb, mark"),
    ("tc", "return 99", "return bp.TC.UNSPEC"),
    ('cgroup_skb("egress")', "i = pkt.read(IPv4, short=1)\ni.ttl = 4", "can only read packets"),
    ('cgroup_skb("ingress")', "return 2", "returns 0 to 1, not 2 | return bp.CGROUP.DENY or bp.CGROUP.ALLOW"),
    ('cgroup_sock_addr("connect4")', "pkt.user_ip6[0] = 1", "has no field user_ip6"),
    ('cgroup_sock_addr("connect4")', "pkt.family = 1", "it may assign user_ip4, user_port"),
    ('cgroup_sock_addr("recvmsg4")', "return 0", "returns 1 only, not 0"),
    ('cgroup_sock("post_bind4")', "return pkt.mark", "has no field mark"),
    ("cgroup_sysctl()", "len(pkt)", "has no length"),
    ("sk_lookup", "pkt.read(IPv4)", "has no field read"),
    ("netfilter", "return 4", "return bp.NF.ACCEPT or bp.NF.DROP"),
    ("syscall", "return pkt.a", "needs a type"),
    ('iter("task")', "return 3", "can't return 3"),
    ('iter("task")', "return pkt.task.pid", "pkt.task may be None"),
    ('iter("tsk")', "return 0", "no iterator over tsk | did you mean task"),
    ('fentry("do_nanoslep")', "return 0", "has no function do_nanoslep | did you mean do_nanosleep"),
    ('fentry("do_nanosleep")', "return 4", "a fentry program can't return 4"),
    ('lsm("file_opn")', "return 0", "no LSM hook file_opn | did you mean file_open"),
    ('lsm("file_open")', "return 1", "return 0, or a negative errno"),
    ('kprobe("do_nanosleep")', "return bp.retval()", "before the function returns"),
    ('kretprobe("do_nanosleep")', "return bp.arg(0)", "gone when the function returns"),
    ('kprobe("do_nanosleep")', "return bp.arg(pkt)", "a constant index"),
    ('kprobe("do_nanosleep")', 'return bp.reg("zz")', "there is no register zz"),
    ("xdp", "return bp.arg(0)", "has no arguments by number"),
    ('usdt("libc", "p", "n")', "return bp.arg(12)", "at most 12 arguments"),
    ("xdp", "pkt.read(bp.Ethernet, size=3)", "takes headers, and `short=`"),
    ("xdp", 'ip = ipv4("10.0.0.300")', "is no IPv4 address"),
]


@pytest.mark.parametrize(("hook", "body", "words"), CASES, ids=range(len(CASES)))
def test_messages(message, hook, body, words):
    params = "pkt, more" if "2 parameter" in words or ("not 2" in words and "gives" in words) else "pkt"
    if hook.startswith("usdt") or "sysctl" in hook:
        hook = hook.replace("()", "")
    if hook.startswith("usdt"):
        params = ""
    assert words in message(hook, body, params)


def test_fexit_and_ret(message):
    assert "use @bp.fexit" in message('fentry("do_nanosleep")', "return 0", "timer, ret")
    assert "gives 2 parameters" in message('fexit("do_nanosleep")', "return 0", "a, b, c, ret")


def test_struct_ops(ktypes, tmp_path):
    def message(body: str) -> str:
        text = f"{ABOVE}\n@bp.struct_ops('tcp_congestion_ops')\nclass Ops:\n{body}\n"
        with pytest.raises(CompileError) as found:
            lang_module.to_ir(lang_module.make(text, tmp_path), ktypes)
        return f"{found.value.message} | {found.value.advice}"

    assert "did you mean ssthresh" in message("    def sstresh(self, sk): return 1")
    assert "returns nothing" in message("    def cong_avoid(self, sk): return 1")
    wrong = message("    name = 'x' * 99\n    def ssthresh(self, sk): return 1")
    assert "does not fit there" in wrong
    assert "has no member nam" in message("    nam = 'x'\n    def ssthresh(self, sk): return 1")


@pytest.mark.parametrize("name", contexts._LAYOUTS)
def test_contexts_are_the_kernels(ktypes, name):
    theirs = ktypes.find(f"struct {name}")
    if theirs is None:
        pytest.skip(f"this kernel has no struct {name}")
    ours = contexts.layout(name)

    def flat(struct, base=0):
        for m in struct.members:
            if m.name:
                yield m.name, base + m.bit_offset // 8, m.type.size
            else:
                yield from flat(m.type, base + m.bit_offset // 8)

    known = {n: (at, size) for n, at, size in flat(theirs)}
    for member in ours.members:
        if member.name in known:  # older kernels have fewer
            assert known[member.name] == (member.bit_offset // 8, member.type.size), member.name
    assert ours.size >= theirs.size


def test_every_section_of_the_network_has_a_kind():
    words = """
        xdp tc tcx netkit classifier cgroup cgroup_skb socket sockops sk_msg sk_skb sk_lookup sk_reuseport
        flow_dissector lwt_in lwt_out lwt_xmit lwt_seg6local xdp.frags
    """
    kinds = words.split()
    for section in SECTIONS:
        if section.partition("/")[0] in kinds and section != "cgroup/skb":
            kind = table.find(section)
            assert kind is not None, section
            names = set(contexts.layout(kind.context).names())
            assert kind.writable <= names, section
            assert (kind.hidden & names) | (set(kind.ends) - {""}) <= names, section
            assert not kind.hidden & kind.writable, section


def test_numbers_of_protocols():
    port = next(m.type for m in contexts.layout("bpf_sock_addr").members if m.name == "user_port")
    assert isinstance(port, NetInt)
    assert (port.size, port.bits, port.swap) == (4, 16, 16)
    six = next(m.type for m in contexts.layout("bpf_sock_addr").members if m.name == "user_ip6")
    assert six == Array(NetInt(32), 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.tc("eth0", "sideways"), "no direction"),
        (lambda: bp.cgroup_sock_addr("conect4"), "no call"),
        (lambda: bp.sk_skb("parser"), "no program"),
        (lambda: bp.netfilter("ipv4", "nowhere"), "no hook"),
        (lambda: bp.fentry(3), "a name is needed"),
        (lambda: bp.kprobe("a b"), "a name is needed"),
        (lambda: bp.xdp(at="map"), "no place"),
        (lambda: bp.struct_ops("x")(3), "stands on a class"),
    ],
)
def test_decorators_refuse(make, words):
    with pytest.raises(CompileError, match=words):
        make()
