"""The user's formatting: both renders follow it, and a conflict says when nothing else is its reason."""

import json
import re
import subprocess
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from quickset import git
from quickset.locking import PROJECT
from quickset.updating.adapt import Match, Sides

_PYTHON = (".py", ".pyi")
_PROSE = (".md", ".markdown")
# What begins a line of Markdown that does not go on with the paragraph above.
_BEGINS = r"[#>|]|```|~~~|(?:[-*+]|\d+[.)])[ \t]"
_RUFF = (".ruff.toml", "ruff.toml", PROJECT)
_OPTIONS = ("line-length", "indent-width", "target-version", "preview")
_NESTED = 5  # files of settings, each of which extends another
# So wide and dense that each way to wrap a line ends in the same text.
_CANONICAL = ("line-length=320", "format.skip-magic-trailing-comma=true")

Style = tuple[str, ...]
"""Options of `ruff format`, as `name=value`; without any, the defaults of both ruff and black."""


class Styles:
    """How the files of a service are formatted, as settings in the repository say.

    Args:
        read: Returns the contents of a file of the repository, or None.
        prefix: The service's folder in it: empty, or ending in a slash.
    """

    def __init__(self, read: Callable[[str], bytes | None], prefix: str = "") -> None:
        self._read = cache(read)
        self._prefix = prefix
        self._ruff = cache(self._read_ruff)
        self._black = cache(self._read_black)

    def of(self, path: str) -> list[Style]:
        """Name the styles that a Python file may have.

        Args:
            path: The file, relative to the service.

        Returns:
            That of ruff's settings nearest to it, those of settings further up, black's, and the defaults of both.
        """
        folders = PurePosixPath(self._prefix, path).parents
        found = [read(folder) for read in (self._ruff, self._black) for folder in folders]
        return list(dict.fromkeys([*(style for style in found if style is not None), ()]))

    def _read_ruff(self, folder: PurePosixPath) -> Style | None:
        settings = next((found for name in _RUFF if (found := self._extended(folder / name)) is not None), None)
        if settings is None:
            return None
        needed = _table(self._toml(folder / PROJECT), "project").get("requires-python")
        if "target-version" not in settings and (lowest := re.search(r"(?:>=|~=|==)\s*3\.(\d+)", str(needed))):
            settings["target-version"] = f"py3{lowest[1]}"
        return tuple(f"{name}={_value(value)}" for name, value in sorted(settings.items()))

    def _read_black(self, folder: PurePosixPath) -> Style | None:
        settings = _table(self._toml(folder / PROJECT), "tool").get("black")
        if not isinstance(settings, dict):
            return None
        style = [f"line-length={_value(settings.get('line-length', 88))}"]
        if settings.get("skip-string-normalization"):
            style.append('format.quote-style="preserve"')
        if settings.get("skip-magic-trailing-comma"):
            style.append("format.skip-magic-trailing-comma=true")
        return tuple(style)

    def _extended(self, file: PurePosixPath, depth: int = 0) -> dict[str, Any] | None:
        """Read ruff's settings, over those that they extend; None where a file is missing or has none."""
        loaded = self._toml(file)
        if loaded is not None and file.name == PROJECT:
            loaded = _table(loaded, "tool").get("ruff")
        if not isinstance(loaded, dict):
            return None
        settings: dict[str, Any] = {}
        if depth < _NESTED and isinstance(extends := loaded.get("extend"), str):
            settings |= self._extended(_normal(file.parent / extends), depth + 1) or {}
        settings |= {name: loaded[name] for name in _OPTIONS if name in loaded}
        formats = _table(loaded, "format")
        return settings | {f"format.{name}": value for name, value in formats.items() if not isinstance(value, dict)}

    def _toml(self, file: PurePosixPath) -> dict[str, Any] | None:
        content = self._read(str(file))
        try:
            return None if content is None else tomllib.loads(content.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError):
            return None


def _table(of: Any, name: str) -> dict[str, Any]:
    found = of.get(name) if isinstance(of, dict) else None
    return found if isinstance(found, dict) else {}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _normal(path: PurePosixPath) -> PurePosixPath:
    """Resolve the `..` of a path; what leads out of the repository names nothing there."""
    parts: list[str] = []
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            return PurePosixPath("/")
    return PurePosixPath(*parts)


def follow(sides: Sides, user: Styles, template: Styles) -> None:
    """Format both renders as the user formats.

    Args:
        sides: What is to be merged; changed in place.
        user: How the user's files are formatted.
        template: How those of the old render are.
    """
    matched = [match for match in sides.matches if match.user.endswith(_PYTHON) and match.user in sides.user]
    chosen = _of_edited(sides, matched, user)
    # The user may have a file under another name, or not at all.
    paths = {path for path in sides.old.keys() | sides.new.keys() if path.endswith(_PYTHON)}
    absent = paths.difference(*(match[:2] for match in matched))
    other: dict[Style, list[Match]] = {}
    for match in (*matched, *(Match(path, path, path) for path in absent)):
        style = user.of(match.user)[0]
        if style != template.of(match.old)[0]:
            other.setdefault(style, []).append(match)
    for style, matches in other.items():
        mine = {match.user: sides.user[match.user] for match in matches if match.user in sides.user}
        kept = {path for path, content in _format(mine, style).items() if content == mine[path]}
        most = len(kept) * 2 >= len(mine)
        for match in matches:
            if match.user in kept or (most and match.user not in mine):
                chosen.setdefault(match, style)
    for style in set(chosen.values()):
        for side, at in ((sides.old, 0), (sides.new, 1)):
            names = [match[at] for match, of in chosen.items() if of == style]
            side.update(_format({name: side[name] for name in names if name in side}, style))


def _of_edited(sides: Sides, matched: Sequence[Match], user: Styles) -> dict[Match, Style]:
    """Find the style of each file that both sides changed: the render in that style is nearest to the user's file."""
    candidates: dict[Style, dict[str, Match]] = {}
    # By lines that differ, then by the order of the styles; as it is wins where no style is better.
    best: dict[Match, tuple[int, int]] = {}
    chosen: dict[Match, Style] = {}
    is_habit = cache(partial(_is_habit, sides, matched))
    for match in matched:
        old, new = sides.old.get(match.old), sides.new.get(match.new)
        before = new if old is None else old
        if before is None or old == new or before == sides.user[match.user]:
            continue
        best[match] = (_distance(before, sides.user[match.user]), -1)
        for style in user.of(match.user):
            candidates.setdefault(style, {})[match.user] = match
    for style, matches in candidates.items():
        renders = {
            path: sides.old[match.old] if match.old in sides.old else sides.new[match.new]
            for path, match in matches.items()
        }
        for path, content in _format(renders, style).items():
            match = matches[path]
            found = (_distance(content, sides.user[path]), user.of(path).index(style))
            if found < best[match] and (found[1] == 0 or is_habit(style)):
                best[match], chosen[match] = found, style
    return chosen


def _is_habit(sides: Sides, matched: Sequence[Match], style: Style) -> bool:
    """Tell whether most files have a style, of those where it matters: a single call may be wrapped by hand."""
    renders = {match.user: sides.old[match.old] for match in matched if match.old in sides.old}
    formatted = _format(renders, style)
    matter = [path for path in renders if formatted[path] != renders[path]]
    nearer = [
        path
        for path in matter
        if _distance(formatted[path], sides.user[path]) < _distance(renders[path], sides.user[path])
    ]
    return len(nearer) * 2 >= len(matter)


def _distance(one: bytes, other: bytes) -> int:
    """Count the lines that only one of two texts has."""
    lines, others = Counter(one.splitlines()), Counter(other.splitlines())
    return (lines - others).total() + (others - lines).total()


def _format(files: Mapping[str, bytes], style: Style) -> dict[str, bytes]:
    """Format files with ruff; one that is no valid Python stays as it is, as all do where the style is invalid."""
    from ruff.__main__ import find_ruff_bin

    if not files:
        return {}
    with tempfile.TemporaryDirectory(prefix="quickset-") as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        options = [item for option in style for item in ("--config", option)]
        subprocess.run(
            [find_ruff_bin(), "format", "--isolated", "--no-cache", "--quiet", *options, folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return {path: Path(folder, path).read_bytes() for path in files}


def reason(path: str, old: bytes, new: bytes, user: bytes) -> str:
    """Say whether formatting is the reason of a conflict.

    Args:
        path: The file in conflict.
        old: The side that both come from.
        new: The template's side.
        user: The user's.

    Returns:
        What to tell the user; empty when the sides conflict however they are formatted.
    """
    plain = _plain(path, {"old": old, "new": new, "user": user})
    if plain["user"] == plain["old"]:
        return "you changed only its formatting: take the template's side and format it again"
    with tempfile.TemporaryDirectory(prefix="quickset-") as folder:
        for name, content in plain.items():
            Path(folder, name).write_bytes(content)
        merged = git.attempt("merge-file", "--stdout", "--quiet", "user", "old", "new", cwd=Path(folder))
    return "" if merged.returncode else "only its formatting conflicts: the edits of both sides do not meet"


def _plain(path: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bring texts into a form in which formatting makes no difference; what is no text stays as it is."""
    suffix = PurePosixPath(path).suffix
    if suffix in _PYTHON:
        formatted = _format({f"{name}{suffix}": content for name, content in contents.items()}, _CANONICAL)
        return {name: formatted[f"{name}{suffix}"] for name in contents}
    return {name: content if b"\0" in content else _squeezed(content, suffix) for name, content in contents.items()}


def _squeezed(content: bytes, suffix: str) -> bytes:
    """Leave out of a text what formatters such as prettier decide: blanks, quotes, wrapping, bullets, emphasis."""
    text = content.decode(errors="surrogateescape")
    if suffix == ".json":
        with suppress(ValueError):
            text = json.dumps(json.loads(text), indent=0)
    if suffix in _PROSE:
        text = re.sub(r"^(\s*)[*+](?=\s)", r"\1-", text, flags=re.MULTILINE)
        text = re.sub(rf"[ \t]*\n[ \t]*(?=\S)(?!{_BEGINS})", " ", text)
        text = re.sub(r"[*_\\|]|-{2,}", "", text)
    lines = (re.sub(r"[\s\"']", "", line).rstrip(",;") for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line).encode(errors="surrogateescape")
