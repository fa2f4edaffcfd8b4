"""Small wrong versions of a source file, for `tests/mutants.py`: each changes one place.

1. A comparison, a sum or a logical word becomes its neighbour: `<` and `<=`, `+` and `-`, `&` and `|`, `and` and `or`.
2. `not`, `~` and `-` go; a condition is turned; True and False change places; a number moves by one, a fraction is
   doubled.
3. A statement goes: a call whose value nobody takes, a change of something that exists already, a raise, an early
   return.
4. An end of a slice goes. In SQL, ROLLBACK becomes COMMIT, DESC becomes ASC, AND becomes OR, and the other way round.

Left out by rule, because no behaviour that is promised hangs on it, or because it cannot be wrong in silence:

- type annotations and unions of types, decorators, imports, what stands under TYPE_CHECKING, `__all__`, and `assert`,
  which is for our own bugs;
- words: docstrings, error messages (all inside `raise`, and every f-string that is no SQL), help texts, names of keys;
- reports of progress;
- `strict=` of zip, `stable=` of sorts whose order among equals nobody reads, `dim=` and `device=`;
- numbers of the module in capitals that say how much work is done at a time, how much is kept in memory or how wide a
  limit is (`WORK`), sums with them, and amounts of memory such as `512 << 20`: any other value gives the same results.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
SUMS = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"),
}  # fmt: skip
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|ORDER BY|BEGIN|COMMIT|ROLLBACK|DESC|WHERE|PRAGMA)\b| = \? AND ")
SQL_WORDS = {
    "ROLLBACK": "COMMIT", "COMMIT": "ROLLBACK", "DESC": "ASC", "AND": "OR", "OR": "AND", "max": "min",
    "IGNORE": "REPLACE", "REPLACE": "IGNORE", "NOT": "", "DISTINCT": "", "FULL": "OFF",
}  # fmt: skip
WORK = re.compile(
    r"^_?(CHUNKS?|BATCH|WIDE|REACH|GROUP|BLOCK|PART|TILE|HALVINGS|ROOM|[A-Z_]*(BYTES|CACHED|IMAGES|MOST)[A-Z_]*)$"
)
SILENT_KEYWORDS = {"strict", "stable", "dim", "device", "metadata"}
REPORTS = {"report", "Progress", "option"}
PREVIEW = 90  # characters of a line that a mutant's name keeps


@dataclass(frozen=True)
class Mutation:
    """One change of one place of a file."""

    path: str
    """Below src/clew."""
    function: str
    start: int
    end: int
    """In characters of the source."""
    text: str
    name: str
    """Path, function, the line before and after: it stays the same when lines above it change."""

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    def apply(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]


def mutations(source: str, path: str) -> list[Mutation]:
    """Every mutation of a file, in the order of the source."""
    collector = _Collector(source)
    collector.visit(ast.parse(source))
    counts: Counter[str] = Counter()
    result = []
    for function, start, end, text in sorted(collector.places, key=lambda place: place[1:]):
        mutated = source[:start] + text + source[end:]
        before, after = (_line(whole, start) for whole in (source, mutated))
        name = f"{path} {function or 'module'}: {before} => {after}"
        counts[name] += 1
        again = f" ({counts[name]})" if counts[name] > 1 else ""
        result.append(Mutation(path, function, start, end, text, name + again))
    return result


def _line(source: str, place: int) -> str:
    begin = source.rfind("\n", 0, place) + 1
    end = source.find("\n", place)
    line = " ".join(source[begin : len(source) if end < 0 else end].split())
    column = len(" ".join(source[begin:place].split()))
    first = max(0, column - PREVIEW // 2) if len(line) > PREVIEW else 0
    return line[first : first + PREVIEW].strip()


class _Collector(ast.NodeVisitor):
    """Walks a file and notes each place with what could stand there instead."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.begins = [0]
        for line in source.splitlines(keepends=True):
            self.begins.append(self.begins[-1] + len(line))
        self.lines = source.splitlines(keepends=True)
        self.scope: list[str] = []
        self.bound: list[set[str]] = [set()]
        self.depth = 0  # of blocks in a function
        self.places: list[tuple[str, int, int, str]] = []

    # --- places -----------------------------------------------------------------------------------------------

    def offset(self, line: int, column: int) -> int:
        """The place in characters; `ast` counts columns in bytes."""
        return self.begins[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        begin = self.offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        return begin, self.offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def note(self, start: int, end: int, text: str) -> None:
        self.places.append((".".join(self.scope), start, end, text))

    def between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """An operator that stands between two expressions."""
        start, end = self.span(left)[1], self.span(right)[0]
        place = re.search(rf"(?<![\w*/<>=]){re.escape(old)}(?![\w*/<>])", self.source[start:end])
        if place is not None:
            self.note(start + place.start(), start + place.end(), new)

    # --- what is left out ---------------------------------------------------------------------------------------

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope(node, [])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        self._scope(node, [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)])
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.visit(default)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)  # type: ignore[arg-type]

    def _scope(self, node: ast.ClassDef | ast.FunctionDef, names: list[str]) -> None:
        self.scope.append(node.name)
        self.bound.append(set(names))
        depth, self.depth = self.depth, 0
        self._block(node.body)
        self.depth = depth
        self.bound.pop()
        self.scope.pop()

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        if SQL.search(ast.get_source_segment(self.source, node) or ""):
            self._sql(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in REPORTS:
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in SILENT_KEYWORDS:
            self.visit(node.value)

    # --- statements ---------------------------------------------------------------------------------------------

    def visit_Module(self, node: ast.Module) -> None:
        self._block(node.body)

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not docstring:
                self.visit(statement)

    def _inner(self, *bodies: list[ast.stmt]) -> None:
        self.depth += 1
        for body in bodies:
            self._block(body)
        self.depth -= 1

    def _drop(self, node: ast.stmt) -> None:
        if self.scope:
            self.note(*self.span(node), "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and "report" not in ast.unparse(call.func):
            self._drop(node)
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        if names == {"__all__"} or (not self.scope and all(WORK.match(name) for name in names)):
            return
        changes = all(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets)
        if changes or (names and names <= self.bound[-1]):
            self._drop(node)
        self.bound[-1] |= names
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            if isinstance(node.target, ast.Name):
                self.bound[-1].add(node.target.id)
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._drop(node)
        if type(node.op) in SUMS:
            old, new = SUMS[type(node.op)]
            self.between(node.target, node.value, f"{old}=", f"{new}=")
        self.visit(node.value)
        self.visit(node.target)

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is not None:
            self._drop(node)

    def visit_Return(self, node: ast.Return) -> None:
        if self.depth:
            self._drop(node)
        if node.value is not None:
            self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.note(*self.span(node), "break")

    def visit_Break(self, node: ast.Break) -> None:
        self.note(*self.span(node), "continue")

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test) or "__name__" in ast.unparse(node.test):
            return
        self._turn(node.test)
        self.visit(node.test)
        self._inner(node.body, node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._inner(node.body, node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.bound[-1] |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        self.visit(node.iter)
        self._inner(node.body, node.orelse)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
        self._inner(node.body)

    def visit_Try(self, node: ast.Try) -> None:
        self._inner(node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody)

    # --- expressions --------------------------------------------------------------------------------------------

    def _turn(self, test: ast.expr) -> None:
        """A condition's opposite, where no other rule gives it."""
        if not isinstance(test, ast.Compare | ast.BoolOp) and not (
            isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        ):
            start, end = self.span(test)
            self.note(start, end, f"(not ({self.source[start:end]}))")

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._turn(node.test)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            self.between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        last = ast.unparse(node.right).rpartition(".")[2]
        if isinstance(node.op, ast.BitOr) and (last[:1].isupper() or last in ("int", "float", "str")):
            return  # a union of types, or one with None
        if isinstance(node.op, ast.LShift) and isinstance(node.left, ast.Constant):
            return  # an amount of memory
        if any(isinstance(child, ast.Name) and WORK.match(child.id) for child in ast.walk(node)):
            return
        if type(node.op) in SUMS:
            self.between(node.left, node.right, *SUMS[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not (isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)):
            start = self.span(node)[0]
            self.note(start, start + (3 if isinstance(node.op, ast.Not) else 1), "")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for end in (node.lower, node.upper):
            if end is not None:
                self.note(*self.span(end), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value, place = node.value, self.span(node)
        if isinstance(value, bool):
            self.note(*place, str(not value))
        elif isinstance(value, int):
            self.note(*place, str(value + 1))
            if value == 1:
                self.note(*place, "0")
        elif isinstance(value, float):
            self.note(*place, str(2 * value or 1.0))
        elif isinstance(value, str) and SQL.search(value):
            self._sql(node)

    def _sql(self, node: ast.expr) -> None:
        start, end = self.span(node)
        for word in re.finditer("|".join(rf"\b{word}\b" for word in SQL_WORDS), self.source[start:end]):
            self.note(start + word.start(), start + word.end(), SQL_WORDS[word[0]])


def files_of(root: Path, parts: tuple[str, ...]) -> Iterator[str]:
    """The Python files below some folders, and files given without their ending, as paths below `root`."""
    for part in parts:
        folder = root / part
        paths = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
        yield from (str(path.relative_to(root)) for path in sorted(paths))
