"""Find the uses of old names in Python source, and rewrite them.

The source is parsed to find the names. Only the names are rewritten, so that the formatting of a line stays.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import accumulate
from typing import Literal, NamedTuple

Rename = Callable[[str], str | None]
"""Returns the new form of a dotted name; None if the name is gone."""

_FROM = re.compile(r"from\s*(\.+(?=\s*import\b)|[.\w]+)\s*import\b")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_BY_TEXT = frozenset({"__import__", "import_module", "import_string", "importorskip", "patch"})
_ATTRIBUTES_BY_TEXT = ("delattr", "setattr")


class Edit(NamedTuple):
    """A range of the source, and the text that replaces it."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """A use of an old name."""

    line: int
    kind: Literal["import", "attribute", "string"]
    old: str
    new: str
    """The new form; empty if there is no replacement."""
    edits: tuple[Edit, ...] = ()
    """The changes that rewrite it. Empty if a person must decide."""


def renaming(releases: Iterable[Mapping[str, str | None]], own: Iterable[str] = ()) -> Rename:
    """Combine the renames of several releases. In each release, the longest matching name counts.

    Args:
        releases: New names by old names, the oldest release first.
        own: The modules that keep their names.

    Returns:
        A function that returns the new form of a name.
    """
    stay: dict[str, str | None] = {name: name for name in own}
    # A new name may be below an old one.
    steps = [stay | {new: new for new in names.values() if new} | dict(names) for names in releases]

    def rename(name: str) -> str | None:
        for names in steps:
            parts = name.split(".")
            for length in range(len(parts), 0, -1):
                prefix = ".".join(parts[:length])
                if prefix in names:
                    new = names[prefix]
                    if new is None:
                        return None
                    name = ".".join([new, *parts[length:]])
                    break
        return name

    return rename


def find(source: str, rename: Rename, was: Sequence[str] = (), now: Sequence[str] | None = None) -> list[Use] | None:
    """Find the uses of old names.

    Args:
        source: The source of a Python module.
        rename: Returns the new form of a name.
        was: The package of the module when its relative imports were written.
        now: The package of the module. By default, the same.

    Returns:
        The uses by line; None if the source is not valid Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    finder = _Finder(source, rename, was, was if now is None else now)
    try:
        finder.read(tree)
    except RecursionError:
        return None
    return sorted(finder.uses, key=lambda use: use.line)


def apply(source: str, uses: Sequence[Use]) -> tuple[str, list[int]]:
    """Rewrite the uses that can be rewritten.

    Args:
        source: The source of the module.
        uses: The uses of old names in it.

    Returns:
        The rewritten source, and the line of each use in it.
    """
    edits = sorted({edit for use in uses for edit in use.edits}, reverse=True)
    starts = [0, *accumulate(map(len, StringIO(source, newline="")))]
    lines = [
        use.line
        + sum(
            text.count("\n") - source.count("\n", start, end)
            for start, end, text in edits
            if start < starts[use.line - 1]
        )
        for use in uses
    ]
    for start, end, text in edits:
        source = f"{source[:start]}{text}{source[end:]}"
    return source, lines


class _Finder(ast.NodeVisitor):
    """Collects the uses of old names."""

    def __init__(self, source: str, rename: Rename, was: Sequence[str], now: Sequence[str]) -> None:
        self.uses: list[Use] = []
        self._source = source
        self._rename = rename
        self._was, self._now = was, now
        self._lines = list(StringIO(source, newline=""))
        self._starts = [0, *accumulate(map(len, self._lines))]
        self._bound: dict[str, str] = {}
        """The dotted names by local names."""
        self._imported: set[str] = set()
        """The modules of statements such as `import a.b`."""

    def read(self, tree: ast.Module) -> None:
        """Collect the uses of a module."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    root = alias.name.partition(".")[0]
                    self._bound[alias.asname or root] = alias.name if alias.asname else root
                    self._imported |= set() if alias.asname else {alias.name}
            elif isinstance(node, ast.ImportFrom) and (base := _resolved(node, self._was)):
                self._bound |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        """Check `import a.b`."""
        for alias in node.names:
            new = self._rename(alias.name)
            if new == alias.name:
                continue
            start = self._at(alias.lineno, alias.col_offset)
            bound = f" as {alias.asname}" if alias.asname else ""
            edits = [Edit(start, start + len(alias.name), new)] if new else []
            same_root = new and alias.name.partition(".")[0] == new.partition(".")[0]
            if not (bound or same_root) or not self._source.startswith(alias.name, start):
                edits = []
            shown = new and f"import {new}{bound}"
            self._add(alias.lineno, "import", f"import {alias.name}{bound}", shown, edits)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Check `from a import b`."""
        was, now = _resolved(node, self._was), _resolved(node, self._now)
        if not was or not now:
            return
        moved: dict[str, list[ast.alias]] = {}
        names: dict[ast.alias, str] = {}
        gone = []
        for alias in node.names:
            end = "" if alias.name == "*" else f".{alias.name}"
            new = self._rename(was + end)
            if new is None:
                gone.append(alias)
            elif new != now + end:
                module, _, name = (new, "", "*") if not end else new.rpartition(".")
                moved.setdefault(module, []).append(alias)
                names[alias] = _as(name, alias)
        written = "." * node.level + (node.module or "")
        if gone:
            self._add(node.lineno, "import", _from(written, (_as(alias.name, alias) for alias in gone)), None)
        if moved:
            old = _from(written, (_as(alias.name, alias) for alias in names))
            statements = [_from(module, (names[alias] for alias in group)) for module, group in moved.items()]
            self._add(node.lineno, "import", old, "; ".join(statements), self._edits(node, moved, names))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Check `a.b.c` if `a` is imported."""
        chain = _chain(node)
        known = self._bound.get(chain[0]) if chain else None
        if not known:
            self.generic_visit(node)
            return
        before = ".".join([known, *chain[1:]])
        wanted, imported = self._rename(before), self._rename(known)
        # The name is correct after the import is rewritten.
        if wanted == before or wanted == (imported and ".".join([imported, *chain[1:]])):
            return
        written, edits = ".".join(chain), []
        start = self._at(node.lineno, node.col_offset)
        if wanted and self._source.startswith(written, start) and self._follows(before, wanted):
            edits = [Edit(start, start + len(written), wanted)]
        self._add(node.lineno, "attribute", written, wanted, edits)

    def visit_Call(self, node: ast.Call) -> None:
        """Check `import_module("a.b")`, `patch("a.b.c")` and similar calls."""
        self.generic_visit(node)
        chain = _chain(node.func)
        if not (_BY_TEXT.intersection(chain) or chain[-1:] in ([name] for name in _ATTRIBUTES_BY_TEXT)):
            return
        given = [*node.args[:1], *(word.value for word in node.keywords if word.arg in ("name", "target"))]
        for value in given:
            if not (
                isinstance(value, ast.Constant) and isinstance(value.value, str) and _DOTTED.fullmatch(value.value)
            ):
                continue
            old, new = value.value, self._rename(value.value)
            if new == old:
                continue
            start, end = self._span(value)
            edits = []
            if new and self._source[start:end].count(old) == 1:
                at = self._source.index(old, start)
                edits = [Edit(at, at + len(old), new)]
            self._add(value.lineno, "string", f'"{old}"', new and f'"{new}"', edits)

    def _add(
        self,
        line: int,
        kind: Literal["import", "attribute", "string"],
        old: str,
        new: str | None,
        edits: Iterable[Edit] = (),
    ) -> None:
        self.uses.append(Use(line, kind, old, new or "", tuple(edits)))

    def _follows(self, before: str, wanted: str) -> bool:
        """Return whether the new name works after an `import a.b` is rewritten."""
        for name in self._imported:
            new = self._rename(name)
            if new and f"{before}.".startswith(f"{name}.") and wanted == f"{new}{before[len(name) :]}":
                return before.partition(".")[0] == wanted.partition(".")[0]
        return False

    def _edits(
        self, node: ast.ImportFrom, moved: Mapping[str, list[ast.alias]], names: Mapping[ast.alias, str]
    ) -> list[Edit]:
        """Rewrite an import. It becomes several imports if its names moved to different modules."""
        start, end = self._span(node)
        found = _FROM.match(self._source, start)
        if not found or "" in moved:
            return []
        staying = [alias for alias in node.names if alias not in names]
        groups = dict(moved)
        edits = []
        if not staying:
            module, staying = max(groups.items(), key=lambda group: len(group[1]))
            del groups[module]
            edits.append(Edit(*found.span(1), module))
            for alias in staying:
                at = self._at(alias.lineno, alias.col_offset)
                length = len(alias.name)
                new = names[alias] if alias.asname is None else names[alias].partition(" as ")[0]
                edits += [Edit(at, at + length, new)] if new != alias.name else []
        if not groups:
            return edits
        leaving = {alias for group in groups.values() for alias in group}
        # In parentheses, a whole line can be removed.
        within = self._source[found.end() :].lstrip().startswith("(")
        removals, comments = self._removals(node.names, leaving, lines=within)
        if sum(self._source.count("#", *edit[:2]) for edit in removals) > sum(each.count("#") for each in comments):
            # A comment would be lost.
            return []
        line = self._lines[(node.end_lineno or node.lineno) - 1]
        indent = self._source[self._starts[node.lineno - 1] : start]
        behind = self._source[end : self._starts[node.end_lineno or node.lineno]]
        rest = behind.strip()
        statements = [_from(module, (names[alias] for alias in group)) for module, group in groups.items()]
        if indent.strip() or (rest and not rest.startswith("#")):
            return [*edits, *removals, Edit(end, end, "".join(f"; {statement}" for statement in statements))]
        newline = "\r\n" if line.endswith("\r\n") else "\n"
        comment = "".join(f"  {each}" for each in [*([rest] if rest else []), *comments])
        at = end + len(behind.rstrip("\r\n"))
        more = "".join(f"{newline}{indent}{statement}{comment}" for statement in statements)
        return [*edits, *removals, Edit(at, at, more)]

    def _removals(
        self, aliases: Sequence[ast.alias], leaving: set[ast.alias], *, lines: bool
    ) -> tuple[list[Edit], list[str]]:
        """Remove names from an import: with their line if possible, otherwise with a comma.

        Return the comments of such lines, too.
        """
        spans = [self._span(alias) for alias in aliases]
        last = max(number for number, alias in enumerate(aliases) if alias not in leaving)
        comments: list[str] = []
        found: list[Edit] = []
        for number, alias in enumerate(aliases):
            if alias not in leaving:
                continue
            start, end = spans[number]
            first, behind = self._starts[alias.lineno - 1], self._starts[alias.end_lineno or alias.lineno]
            line = re.fullmatch(r"\s*,?\s*(#.*)?\s*", self._source[end:behind])
            if lines and line and not self._source[first:start].strip():
                start, end = first, behind
                comments += [line[1].strip()] if line[1] else []
            elif number < last:
                end = spans[number + 1][0]
            elif not (lines and "#" in self._source[spans[number - 1][1] : start]):
                start = spans[number - 1][1]
            if found and start <= found[-1].end:
                found[-1] = Edit(found[-1].start, max(end, found[-1].end), "")
            else:
                found.append(Edit(start, end, ""))
        return found, comments

    def _span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        start = self._at(node.lineno, node.col_offset)
        return start, self._at(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def _at(self, line: int, column: int) -> int:
        """Return a position in the source. Columns count bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())


def _resolved(node: ast.ImportFrom, package: Sequence[str]) -> str:
    """Return the module of an import. Return an empty text if a relative import leads out of its package."""
    if not node.level:
        return node.module or ""
    if node.level > len(package):
        return ""
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _chain(node: ast.expr) -> list[str]:
    """Return the names of `a.b.c`. Return no names if it does not begin with a name."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _as(name: str, alias: ast.alias) -> str:
    """Write an imported name so that its local name stays."""
    bound = alias.asname or alias.name
    return f"{name} as {bound}" if alias.asname or bound != name else name


def _from(module: str, names: Iterable[str]) -> str:
    return f"from {module} import {', '.join(names)}" if module else f"import {', '.join(names)}"
