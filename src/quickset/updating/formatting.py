"""Format both renders as the user formats, and find conflicts whose only reason is formatting."""

import json
import re
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from quickset import git
from quickset.locking import PROJECT
from quickset.signals import temporary_folder
from quickset.updating.adapt import FilePaths, MergeInputs

_PYTHON = (".py", ".pyi")
_PROSE = (".md", ".markdown")
# The beginning of a Markdown line that does not continue the paragraph above.
_BEGINS = r"[#>|]|```|~~~|(?:[-*+]|\d+[.)])[ \t]"
_RUFF = (".ruff.toml", "ruff.toml", PROJECT)
_OPTIONS = ("line-length", "indent-width", "target-version", "preview")
_NESTED = 5  # files of settings, each of which extends another
# Lines are so long that each way to wrap them ends in the same text.
_CANONICAL = ("line-length=320", "format.skip-magic-trailing-comma=true")

Style = tuple[str, ...]
"""Options of `ruff format`, as `name=value`. Without options: the defaults, which ruff and black share."""


class Styles:
    """The formatting styles of a service, from the settings in its repository.

    Args:
        read: Returns the contents of a file in the repository, or None.
        prefix: The service's folder from the top: empty, or with a slash at the end.
    """

    def __init__(self, read: Callable[[str], bytes | None], prefix: str = "") -> None:
        self._read = cache(read)
        self._prefix = prefix
        self._ruff = cache(self._read_ruff)
        self._black = cache(self._read_black)

    def of(self, path: str) -> list[Style]:
        """List the styles that a Python file may have.

        Args:
            path: The path from the service's folder.

        Returns:
            The style of the nearest settings of ruff, those of settings further up, those of black, and the defaults.
        """
        folders = PurePosixPath(self._prefix, path).parents
        found = [read(folder) for read in (self._ruff, self._black) for folder in folders]
        return list(dict.fromkeys([*(style for style in found if style is not None), ()]))

    def _read_ruff(self, folder: PurePosixPath) -> Style | None:
        settings = next((found for name in _RUFF if (found := self._read_settings(folder / name)) is not None), None)
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

    def _read_settings(self, file: PurePosixPath, depth: int = 0) -> dict[str, Any] | None:
        """Read settings of ruff with those that they extend. Return None if the file is missing, or has none."""
        loaded = self._toml(file)
        if loaded is not None and file.name == PROJECT:
            loaded = _table(loaded, "tool").get("ruff")
        if not isinstance(loaded, dict):
            return None
        settings: dict[str, Any] = {}
        if depth < _NESTED and isinstance(extends := loaded.get("extend"), str):
            settings |= self._read_settings(_resolve(file.parent / extends), depth + 1) or {}
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


def _resolve(path: PurePosixPath) -> PurePosixPath:
    """Resolve `..` in a path. A path that leads out of the repository becomes `/`."""
    parts: list[str] = []
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            return PurePosixPath("/")
    return PurePosixPath(*parts)


def follow(inputs: MergeInputs, user: Styles, template: Styles) -> None:
    """Format both renders as the user formats.

    Args:
        inputs: The contents. They are changed in place.
        user: The styles of the user's files.
        template: The styles of the old render.
    """
    matched = [match for match in inputs.matches if match.user.endswith(_PYTHON) and match.user in inputs.user]
    chosen = _styles_of_edited(inputs, matched, user)
    # The user may lack a file, or have it at another path.
    paths = {path for path in inputs.old.keys() | inputs.new.keys() if path.endswith(_PYTHON)}
    absent = paths.difference(*(match[:2] for match in matched))
    other: dict[Style, list[FilePaths]] = {}
    for match in (*matched, *(FilePaths(path, path, path) for path in absent)):
        style = user.of(match.user)[0]
        if style != template.of(match.old)[0]:
            other.setdefault(style, []).append(match)
    for style, matches in other.items():
        mine = {match.user: inputs.user[match.user] for match in matches if match.user in inputs.user}
        kept = {path for path, content in _format(mine, style).items() if content == mine[path]}
        most = len(kept) * 2 >= len(mine)
        for match in matches:
            if match.user in kept or (most and match.user not in mine):
                chosen.setdefault(match, style)
    for style in set(chosen.values()):
        for side, at in ((inputs.old, 0), (inputs.new, 1)):
            names = [match[at] for match, of in chosen.items() if of == style]
            side.update(_format({name: side[name] for name in names if name in side}, style))


def _styles_of_edited(inputs: MergeInputs, matched: Sequence[FilePaths], user: Styles) -> dict[FilePaths, Style]:
    """Find the style of each file that both sides changed, in which the render is most similar to the user's file."""
    candidates: dict[Style, dict[str, FilePaths]] = {}
    # The number of different lines, then the order of the styles. The render stays as it is if no style is better.
    best: dict[FilePaths, tuple[int, int]] = {}
    chosen: dict[FilePaths, Style] = {}
    is_habit = cache(partial(_is_habit, inputs, matched))
    for match in matched:
        old, new = inputs.old.get(match.old), inputs.new.get(match.new)
        before = new if old is None else old
        if before is None or old == new or before == inputs.user[match.user]:
            continue
        best[match] = (_distance(before, inputs.user[match.user]), -1)
        for style in user.of(match.user):
            candidates.setdefault(style, {})[match.user] = match
    for style, matches in candidates.items():
        renders = {
            path: inputs.old[match.old] if match.old in inputs.old else inputs.new[match.new]
            for path, match in matches.items()
        }
        for path, content in _format(renders, style).items():
            match = matches[path]
            found = (_distance(content, inputs.user[path]), user.of(path).index(style))
            if found < best[match] and (found[1] == 0 or is_habit(style)):
                best[match], chosen[match] = found, style
    return chosen


def _is_habit(inputs: MergeInputs, matched: Sequence[FilePaths], style: Style) -> bool:
    """Return whether most files have a style, because a single call may be wrapped by hand."""
    renders = {match.user: inputs.old[match.old] for match in matched if match.old in inputs.old}
    formatted = _format(renders, style)
    matter = [path for path in renders if formatted[path] != renders[path]]
    nearer = [
        path
        for path in matter
        if _distance(formatted[path], inputs.user[path]) < _distance(renders[path], inputs.user[path])
    ]
    return len(nearer) * 2 >= len(matter)


def _distance(one: bytes, other: bytes) -> int:
    """Count the lines that only one of two texts has."""
    lines, others = Counter(one.splitlines()), Counter(other.splitlines())
    return (lines - others).total() + (others - lines).total()


def _format(files: Mapping[str, bytes], style: Style) -> dict[str, bytes]:
    """Format files with ruff. Invalid Python stays as it is, and so do all files if the style is invalid."""
    from ruff.__main__ import find_ruff_bin

    if not files:
        return {}
    with temporary_folder() as folder:
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
    """Describe whether formatting is the reason of a conflict.

    Args:
        path: The file.
        old: The merge base.
        new: The template's side.
        user: The user's side.

    Returns:
        A note for the user; empty if the sides conflict in any format.
    """
    plain = _plain(path, {"old": old, "new": new, "user": user})
    if plain["user"] == plain["old"]:
        return "you changed only its formatting: take the template's side and format it again"
    with temporary_folder() as folder:
        for name, content in plain.items():
            Path(folder, name).write_bytes(content)
        merged = git.attempt("merge-file", "--stdout", "--quiet", "user", "old", "new", cwd=folder)
    return "" if merged.returncode else "only its formatting conflicts: the edits of both sides do not meet"


def _plain(path: str, contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Convert texts to a form without formatting. A binary file stays as it is."""
    suffix = PurePosixPath(path).suffix
    if suffix in _PYTHON:
        formatted = _format({f"{name}{suffix}": content for name, content in contents.items()}, _CANONICAL)
        return {name: formatted[f"{name}{suffix}"] for name in contents}
    return {
        name: content if b"\0" in content else _without_formatting(content, suffix)
        for name, content in contents.items()
    }


def _without_formatting(content: bytes, suffix: str) -> bytes:
    """Remove from a text what formatters such as prettier decide: blanks, quotes, wrapping, bullets, emphasis."""
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
