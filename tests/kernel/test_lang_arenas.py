"""Arenas: what programs build there, they and Python walk; the same in the kernel and in the machine."""

from __future__ import annotations

import pytest

import arena_programs as p
import lang_module
import probee as bp
from needs import needs
from services_module import attached


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def call(request):
    if request.param == "kernel":
        needs("arena")
    with attached(p, request.param) as call:
        yield call


def items(first):
    while first is not None:
        yield first
        first = first.next


def test_a_list(call):
    result, _, start, _ = call("push", 20, 0, 0)
    assert result == 0
    assert p.used.value == 27
    sum_ = sum(i * i + 44 + 5 + i + 1000 for i in range(20))
    assert call("walk", 0, 0, 0) == [0, sum_, 27, 0]
    first = p.arena.at(p.head.value, p.Item)
    assert [item.key for item in items(first)] == list(reversed(range(20)))
    assert (first.value, first.small, first.flags, first.word) == (361, 44, 5, "item")
    assert list(first.pair) == [0, 19]
    assert int(first) == p.head.value == start + 19 * p.Item._size_


def test_python_changes_it(call):
    first = p.arena.at(p.head.value, p.Item)
    before = call("walk", 0, 0, 0)[1]
    first.value += 1000
    first.flags = 1
    first.pair[1] = 20
    assert call("walk", 0, 0, 0)[1] == before + 1000 - 4 + 1
    second = first.next
    first.next = second.next
    assert call("walk", 0, 0, 0)[1] < before
    first.next = second
    first.next.next.next = None
    assert len(list(items(first))) == 3
    assert "Item at 0x" in repr(first)
    with pytest.raises(AttributeError, match="no field 'valu'"):
        _ = first.valu
    with pytest.raises(IndexError, match="outside"):
        p.arena.at(p.arena.address + (64 << 12), p.Item)


def test_columns(call):
    pytest.importorskip("numpy")
    column = p.arena.array(p.arena.at(p.head.value, p.Item)._pointer - 19 * p.Item._size_, p.Item, 20)
    assert column["key"].tolist() == list(range(20))
    assert column["pair"].shape == (20, 2)
    column["value"][19] = 1
    assert p.arena.at(p.head.value, p.Item).value == 1


def test_pointers_go_through_maps(call):
    value = p.arena.at(p.head.value, p.Item).value
    assert call("change", 0, 0, 0) == [0, 99, 1, 21]
    first = p.arena.at(p.head.value, p.Item)
    assert (first.value, first.key) == (value + 5, 99)
    assert first.word
    assert p.kept[1].count == value + 5
    assert p.kept[1].where == p.head.value


def test_a_hash_table(call):
    assert call("put", 100, 0, 0)[0] == 0
    assert call("look", 117, 0, 0) == [0, 117, 351, 0]
    assert call("look", 1, 0, 0)[0] == -2
    chain = p.table.value.bucket[4]
    assert [i.key for i in items(p.arena.at(chain, p.Item))] == [132, 124, 116, 108, 100]


def test_a_tree(call):
    assert call("grow", 4711, 0, 0)[0] == 0
    keys = []

    def walk(node):
        if node is not None:
            walk(node.left)
            keys.append(node.key)
            walk(node.right)

    walk(p.arena.at(p.root.value, p.Tree))
    assert len(keys) == 30
    assert keys == sorted(keys)
    assert call("smallest", 0, 0, 0)[1] == keys[0] & (1 << 64) - 1


def test_memory_by_the_piece(call):
    p.head.value = 0
    result, _, last, odd = call("one_by_one", 200, 0, 0)
    assert (result, odd) == (0, 0)
    found = list(items(p.arena.at(last, p.Item)))
    assert [item.key for item in found] == list(range(1199, 999, -1))
    assert all(item.value == 0 for item in found)
    pages = {int(item) >> 12 for item in found}
    assert len(pages) == -(-200 * (p.Item._size_ + p.Tree._size_) // 4096)


def test_pointers_given_to_global_functions(call):
    first = p.arena.at(p.head.value, p.Item)
    before = first.value
    assert call("global_call", 0, 0, 0) == [0, first.next.key + 5, 0, 0]
    assert first.value == before + 1


def test_pages_are_given_back(call):
    assert call("give_back", 0, 0, 0) == [0, 0x1234, 0, 1]
    assert call("greedy", 0, 65, 0)[1] == 1
    assert call("greedy", 0, 0, 0)[1] == 1


WALKER = """
import probee as bp
from probee import u64

class Node(bp.Struct):
    next: bp.ArenaPtr[Node]
    value: u64

{arena}
head = bp.Global[bp.ArenaPtr[Node]]()
sum = bp.Global[u64](0)

@bp.{hook}
def walk({params}):
    node = head.value
    for _ in range(50):
        if node is None:
            break
        sum.value += node.value
        node = node.next
"""


@pytest.mark.root
def test_python_builds_and_a_program_that_names_no_arena_walks(tmp_path, monkeypatch):
    """Twice: the second time the object comes out of the cache."""
    needs("arena")
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path / "cache"))
    text = WALKER.format(
        arena="shared = bp.Arena(pages=4, address=0x7e00_0000_0000)",
        hook="syscall",
        params="args: Node",
    )
    text = "from __future__ import annotations\n" + text
    module = lang_module.make(text, tmp_path)
    for known in (0, 1):
        with bp.attach(module.walk) as session:
            assert session.stats["from_cache"] == known
            arena = module.shared
            assert arena.address == 0x7E00_0000_0000
            place = arena.at(arena.address + 4096, module.Node)
            place.value = 5
            place.next = other = arena.at(arena.address + 8192, module.Node)
            other.value = 6
            module.head.value = place
            session.programs["walk"].test_run(ctx=bytes(16))
            assert module.sum.value == 11


def test_structs_made_in_functions(tmp_path):
    """A struct that leads to itself needs no module around it."""

    class Node(bp.Struct):
        next: bp.ArenaPtr[Node]
        many: bp.ArenaPtr[bp.u64]

    assert Node._fields_[0].type.target() is Node
    assert Node(next=7)._packed() == (7).to_bytes(8, "little") + bytes(8)
    assert repr(Node._fields_[0].type) == "ArenaPtr[Node]"
