"""What happens to both renders and to the user's side before they are merged, so that no noise becomes a conflict.

Each function takes the three sides as contents by path and returns the contents to merge in their place.
"""

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Contents = MutableMapping[str, bytes]

PROJECT = "pyproject.toml"
_FORMATTED = (".py", ".pyi")
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_LOWER = re.compile(r"(?:>=|==|~=|>)\s*([0-9][0-9.]*)")
_ITEM = re.compile(r"""^\s*(["'])(?P<text>.*?)\1\s*,?\s*(?:#.*)?$""")
_ARRAY = re.compile(r"^(?P<key>[A-Za-z0-9_.\"-]+)\s*=\s*\[\s*$")
_TABLE = re.compile(r"^\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?$")
_DEPENDENCIES = re.compile(r"project\.(?:dependencies|optional-dependencies\..+)|dependency-groups\..+")


@dataclass(slots=True)
class Sides:
    """Three versions of the same files; what is absent on a side is absent in its mapping."""

    old: Contents
    new: Contents
    user: Contents
    notes: list[str] = field(default_factory=list)

    def shared(self) -> list[str]:
        """Name the files that all three have.

        Returns:
            Their paths, sorted.
        """
        return sorted(self.old.keys() & self.new.keys() & self.user.keys())


def line_endings(sides: Sides) -> None:
    """Give both renders the line endings that the user's file has.

    Args:
        sides: What is to be merged; changed in place.
    """
    for path in sides.old.keys() & sides.user.keys():
        wanted = _ending(sides.user[path])
        for side in (sides.old, sides.new):
            if path in side and wanted and _ending(side[path]) not in (None, wanted):
                side[path] = side[path].replace(b"\r\n", b"\n").replace(b"\n", wanted)


def _ending(content: bytes) -> bytes | None:
    """The line ending of a text throughout; None for a mixture, a binary or a single line."""
    if b"\0" in content or b"\n" not in content:
        return None
    crlf, lines = content.count(b"\r\n"), content.count(b"\n")
    return b"\r\n" if crlf == lines else b"\n" if not crlf else None


def formatting(sides: Sides) -> None:
    """Format both renders as the user formats, where the user does.

    Args:
        sides: What is to be merged; changed in place.
    """
    settings = {name: _ruff_settings(side) for name, side in (("old", sides.old), ("user", sides.user))}
    if settings["old"] == settings["user"]:
        return
    options = settings["user"]
    touched = [path for path in sides.user if path.endswith(_FORMATTED)]
    formatted = _format({path: sides.user[path] for path in touched}, options)
    kept = {path for path in touched if formatted.get(path) == sides.user[path]}
    # A file that is not there, or not under this name, follows what most do.
    most = len(kept) * 2 >= len(touched)
    for side in (sides.old, sides.new):
        chosen = {
            path: content
            for path, content in side.items()
            if path.endswith(_FORMATTED) and (path in kept or (most and path not in sides.user))
        }
        side.update(_format(chosen, options))


def _ruff_settings(side: Mapping[str, bytes]) -> dict[str, Any]:
    for name in (".ruff.toml", "ruff.toml", PROJECT):
        if name in side:
            try:
                loaded = tomllib.loads(side[name].decode())
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                continue
            found = loaded if name != PROJECT else loaded.get("tool", {}).get("ruff")
            if found is not None:
                names = ("line-length", "indent-width", "target-version", "preview", "format")
                return {key: found[key] for key in names if key in found}
    return {}


def _format(files: Mapping[str, bytes], settings: Mapping[str, Any]) -> dict[str, bytes]:
    """Format files; one that is no valid Python stays as it is."""
    from ruff.__main__ import find_ruff_bin

    if not files:
        return {}
    with tempfile.TemporaryDirectory(prefix="quickset-") as folder:
        for path, content in files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        options = [f"{key}={_toml(value)}" for key, value in settings.items() if not isinstance(value, dict)]
        options += [f"format.{key}={_toml(value)}" for key, value in settings.get("format", {}).items()]
        configured = [item for option in options for item in ("--config", option)]
        subprocess.run(
            [find_ruff_bin(), "format", "--isolated", "--no-cache", "--quiet", *configured, folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return {path: Path(folder, path).read_bytes() for path in files}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def dependencies(sides: Sides) -> None:
    """Settle the arrays of dependencies in `pyproject.toml`, requirement by requirement.

    A requirement that the user did not touch follows the template, but never to a lower version. One that the user
    changed, added or removed is the user's.

    Args:
        sides: What is to be merged; changed in place, with a note for each requirement that stays the user's.
    """
    if PROJECT not in sides.shared():
        return
    try:
        old, new, user = (side[PROJECT].decode() for side in (sides.old, sides.new, sides.user))
    except UnicodeDecodeError:
        return
    arrays = [_arrays(text) for text in (old, new, user)]
    texts = [old.splitlines(keepends=True), new.splitlines(keepends=True), user.splitlines(keepends=True)]
    # From the end, so that earlier positions stay right.
    shared = [key for key in arrays[2] if key in arrays[0] and key in arrays[1] and _DEPENDENCIES.fullmatch(key)]
    for key in shared:
        was, will, own = (lines[slice(*found[key])] for lines, found in zip(texts, arrays, strict=True))
        settled = _settle(was, will, own, sides.notes)
        if settled is None:
            continue
        for number, found in enumerate(arrays):
            start, end = found[key]
            texts[number][start:end] = settled
            arrays[number] = _arrays("".join(texts[number]))
    for side, lines in zip((sides.old, sides.new, sides.user), texts, strict=True):
        side[PROJECT] = "".join(lines).encode()


def _arrays(text: str) -> dict[str, tuple[int, int]]:
    """Find the arrays that have one item a line: the lines between their brackets, by dotted key."""
    found, table, lines = {}, "", text.splitlines()
    for number, line in enumerate(lines):
        if match := _TABLE.match(line):
            table = match["name"].strip()
        elif match := _ARRAY.match(line):
            end = next((at for at in range(number + 1, len(lines)) if lines[at].strip().startswith("]")), None)
            if end is not None:
                found[f"{table}.{match['key']}"] = (number + 1, end)
    return found


def _settle(old: list[str], new: list[str], user: list[str], notes: list[str]) -> list[str] | None:
    """Merge the items of one array; None when a line is no requirement that can be understood."""
    was, will, own = (_requirements(lines) for lines in (old, new, user))
    if was is None or will is None or own is None:
        return None
    if old == user and not any(_lower(was[name], will[name]) for name in was.keys() & will.keys()):
        return new
    result: list[str] = []
    for line in user:
        name = _requirement(line)
        if name is None or name not in was or own[name] != was[name]:
            result.append(line)
            if name in will and will[name] not in (own[name], was.get(name)):
                notes.append(f"{PROJECT}: kept your {own[name]}; the template has {will[name]}.")
        elif name in will and _lower(was[name], will[name]):
            result.append(line)
            notes.append(f"{PROJECT}: kept {own[name]}, which the template would lower to {will[name]}.")
        elif name in will:
            result.append(line if was[name] == will[name] else _line(new, name))
    for name in sorted(will.keys() - was.keys() - own.keys()):
        names = [_requirement(line) for line in result]
        at = next((number for number, other in enumerate(names) if other and other > name), len(result))
        result.insert(at, _line(new, name))
    gone = sorted(name for name in (was.keys() & will.keys()) - own.keys() if will[name] != was[name])
    notes += [f"{PROJECT}: you removed {name}, so {will[name]} was left out." for name in gone]
    return result


def _requirements(lines: Iterable[str]) -> dict[str, str] | None:
    found = {}
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            item, name = _ITEM.match(line), _requirement(line)
            if item is None or name is None or name in found:
                return None
            found[name] = item["text"]
    return found


def _requirement(line: str) -> str | None:
    item = _ITEM.match(line)
    name = _NAME.match(item["text"]) if item else None
    return re.sub(r"[-_.]+", "-", name[1]).lower() if name else None


def _line(lines: Iterable[str], name: str) -> str:
    return next(line for line in lines if _requirement(line) == name)


def _lower(before: str, after: str) -> bool:
    bounds = [_LOWER.search(text) for text in (before, after)]
    if bounds[0] is None or bounds[1] is None:
        return False
    first, second = ([int(part) for part in bound[1].strip(".").split(".")] for bound in bounds if bound)
    return second < first


def answers_file(sides: Sides, name: str) -> None:
    """Carry recorded answers over line by line when the user edited their file.

    Args:
        sides: What is to be merged; changed in place.
        name: The file.
    """
    if name not in sides.shared() or sides.old[name] == sides.user[name]:
        return
    was, will = (yaml.safe_load(side[name]) or {} for side in (sides.old, sides.new))
    text = sides.user[name].decode(errors="surrogateescape")
    for key in was.keys() | will.keys():
        if key in was and key in will and was[key] == will[key]:
            continue
        fresh = yaml.safe_dump({key: will[key]}, allow_unicode=True) if key in will else ""
        # A value may go on in lines that are indented or list items.
        pattern = re.compile(rf"^{re.escape(key)}:.*\n?(?:[ -].*\n?)*", re.MULTILINE)
        if found := pattern.search(text):
            text = text[: found.start()] + fresh + text[found.end() :]
        elif fresh:
            text = text + "\n" * (not text.endswith("\n")) + fresh
    sides.old[name] = sides.user[name]
    sides.new[name] = text.encode(errors="surrogateescape")
