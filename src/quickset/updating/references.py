"""Find where a service uses old names of modules and commands after a merge, and rewrite its imports on request.

The template's own lines have the new names. What is looked for is the owner's: files of their own, and their lines in
files of the template.
"""

import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import takewhile
from typing import Literal, NamedTuple

from quickset.templates.upgrades import Names
from quickset.updating import imports
from quickset.updating.matching import folders_of, moved
from quickset.updating.merge import Merged
from quickset.updating.repository import Entry, is_file
from quickset.updating.scratch import Workshop

Renames = Mapping[str, str | None]

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
    """Empty where nothing takes its place."""
    rewritten: bool = False


class _Source(NamedTuple):
    """A text of a service."""

    path: str
    text: str
    encoding: str
    was: str
    """The path before the merge."""
    theirs: frozenset[str]
    """The lines that the template has in it."""


def find(work: Workshop, merged: Merged, names: Sequence[Names], *, fix: bool) -> tuple[list[Reference], list[str]]:
    """Find the owner's lines that use old names.

    Args:
        work: Where the merge is.
        merged: What came of it; with `fix`, changed in place.
        names: What the releases on the way moved and renamed, the oldest first.
        fix: Rewrite imports.

    Returns:
        What was found, by path and line, and the files that were rewritten.
    """
    moves = _told_moves(merged, names)
    modules = [release.modules for release in names]
    modules.append(_moved_modules(moves, merged, told=frozenset[str]().union(*modules)))
    commands = [release.commands for release in names]
    own = [path for path in merged.files.keys() - merged.sides.keys() if path.endswith(_PYTHON)]
    rename = imports.renaming(modules, (".".join(_module(path, merged.files)) for path in own))
    found = list(_moved_lines(work, merged, names))
    rewritten: dict[str, bytes] = {}
    ends = {name.rpartition(".")[2] for release in modules for name in release}
    ends |= {command.split()[-1] for release in commands for command in release}
    for source in _sources(work, merged, moves, ends):
        # A conflict is the owner's to resolve.
        used, text = _python(source, merged.files, rename, fix=fix and source.path not in merged.stages)
        if text != source.text:
            rewritten[source.path] = text.encode(source.encoding)
        found += [*used, *_commands(source, text, commands)]
    for path, oid in work.write(rewritten).items():
        if path not in merged.after:
            merged.before[path] = merged.files[path]
        merged.after[path] = Entry(merged.files[path].mode, oid)
    return sorted(set(found), key=lambda each: (each.path, each.line, each.old)), sorted(rewritten)


def _told_moves(merged: Merged, names: Sequence[Names]) -> dict[str, str]:
    """Select the files that moved as the template says: old paths by new ones."""
    found = {}
    for path, sides in merged.sides.items():
        if sides.old_path and sides.old_path == sides.user_path != path:
            way: str | None = sides.old_path
            for release in names:
                way = moved(way, release.files) if way else None
            if way == path:
                found[path] = sides.old_path
    return found


def _moved_modules(moves: Mapping[str, str], merged: Merged, told: Collection[str]) -> dict[str, str | None]:
    """Name the modules of files that moved, so that upgrades.yml lists none of them twice."""
    files = {*merged.files, *moves.values()}
    return {
        name: ".".join(_module(new, files))
        for new, old in moves.items()
        if old.endswith(_PYTHON) and new.endswith(_PYTHON) and (name := ".".join(_module(old, files))) not in told
    }


def _sources(work: Workshop, merged: Merged, moves: Mapping[str, str], ends: Collection[str]) -> Iterator[_Source]:
    """Read the texts that may hold an old name; in a file that moved, any relative import may lead elsewhere now."""
    paths = work.grep(merged.files, ends) | moves.keys()
    wanted = {
        path: entry
        for path in sorted(paths)
        if is_file(entry := merged.files.get(path)) and not (path in merged.sides and merged.sides[path].new == entry)
    }
    template = {path: sides.new for path in wanted if (sides := merged.sides.get(path)) and is_file(sides.new)}
    old = {path: sides.old for path in wanted if (sides := merged.sides.get(path)) and is_file(sides.old)}
    contents, theirs, before = (work.read(tree, tree) for tree in (wanted, template, old))
    for path, content in contents.items():
        text, encoding = _decoded(content, python=path.endswith(_PYTHON))
        lines = {line.strip() for line in _lines(_decoded(theirs.get(path, b""))[0])}
        if path in merged.stages:
            # What the owner has not changed there is the template's to change.
            text = _without_theirs(text)
            lines |= {line.strip() for line in _lines(_decoded(before.get(path, b""))[0])}
        yield _Source(path, text, encoding, moves.get(path, path), frozenset(lines))


def _decoded(content: bytes, *, python: bool = False) -> tuple[str, str]:
    """Decode a text; return its encoding, too."""
    if python:
        with suppress(SyntaxError, UnicodeDecodeError, LookupError):
            encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
            return content.decode(encoding), encoding
    return content.decode(errors="surrogateescape"), "utf-8"


def _lines(text: str) -> list[str]:
    return list(StringIO(text, newline=""))


def _without_theirs(text: str) -> str:
    """Leave markers and the template's side of each conflict empty; the owner's side keeps its lines."""
    lines, theirs = [], False
    for line in _lines(text):
        marker = line[:7] if line[7:8] in ("", " ", "\r", "\n") else ""
        theirs = {"=" * 7: True, ">" * 7: False}.get(marker, theirs)
        lines.append("\n" if theirs or marker in ("<" * 7, ">" * 7) else line)
    return "".join(lines)


def _python(
    source: _Source, files: Collection[str], rename: imports.Rename, *, fix: bool
) -> tuple[list[Reference], str]:
    """Find the uses of modules in Python source, and rewrite them if asked to."""
    if not source.path.endswith(_PYTHON):
        return [], source.text
    packages = [_package(path, files) for path in (source.was, source.path)]
    found = imports.find(source.text, rename, *packages)
    lines = _lines(source.text)
    uses = [
        use
        for use in (_named(source.text, rename) if found is None else found)
        if lines[use.line - 1].strip() not in source.theirs
    ]
    text, numbers = imports.apply(source.text, uses) if fix else (source.text, [use.line for use in uses])
    if imports.find(text, rename) is None:
        text, numbers, fix = source.text, [use.line for use in uses], False
    return [
        Reference(source.path, line, use.kind, use.old, use.new, rewritten=fix and bool(use.edits))
        for line, use in zip(numbers, uses, strict=True)
    ], text


def _named(text: str, rename: imports.Rename) -> Iterator[imports.Use]:
    """Find old names in what is no valid Python."""
    for found in _DOTTED.finditer(text):
        new = rename(found[0])
        if new != found[0]:
            yield imports.Use(text.count("\n", 0, found.start()) + 1, "import", found[0], new or "")


def _module(path: str, files: Collection[str]) -> list[str]:
    """Name a module by its path."""
    name = path.rpartition("/")[2].partition(".")[0]
    return [*_package(path, files), *([] if name == "__init__" else [name])]


def _package(path: str, files: Collection[str]) -> list[str]:
    """Name the package that a module is in: the folders up to the first one that is none."""
    folders = list(folders_of(path))
    packages = list(takewhile(lambda folder: f"{folder}/__init__.py" in files, folders))
    above = packages[-1].rpartition("/")[0] if packages else ""
    return folders[0].removeprefix(above).strip("/").split("/") if folders else []


def _commands(source: _Source, text: str, releases: Sequence[Renames]) -> Iterator[Reference]:
    """Find old commands in a text."""
    lines = _lines(text)
    for number, commands in enumerate(releases):
        taken: list[tuple[int, int]] = []
        # A new command may hold an old one.
        known = {new: new for new in commands.values() if new} | dict(commands)
        for old in sorted(known, key=len, reverse=True):
            for found in _command(old).finditer(text):
                start, end = found.span()
                if any(start < stop and begin < end for begin, stop in taken):
                    continue
                taken.append((start, end))
                line = text.count("\n", 0, start) + 1
                if known[old] != old and lines[line - 1].strip() not in source.theirs:
                    new = _brought_on(known[old], releases[number + 1 :])
                    yield Reference(source.path, line, "command", old, new)


def _command(text: str) -> re.Pattern[str]:
    """Match a command as whole words, also as a list of arguments."""
    words = _BETWEEN.join(re.escape(word) for word in text.split())
    return re.compile(rf"(?<![\w.-]){words}(?![\w-]|\.\w)")


def _brought_on(command: str | None, releases: Iterable[Renames]) -> str:
    for commands in releases:
        for old in sorted(commands, key=len, reverse=True):
            new = commands[old]
            if command and (found := _command(old).search(command)):
                command = new and f"{command[: found.start()]}{new}{command[found.end() :]}"
                break
    return command or ""


def _moved_lines(work: Workshop, merged: Merged, releases: Sequence[Names]) -> Iterator[Reference]:
    """Find the lines that the owner wrote into files that the template gives up or rewrites."""
    for place, sides in merged.sides.items():
        at = sides.old_path
        texts: Renames = {}
        for names in releases:
            if at:
                texts = names.moved_lines.get(at, texts)
                at = moved(at, names.files)
        if not texts or not is_file(sides.old) or not is_file(sides.user) or sides.user == sides.old:
            continue
        entries = {"old": sides.old, "user": sides.user, "now": merged.files.get(place)}
        kept = {name: entry for name, entry in entries.items() if entry}
        contents = {name: _decoded(content)[0] for name, content in work.read(kept, kept).items()}
        now = [line.strip() for line in _lines(contents.get("now", ""))]
        for number, first, text in _own_lines(contents["old"], contents["user"]):
            # Where the merge lost it, it is where the owner committed it.
            lost = first not in now
            path = (sides.user_path or place) if lost else place
            line = number if lost else now.index(first) + 1
            yield Reference(path, line, "line", text, _instead(text, texts))


def _own_lines(old: str, user: str) -> Iterator[tuple[int, str, str]]:
    """Select the lines that only the owner has: their number, their text, and all of a call that goes on below."""
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
    """Count the brackets that a text leaves open."""
    code = _STRING.sub("", text).partition("#")[0]
    return sum(code.count(sign) for sign in "([{") - sum(code.count(sign) for sign in ")]}")


def _instead(line: str, texts: Renames) -> str:
    """Say what to write in place of a line."""
    code = re.sub(r"\s+#.*", "", line)
    for pattern, instead in texts.items():
        # What stands twice in a pattern is the same text.
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
