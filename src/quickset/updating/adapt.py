"""Adapt both renders to the user's files before the merge, so that formatting and the like cause no conflicts.

Each function changes the contents of the renders. The user's side stays as it is committed.
"""

import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from quickset.templates.strict_yaml import load_yaml

Contents = MutableMapping[str, bytes]


class FilePaths(NamedTuple):
    """The paths of one file on each side. The file may be missing there."""

    old: str
    new: str
    user: str


@dataclass(slots=True)
class MergeInputs:
    """The contents of files on three sides, by path. A file that a side lacks is not in its mapping."""

    old: Contents
    new: Contents
    user: Contents
    matches: Sequence[FilePaths] = ()
    notes: list[str] = field(default_factory=list)

    def shared(self) -> list[str]:
        """List the files that all three sides have.

        Returns:
            The paths, sorted.
        """
        return sorted(self.old.keys() & self.new.keys() & self.user.keys())


def line_endings(inputs: MergeInputs) -> None:
    """Give both renders the line endings of most lines of the user's file.

    Args:
        inputs: The contents. They are changed in place.
    """
    for match in inputs.matches:
        old, user = inputs.old.get(match.old), inputs.user.get(match.user)
        if user is None or user == old or (old and _is_mixed(old) and _is_mixed(user)):
            continue
        wanted = _ending(user)
        for side, path in ((inputs.old, match.old), (inputs.new, match.new)):
            if wanted and path in side and _ending(side[path]):
                side[path] = side[path].replace(b"\r\n", b"\n").replace(b"\n", wanted)


def _ending(content: bytes) -> bytes | None:
    """Return the line ending of most lines; None for a binary file or a single line."""
    if b"\0" in content or b"\n" not in content:
        return None
    return b"\r\n" if content.count(b"\r\n") * 2 > content.count(b"\n") else b"\n"


def _is_mixed(content: bytes) -> bool:
    return 0 < content.count(b"\r\n") < content.count(b"\n")


def answers_file(inputs: MergeInputs, name: str) -> None:
    """Merge the answers file by answer, if the user edited it.

    Args:
        inputs: The contents. They are changed in place.
        name: The path of the file.
    """
    if name not in inputs.shared() or inputs.old[name] == inputs.user[name]:
        return
    try:
        old, new, own = (yaml.safe_load(side[name]) or {} for side in (inputs.old, inputs.new, inputs.user))
    except yaml.YAMLError:
        return
    text = inputs.user[name].decode(errors="surrogateescape")
    merged = dict(own)
    # The order of the answers is fixed, and that of a set is not.
    for key in dict.fromkeys([*old, *new]):
        if key in old and key in new and old[key] == new[key]:
            continue
        fresh = yaml.safe_dump({key: new[key]}, allow_unicode=True) if key in new else ""
        merged = {**merged, key: new[key]} if key in new else {other: merged[other] for other in merged if other != key}
        # A key may be on a line of its own (`? key`). A value may continue in lines that are indented, or list items.
        start = rf"""(\?[ \t]+)?(["']?){re.escape(key)}\2[ \t]*"""
        pattern = re.compile(rf"^{start}(?(1)(?:#.*)?\n):.*\n?(?:[ -].*\n?)*", re.MULTILINE)
        if found := pattern.search(text):
            comment = re.search(r"[ \t]+#.*", "\n".join(found[0].split("\n")[: 2 if found[1] else 1]))
            if comment and fresh:
                fresh = f"{fresh.rstrip()}{comment[0]}\n"
            text = text[: found.start()] + fresh + text[found.end() :]
        elif fresh:
            text = text + "\n" * (not text.endswith("\n")) + fresh
    try:
        right = load_yaml(text) == merged
    except (yaml.YAMLError, ValueError):
        right = False
    if right:
        inputs.old[name] = inputs.user[name]
        inputs.new[name] = text.encode(errors="surrogateescape")
