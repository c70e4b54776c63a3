"""The grammar of the nouns: keywords and their abbreviations, numbers, options wherever they stand."""

from __future__ import annotations

import json
import os
from contextlib import suppress

import pytest

from probee.cli.grammar import Words, Wrong, command, keyword, parse_number, split
from probee.cli.nouns import NOUNS, find
from probee.cli.output import Output


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("show", "show"),
        ("s", "show"),
        ("d", "dump"),
        ("p", "pin"),
        ("pe", "peek"),
        ("event-pipe", "event_pipe"),
        ("showing", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_keywords_may_be_abbreviated_and_the_first_wins(word: str, found: str) -> None:
    assert keyword(word, ("show", "dump", "pin", "peek", "event_pipe")) == found


def test_a_whole_word_wins_over_one_that_it_begins() -> None:
    assert keyword("load", ("loadall", "load")) == "load"


def test_words_are_taken_one_by_one() -> None:
    words = Words(["id", "7", "opc", "rest"])
    assert words.one_of("name", "id") == "id"
    assert words.number("ID") == 7
    assert words.take("linum") == ""
    assert words.take("opcodes") == "opcodes"
    with pytest.raises(Wrong, match="'rest' is one word too many"):
        words.end()
    assert words.rest() == ["rest"]
    assert not words
    words.end()
    with pytest.raises(Wrong, match="FILE is missing"):
        words.next("FILE")
    with pytest.raises(Wrong, match="expected id or name, but the line ends"):
        words.one_of("id", "name")


@pytest.mark.parametrize(("word", "number"), [("7", 7), ("0x1f", 31), ("010", 8), ("0", 0), ("0b11", 3)])
def test_numbers_are_those_of_c(word: str, number: int) -> None:
    assert parse_number(word, "N") == number


@pytest.mark.parametrize("word", ["", "x", "-1", "4294967296", "1.5", "0x", "08"])
def test_other_words_are_no_numbers(word: str) -> None:
    with pytest.raises(Wrong):
        parse_number(word, "N")


def test_options_stand_anywhere() -> None:
    output = Output()
    words = split(["-f", "show", "--pretty", "value", "-5", "--btf=x.btf", "-B", "base", "-dm"], output)
    assert words == ["show", "value", "-5"]
    assert (output.bpffs, output.json, output.pretty, output.debug, output.lenient) == (True,) * 5
    assert (output.btf, output.base_btf) == ("x.btf", "base")


def test_what_follows_two_dashes_is_no_option() -> None:
    assert split(["a", "--", "-j", "--x"], Output()) == ["a", "-j", "--x"]


@pytest.mark.parametrize("argv", [["-x"], ["--nothing"], ["-jx"], ["--btf"]])
def test_unknown_options_are_wrong(argv: list[str]) -> None:
    with pytest.raises(Wrong):
        split(argv, Output())


def test_words_that_look_a_little_like_options_stay_words() -> None:
    assert split(["pf", "j", "-1", "-.5", "-"], Output()) == ["pf", "j", "-1", "-.5", "-"]


def test_the_first_verb_is_what_happens_without_one() -> None:
    def first(words: Words, output: Output) -> None:
        words.end()

    def second(words: Words, output: Output) -> int:
        return 5

    verbs = {"show": first, "other": second}
    assert command("x", verbs, "help", []) == 0
    assert command("x", verbs, "help", ["o"]) == 5


def test_what_is_wrong_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("x", {"show": "prog_show.show"}, "help", ["bogus"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "there is no `probee x bogus`; there are show" in err
    assert command("x", {"show": "prog_show.show"}, "help", ["bogus", "-j"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"].startswith("there is no")
    assert err == ""


def test_an_os_error_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(words: Words, output: Output) -> None:
        os.open("/nowhere/at/all", os.O_RDONLY)

    assert command("x", {"show": fails}, "help", ["-j"]) == 1
    assert json.loads(capsys.readouterr().out) == {"error": "/nowhere/at/all: No such file or directory"}


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_explains_itself(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = find([noun, "--help"])
    assert run is not None
    with suppress(SystemExit):  # argparse
        assert run([noun, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"probee {noun}" in text
    assert "examples:" in text
    assert max(map(len, text.splitlines())) <= 112


@pytest.mark.parametrize(
    ("argv", "known"),
    [
        (["p"], True),
        (["-j", "prog"], True),
        (["-jp", "map", "show"], True),
        (["struct_ops"], True),
        (["s"], True),
        (["opensnoop"], False),
        (["--help"], False),
        (["-j"], False),
        ([], False),
        (["zz"], False),
    ],
)
def test_nouns_are_found_as_bpftool_finds_them(argv: list[str], known: bool) -> None:
    assert (find(argv) is not None) == known


def test_nothing_of_this_is_imported_by_tools() -> None:
    import subprocess
    import sys

    script = "import sys, probee.cli.main as m; m.main(['opensnoop', '--help']); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "probee.cli.nouns" not in out
    assert "probee.cli.grammar" not in out
