"""Merge the arrays of dependencies in `pyproject.toml`, requirement by requirement."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from quickset.locking import PROJECT
from quickset.updating.adapt import MergeInputs

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_LOWER = re.compile(r"(?:>=|==|~=|>)\s*([0-9][0-9.]*)")
_ITEM = re.compile(r"""^\s*(["'])(?P<text>(?:(?!\1).)*)\1(?P<comma>\s*,)?\s*(?:#.*)?$""")
_ARRAY = re.compile(r"^(?P<key>[A-Za-z0-9_.\"-]+)\s*=\s*\[\s*$")
_START = re.compile(r"^(?P<key>[A-Za-z0-9_.\"-]+)\s*=\s*\[")
_TOKEN = re.compile(r"""(?P<item>"[^"\\\n]*"|'[^'\n]*')|(?P<comment>\#[^\n]*)|(?P<end>\])|[,\s]""")
_TABLE = re.compile(r"^\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?$")
_DEPENDENCIES = re.compile(r"project\.(?:dependencies|optional-dependencies\..+)|dependency-groups\..+")


class _Item(NamedTuple):
    """An item of an array."""

    name: str
    line: str = ""
    comments: Sequence[str] = ()
    """The comment lines above it."""


def merge_arrays(inputs: MergeInputs) -> None:
    """Merge the arrays of dependencies before the files are merged line by line.

    A requirement that the user did not change follows the template, but never to a lower version. A requirement that
    the user changed, added or removed stays as the user has it.

    Args:
        inputs: The contents. They are changed in place, with a note for each requirement that stays the user's.
    """
    if PROJECT not in inputs.shared():
        return
    try:
        old, new, user = (side[PROJECT].decode() for side in (inputs.old, inputs.new, inputs.user))
    except UnicodeDecodeError:
        return
    if not all(_is_toml(text) for text in (old, new, user)):
        return
    arrays = [_arrays(text) for text in (old, new, user)]
    texts = [text.splitlines(keepends=True) for text in (old, new, user)]
    notes: list[str] = []
    shared = [key for key in arrays[2] if key in arrays[0] and key in arrays[1] and _DEPENDENCIES.fullmatch(key)]
    for key in shared:
        was, will, own = (lines[slice(*found[key])] for lines, found in zip(texts, arrays, strict=True))
        settled = _settle(was, will, own, notes)
        if settled is None:
            continue
        # The user's side stays as committed, because it is a stage of a conflict. The old render gets the same lines,
        # so that only the template seems to change them.
        for number, lines in enumerate((own, settled)):
            start, end = arrays[number][key]
            texts[number][start:end] = lines
            arrays[number] = _arrays("".join(texts[number]))
    results = ["".join(lines) for lines in texts[:2]]
    _settle_other_layouts(results, user, shared, notes)
    if all(_is_toml(text) for text in results):
        for side, text in zip((inputs.old, inputs.new), results, strict=True):
            side[PROJECT] = text.encode()
        inputs.notes += notes


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _items(text: str, key: str) -> Any:
    """Look up a dotted key in the parsed TOML, because a line can look like a table and be none."""
    found: Any = tomllib.loads(text)
    for part in key.split("."):
        found = found.get(part.strip(' "')) if isinstance(found, dict) else None
    return found


def _arrays(text: str) -> dict[str, tuple[int, int]]:
    """Find the arrays with one item a line: the numbers of the lines between their brackets, by dotted key."""
    found, table, lines = {}, "", text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("[["):
            table = "[[]]"
        elif match := _TABLE.match(line):
            table = match["name"].strip()
        elif match := _ARRAY.match(line):
            end = next((at for at in range(number + 1, len(lines)) if lines[at].strip().startswith("]")), None)
            key = f"{table}.{match['key']}"
            items = [item["text"] for line in lines[number + 1 : end] if (item := _ITEM.match(line))]
            if end is not None and items == _items(text, key):
                found[key] = (number + 1, end)
    return found


def _settle_other_layouts(renders: list[str], user: str, done: Sequence[str], notes: list[str]) -> None:
    """Merge the arrays that have another layout on some side, such as a single line."""
    for key, mine in _lists(user).items():
        old, new = (_lists(text).get(key) for text in renders)
        if key in done or old is None or new is None or not _DEPENDENCIES.fullmatch(key):
            continue
        settled = _settle(old.lines, new.lines, mine.lines, notes)
        if settled is None or (mine.text == old.text and settled == new.lines):
            continue
        layout = _laid_out(settled, mine, new, "\r\n" if "\r\n" in user else "\n")
        for number, (found, text) in enumerate(((old, mine.text), (new, layout))):
            renders[number] = f"{renders[number][: found.start]}{text}{renders[number][found.end :]}"


class _List(NamedTuple):
    """An array of strings in any layout."""

    start: int
    end: int
    text: str
    """The whole array, with both brackets."""
    lines: list[str]
    """The items and comments, one a line."""


def _lists(text: str) -> dict[str, _List]:
    """Find the arrays of strings, by dotted key."""
    found, table, at = {}, "", 0
    for line in text.splitlines(keepends=True):
        if line.startswith("[["):
            table = "[[]]"
        elif match := _TABLE.match(line):
            table = match["name"].strip()
        elif match := _START.match(line):
            key, start = f"{table}.{match['key']}", at + match.end() - 1
            read = _read_list(text, start)
            items = [item["text"] for each in (read.lines if read else ()) if (item := _ITEM.match(each))]
            if read and items == _items(text, key):
                found[key] = read
        at += len(line)
    return found


def _read_list(text: str, start: int) -> _List | None:
    """Read an array from its opening bracket. Return None if it contains anything but plain strings."""
    lines: list[str] = []
    at, is_behind_item = start + 1, False
    while token := _TOKEN.match(text, at):
        at = token.end()
        if token["end"]:
            return _List(start, at, text[start:at], lines)
        if (item := token["item"]) is not None:
            quote = "'" if '"' in item[1:-1] else '"'
            lines.append(f"  {quote}{item[1:-1]}{quote},\n")
            is_behind_item = True
        elif comment := token["comment"]:
            if is_behind_item:
                lines[-1] = f"{lines[-1].rstrip()} {comment.rstrip()}\n"
            else:
                lines.append(f"  {comment.rstrip()}\n")
        elif "\n" in token[0]:
            is_behind_item = False
    return None


def _laid_out(lines: list[str], mine: _List, template: _List, ending: str) -> str:
    """Write an array in the user's layout. An array with a comment cannot be on one line."""
    if lines == mine.lines:
        return mine.text
    if "\n" not in mine.text and all(_ITEM.match(line) and _end(line) == len(line.rstrip()) for line in lines):
        return f"[{', '.join(line.strip().removesuffix(',') for line in lines)}]"
    indent = re.search(r"\n([ \t]+)", mine.text) or re.search(r"\n([ \t]+)", template.text)
    before = indent[1] if indent else "    "
    return "".join(["[", ending, *(f"{before}{line.strip()}{ending}" for line in lines), "]"])


def _settle(old: list[str], new: list[str], user: list[str], notes: list[str]) -> list[str] | None:
    """Merge the items of one array. Return None if a line is not a requirement."""
    was, will, own = (_requirements(lines) for lines in (old, new, user))
    if was is None or will is None or own is None:
        return None
    if old == user and not any(_lower(was[name], will[name]) for name in was.keys() & will.keys()):
        return new
    before, after = ({item.name: item for item in _split(lines)} for lines in (old, new))
    result: list[_Item] = []
    left: list[str] = []
    for item in _split(user):
        name, line = item.name, item.line
        then, now = before.get(name, _Item(name)), after.get(name, _Item(name))
        if name in was and own[name] == was[name]:
            mine = line != then.line
            if name not in will:
                line = line if mine else ""
                notes += [f"{PROJECT}: kept {own[name]}, which the template removed: the line is yours."] * mine
            elif _lower(was[name], will[name]):
                notes.append(f"{PROJECT}: kept {own[name]}, which the template would lower to {will[name]}.")
            else:
                line = _replaced(line, will[name]) if mine else now.line
        elif name in own:
            notes += _kept(name, was, will, own)
        line = _with_remark(then.line, now.line, line, notes)
        # A comment stays with its requirement, even if the template removed both.
        wanted = now.comments if name in will or not (name and line) else then.comments
        comments = [*left, *_comments(then.comments, wanted, item.comments, notes)]
        left = [] if line or not name else comments
        if line or not name:
            result.append(_Item(name, line, comments))
    for name in sorted(will.keys() - was.keys() - own.keys()):
        at = next((number for number, other in enumerate(result) if not other.name or other.name > name), len(result))
        result.insert(at, after[name])
    gone = sorted(name for name in (was.keys() & will.keys()) - own.keys() if will[name] != was[name])
    notes += [f"{PROJECT}: you removed {name}, so {will[name]} was left out." for name in gone]
    return [_with_comma(line) for item in result for line in (*item.comments, item.line) if line]


def _kept(name: str, was: Mapping[str, str], will: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    if name in was and name not in will:
        return [f"{PROJECT}: kept your {own[name]}; the template removed it."]
    if name in will and will[name] not in (own[name], was.get(name)):
        return [f"{PROJECT}: kept your {own[name]}; the template has {will[name]}."]
    return []


def _split(lines: Iterable[str]) -> list[_Item]:
    """Split the lines of an array into items. The last item has no name, and the comments at the end of the array."""
    items: list[_Item] = []
    comments: list[str] = []
    for line in lines:
        if name := _requirement(line):
            items.append(_Item(name, line, comments))
            comments = []
        else:
            comments.append(line)
    return [*items, _Item("", "", comments)]


def _comments(old: Sequence[str], new: Sequence[str], user: Sequence[str], notes: list[str]) -> list[str]:
    """Merge the comments above an item, line by line. A comment that both sides changed stays the user's."""
    if user == old:
        return list(new)
    kept = [line for line in user if line in new or line not in old]
    added = [line for line in new if line not in old and line not in user]
    changed = [line for line in old if line.strip() and line not in new and line not in user]
    if not changed or any(line in new and line not in old for line in user):
        return kept + added
    mine = [line for line in user if line not in old]
    notes += _kept_comment(*(" ".join(map(str.strip, lines)) for lines in (changed, added, mine)))
    return kept


def _with_remark(old: str, new: str, user: str, notes: list[str]) -> str:
    """Merge the comment after a requirement. A comment that both sides changed stays the user's."""
    if not (old and new and user):
        return user
    was, will, own = (line[_end(line) :].strip() for line in (old, new, user))
    if own == was:
        return user[: _end(user)] + new[_end(new) :]
    if will != was:
        notes += _kept_comment(was, will, own)
    return user


def _kept_comment(old: str, new: str, user: str) -> list[str]:
    """Write a note if the user's comment stays, and the template has another one."""
    if new == user:
        return []
    if not user:
        return [f"{PROJECT}: you removed the comment '{old}', so '{new}' was left out."]
    template_part = f"has '{new}'" if new else "removed it"
    return [f"{PROJECT}: kept your comment '{user}'; the template {template_part}."]


def _end(line: str) -> int:
    """Return the position after an item and its comma. The rest of the line is its comment."""
    item = _ITEM.match(line)
    return max(item.end("text") + 1, item.end("comma")) if item else len(line)


def _replaced(line: str, text: str) -> str:
    item = _ITEM.match(line)
    return line[: item.start("text")] + text + line[item.end("text") :] if item else line


def _with_comma(line: str) -> str:
    item = _ITEM.match(line)
    if item is None or item["comma"]:
        return line
    at = item.end("text") + 1
    return f"{line[:at]},{line[at:]}"


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


def _lower(before: str, after: str) -> bool:
    bounds = [_LOWER.search(text) for text in (before, after)]
    if bounds[0] is None or bounds[1] is None:
        return False
    first, second = ([int(part) for part in bound[1].strip(".").split(".")] for bound in bounds if bound)
    return second < first
