"""Find the owner's lines that use old names of modules and commands after a merge, and rewrite imports on request.

The template's own lines have the new names already. The owner's lines are in files of their own, and in template files.
"""

import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import takewhile
from typing import Literal, NamedTuple

from quickset.templates.upgrades import Renames
from quickset.updating import imports
from quickset.updating.matching import folders_of, moved
from quickset.updating.merge import MergeResult
from quickset.updating.scratch import ScratchRepository
from quickset.updating.tree import Entry, is_file

NameMap = Mapping[str, str | None]

_PYTHON = (".py", ".pyi")
_BETWEEN = r"(?:[\s\"',\\]+(?:-\s+[\"']?)?)"
_STRING = re.compile(r"""'[^']*'|"[^"]*\"""")
_DOTTED = re.compile(r"(?<![\w.])[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A line of the owner's that uses an old name."""

    path: str
    line: int
    kind: Literal["import", "attribute", "string", "command", "line"]
    old: str
    new: str
    """The new name; empty if nothing takes its path."""
    rewritten: bool = False


class _Source(NamedTuple):
    """A text of the service."""

    path: str
    text: str
    encoding: str
    was: str
    """The path before the merge."""
    template_lines: frozenset[str]
    """The template's lines in it."""


def find(
    scratch: ScratchRepository, merged: MergeResult, names: Sequence[Renames], *, fix: bool
) -> tuple[list[Reference], list[str]]:
    """Find the owner's lines that use old names.

    Args:
        scratch: The repository of the merge.
        merged: The result of the merge. With `fix`, it is changed in path.
        names: The moves and renames of the releases in between, the oldest first.
        fix: Rewrite imports.

    Returns:
        The uses of old names, by path and line, and the paths of rewritten files.
    """
    moves = _declared_moves(merged, names)
    modules = [release.modules for release in names]
    modules.append(_moved_modules(moves, merged, known=frozenset[str]().union(*modules)))
    commands = [release.commands for release in names]
    own = [path for path in merged.files.keys() - merged.sides.keys() if path.endswith(_PYTHON)]
    rename = imports.renaming(modules, (".".join(_module(path, merged.files)) for path in own))
    found = list(_moved_lines(scratch, merged, names))
    rewritten: dict[str, bytes] = {}
    ends = {name.rpartition(".")[2] for release in modules for name in release}
    ends |= {command.split()[-1] for release in commands for command in release}
    for source in _sources(scratch, merged, moves, ends):
        # The owner resolves a conflict, so its lines are not rewritten.
        used, text = _python(source, merged.files, rename, fix=fix and source.path not in merged.stages)
        if text != source.text:
            rewritten[source.path] = text.encode(source.encoding)
        found += [*used, *_commands(source, text, commands)]
    for path, oid in scratch.write_blobs(rewritten).items():
        if path not in merged.after:
            merged.before[path] = merged.files[path]
        merged.after[path] = Entry(merged.files[path].mode, oid)
    return sorted(set(found), key=lambda each: (each.path, each.line, each.old)), sorted(rewritten)


def _declared_moves(merged: MergeResult, names: Sequence[Renames]) -> dict[str, str]:
    """Select the files that moved as the template declares: old paths by new paths."""
    found = {}
    for path, sides in merged.sides.items():
        if sides.old_path and sides.old_path == sides.user_path != path:
            way: str | None = sides.old_path
            for release in names:
                way = moved(way, release.files) if way else None
            if way == path:
                found[path] = sides.old_path
    return found


def _moved_modules(moves: Mapping[str, str], merged: MergeResult, known: Collection[str]) -> dict[str, str | None]:
    """List the renames of modules whose files moved, so that `upgrades.yml` need not repeat them."""
    files = {*merged.files, *moves.values()}
    return {
        name: ".".join(_module(new, files))
        for new, old in moves.items()
        if old.endswith(_PYTHON) and new.endswith(_PYTHON) and (name := ".".join(_module(old, files))) not in known
    }


def _sources(
    scratch: ScratchRepository, merged: MergeResult, moves: Mapping[str, str], ends: Collection[str]
) -> Iterator[_Source]:
    """Read the texts that may contain an old name. In a file that moved, any relative import may be wrong."""
    paths = scratch.grep(merged.files, ends) | moves.keys()
    wanted = {
        path: entry
        for path in sorted(paths)
        if is_file(entry := merged.files.get(path)) and not (path in merged.sides and merged.sides[path].new == entry)
    }
    template = {path: sides.new for path in wanted if (sides := merged.sides.get(path)) and is_file(sides.new)}
    old = {path: sides.old for path in wanted if (sides := merged.sides.get(path)) and is_file(sides.old)}
    contents, template_lines, before = (scratch.read_files(tree, tree) for tree in (wanted, template, old))
    for path, content in contents.items():
        text, encoding = _decoded(content, python=path.endswith(_PYTHON))
        lines = {line.strip() for line in _lines(_decoded(template_lines.get(path, b""))[0])}
        if path in merged.stages:
            # The template changes the lines that the owner did not change.
            text = _without_theirs(text)
            lines |= {line.strip() for line in _lines(_decoded(before.get(path, b""))[0])}
        yield _Source(path, text, encoding, moves.get(path, path), frozenset(lines))


def _decoded(content: bytes, *, python: bool = False) -> tuple[str, str]:
    """Decode a text. Return its encoding, too."""
    if python:
        with suppress(SyntaxError, UnicodeDecodeError, LookupError):
            encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
            return content.decode(encoding), encoding
    return content.decode(errors="surrogateescape"), "utf-8"


def _lines(text: str) -> list[str]:
    return list(StringIO(text, newline=""))


def _without_theirs(text: str) -> str:
    """Empty the markers and the template's side of each conflict. The owner's side keeps its line numbers."""
    lines, in_template = [], False
    for line in _lines(text):
        marker = line[:7] if line[7:8] in ("", " ", "\r", "\n") else ""
        in_template = {"=" * 7: True, ">" * 7: False}.get(marker, in_template)
        lines.append("\n" if in_template or marker in ("<" * 7, ">" * 7) else line)
    return "".join(lines)


def _python(
    source: _Source, files: Collection[str], rename: imports.Rename, *, fix: bool
) -> tuple[list[Reference], str]:
    """Find the uses of old modules in Python source. With `fix`, rewrite them."""
    if not source.path.endswith(_PYTHON):
        return [], source.text
    packages = [_package(path, files) for path in (source.was, source.path)]
    found = imports.find(source.text, rename, *packages)
    lines = _lines(source.text)
    uses = [
        use
        for use in (_named(source.text, rename) if found is None else found)
        if lines[use.line - 1].strip() not in source.template_lines
    ]
    text, numbers = imports.apply(source.text, uses) if fix else (source.text, [use.line for use in uses])
    if imports.find(text, rename) is None:
        text, numbers, fix = source.text, [use.line for use in uses], False
    return [
        Reference(source.path, line, use.kind, use.old, use.new, rewritten=fix and bool(use.edits))
        for line, use in zip(numbers, uses, strict=True)
    ], text


def _named(text: str, rename: imports.Rename) -> Iterator[imports.Use]:
    """Find old names in a text that is not valid Python."""
    for found in _DOTTED.finditer(text):
        new = rename(found[0])
        if new != found[0]:
            yield imports.Use(text.count("\n", 0, found.start()) + 1, "import", found[0], new or "")


def _module(path: str, files: Collection[str]) -> list[str]:
    """Return the parts of a module's name."""
    name = path.rpartition("/")[2].partition(".")[0]
    return [*_package(path, files), *([] if name == "__init__" else [name])]


def _package(path: str, files: Collection[str]) -> list[str]:
    """Return the package of a module: its folders up to the first folder that is not a package."""
    folders = list(folders_of(path))
    packages = list(takewhile(lambda folder: f"{folder}/__init__.py" in files, folders))
    above = packages[-1].rpartition("/")[0] if packages else ""
    return folders[0].removeprefix(above).strip("/").split("/") if folders else []


def _commands(source: _Source, text: str, releases: Sequence[NameMap]) -> Iterator[Reference]:
    """Find old commands in a text."""
    lines = _lines(text)
    for number, commands in enumerate(releases):
        taken: list[tuple[int, int]] = []
        # A new command may contain an old one.
        known = {new: new for new in commands.values() if new} | dict(commands)
        for old in sorted(known, key=len, reverse=True):
            for found in _command(old).finditer(text):
                start, end = found.span()
                if any(start < stop and begin < end for begin, stop in taken):
                    continue
                taken.append((start, end))
                line = text.count("\n", 0, start) + 1
                if known[old] != old and lines[line - 1].strip() not in source.template_lines:
                    new = _renamed_command(known[old], releases[number + 1 :])
                    yield Reference(source.path, line, "command", old, new)


def _command(text: str) -> re.Pattern[str]:
    """Match a command as whole words, or as a list of arguments."""
    words = _BETWEEN.join(re.escape(word) for word in text.split())
    return re.compile(rf"(?<![\w.-]){words}(?![\w-]|\.\w)")


def _renamed_command(command: str | None, releases: Iterable[NameMap]) -> str:
    """Apply the renames of later releases to a command."""
    for commands in releases:
        for old in sorted(commands, key=len, reverse=True):
            new = commands[old]
            if command and (found := _command(old).search(command)):
                command = new and f"{command[: found.start()]}{new}{command[found.end() :]}"
                break
    return command or ""


def _moved_lines(scratch: ScratchRepository, merged: MergeResult, releases: Sequence[Renames]) -> Iterator[Reference]:
    """Find the lines that the owner wrote into files that the template rewrites or gives up."""
    for path, sides in merged.sides.items():
        old_path = sides.old_path
        texts: NameMap = {}
        for names in releases:
            if old_path:
                texts = names.moved_lines.get(old_path, texts)
                old_path = moved(old_path, names.files)
        if not texts or not is_file(sides.old) or not is_file(sides.user) or sides.user == sides.old:
            continue
        entries = {"old": sides.old, "user": sides.user, "now": merged.files.get(path)}
        kept = {name: entry for name, entry in entries.items() if entry}
        contents = {name: _decoded(content)[0] for name, content in scratch.read_files(kept, kept).items()}
        now = [line.strip() for line in _lines(contents.get("now", ""))]
        for number, first, text in _own_lines(contents["old"], contents["user"]):
            # A line that the merge dropped is only in the owner's commit.
            lost = first not in now
            at = (sides.user_path or path) if lost else path
            line = number if lost else now.index(first) + 1
            yield Reference(at, line, "line", text, _instead(text, texts))


def _own_lines(old: str, user: str) -> Iterator[tuple[int, str, str]]:
    """Yield the lines that only the owner has: the number, the line, and all of a call that continues below."""
    known = {line.strip() for line in _lines(old)}
    lines = [line.strip() for line in _lines(user)]
    number = 0
    while number < len(lines):
        first = number
        text = lines[number]
        number += 1
        if text in known or not re.search(r"\w", text):
            continue
        while _depth(text) > 0 and number < len(lines):
            text += f" {lines[number]}"
            number += 1
        text = re.sub(r",? ([)\]}])", r"\1", re.sub(r"([(\[{]) ", r"\1", text))
        yield first + 1, lines[first], text


def _depth(text: str) -> int:
    """Count the open brackets at the end of a text."""
    code = _STRING.sub("", text).partition("#")[0]
    return sum(code.count(sign) for sign in "([{") - sum(code.count(sign) for sign in ")]}")


def _instead(line: str, texts: NameMap) -> str:
    """Return the line to write elsewhere in path of an owner's line."""
    code = re.sub(r"\s+#.*", "", line)
    for pattern, instead in texts.items():
        # A placeholder that occurs twice stands for the same text.
        first, *rest = _PLACEHOLDER.split(re.escape(pattern))
        expression, seen = first, set[str]()
        for name, literal in zip(rest[::2], rest[1::2], strict=True):
            expression += (f"(?P={name})" if name in seen else f"(?P<{name}>.+?)") + literal
            seen.add(name)
        if found := re.fullmatch(expression, code):
            text = instead or ""
            for name, value in found.groupdict().items():
                text = text.replace(f"{{{name}}}", value)
            return text
    return ""
