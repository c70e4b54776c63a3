"""Python's blocks of statements: what their lines and branches are, whatever the compiler made of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

Arc = tuple[int, int]


class Suites:
    """The statements of the functions of a Python file."""

    def __init__(self, file: str) -> None:
        with open(file, encoding="utf-8", errors="replace") as source:
            self.tree = ast.parse(source.read())
        self.functions = [
            node for node in ast.walk(self.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]

    def lines(self, run: set[int], possible: set[int]) -> set[int]:
        """The first lines of the statements that ran. Those without instructions count as their neighbours
        in the block do, and as what the block belongs to if none of it has instructions.
        """
        out: set[int] = set()
        for function in self.functions:
            if self._own(function) & run:
                self._block(function.body, True, run, possible, out)
        return out

    def _own(self, node: ast.stmt) -> set[int]:
        return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))

    def _block(
        self, body: list[ast.stmt], entered: bool, run: set[int], possible: set[int], out: set[int]
    ) -> None:
        known = [self._own(s) for s in body]
        if any(lines & possible for lines in known):
            entered = any(lines & run for lines in known)
        if not entered:
            return
        last = max((n for n, lines in enumerate(known) if lines & run), default=len(body) - 1)
        for n, statement in enumerate(body):
            mine = known[n]
            # a statement whose instructions did not run was not reached; one without any was, up to the last
            if mine & run or (
                not mine & possible and (n <= last or self._quiet(body[last : n + 1], possible))
            ):
                out.add(statement.lineno)
                for block in _blocks(statement):
                    self._block(block, not mine & possible, run, possible, out)

    def _quiet(self, statements: list[ast.stmt], possible: set[int]) -> bool:
        """Whether control goes on from the first of these to the last."""
        return not any(
            isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)) for node in statements[:-1]
        )

    def arcs(self, run: set[int], seen: set[Arc], possible: set[int]) -> set[Arc]:
        """From statement to statement: what coverage.py counts branches by."""
        out: set[Arc] = set()
        for function in self.functions:
            if self._own(function) & run:
                first = function.body[0].lineno
                out.add((-function.lineno, first))
                self._arcs(function.body, -function.lineno, run, seen, possible, out)
        return out

    def _arcs(
        self,
        body: list[ast.stmt],
        after: int,
        run: set[int],
        seen: set[Arc],
        possible: set[int],
        out: set[Arc],
    ) -> None:
        """`after` is where control goes behind the block."""
        for n, statement in enumerate(body):
            line = statement.lineno
            following = body[n + 1].lineno if n + 1 < len(body) else after
            if line not in run:
                continue
            if isinstance(statement, (ast.If, ast.While, ast.For)):
                self._branch(statement, following, run, seen, possible, out)
            elif isinstance(statement, (ast.Return, ast.Raise)):
                out.add((line, self._exit(statement)))
            elif isinstance(statement, (ast.Break, ast.Continue)):
                out.update(a for a in seen if a[0] == line)
            else:
                out.add((line, following))
                for block in _blocks(statement):
                    out.add((line, block[0].lineno))
                    self._arcs(block, following, run, seen, possible, out)

    def _branch(
        self,
        statement: ast.If | ast.While | ast.For,
        following: int,
        run: set[int],
        seen: set[Arc],
        possible: set[int],
        out: set[Arc],
    ) -> None:
        line, body = statement.lineno, statement.body
        head = _head(statement)
        inside = set(range(body[0].lineno, (body[-1].end_lineno or body[-1].lineno) + 1))
        loop = not isinstance(statement, ast.If)
        if body[0].lineno in run:
            out.add((line, body[0].lineno))
        other = statement.orelse[0].lineno if statement.orelse else following
        if statement.orelse:
            if other in run:
                out.add((line, other))
        elif loop or any(a in head and b not in inside and b not in head for a, b in seen):
            out.add((line, other))
        self._arcs(body, line if loop else following, run, seen, possible, out)
        self._arcs(statement.orelse, following, run, seen, possible, out)

    def _exit(self, statement: ast.stmt) -> int:
        """How coverage.py writes leaving a function: the negative line of its definition."""
        inner = [f for f in self.functions if f.lineno <= statement.lineno <= (f.end_lineno or 0)]
        return -max(f.lineno for f in inner)


def _head(statement: ast.If | ast.While | ast.For) -> set[int]:
    return set(range(statement.lineno, statement.body[0].lineno))


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(statement, name, None)
        if block and isinstance(block, list) and isinstance(block[0], ast.stmt):
            yield block
    for case in getattr(statement, "cases", ()):
        yield case.body
    for handler in getattr(statement, "handlers", ()):
        yield handler.body
