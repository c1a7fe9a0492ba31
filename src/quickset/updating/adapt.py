"""What happens to both renders before they are merged, so that no noise becomes a conflict.

Each function takes the three sides as contents by path and changes those of the renders. The user's side stays as it
is committed.
"""

import re
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import yaml

from quickset.templates.strict_yaml import load_yaml

Contents = MutableMapping[str, bytes]


class Match(NamedTuple):
    """Where one file is on each side; it may be missing there."""

    old: str
    new: str
    user: str


@dataclass(slots=True)
class Sides:
    """Three versions of the same files; what is absent on a side is absent in its mapping."""

    old: Contents
    new: Contents
    user: Contents
    matches: Sequence[Match] = ()
    notes: list[str] = field(default_factory=list)

    def shared(self) -> list[str]:
        """Name the files that all three have.

        Returns:
            Their paths, sorted.
        """
        return sorted(self.old.keys() & self.new.keys() & self.user.keys())


def line_endings(sides: Sides) -> None:
    """Give both renders the line endings that most lines of the user's file have.

    Args:
        sides: What is to be merged; changed in place.
    """
    for match in sides.matches:
        old, user = sides.old.get(match.old), sides.user.get(match.user)
        if user is None or user == old or (old and _is_mixed(old) and _is_mixed(user)):
            continue
        wanted = _ending(user)
        for side, path in ((sides.old, match.old), (sides.new, match.new)):
            if wanted and path in side and _ending(side[path]):
                side[path] = side[path].replace(b"\r\n", b"\n").replace(b"\n", wanted)


def _ending(content: bytes) -> bytes | None:
    """Return the line ending of most lines; None for a binary or a single line."""
    if b"\0" in content or b"\n" not in content:
        return None
    return b"\r\n" if content.count(b"\r\n") * 2 > content.count(b"\n") else b"\n"


def _is_mixed(content: bytes) -> bool:
    return 0 < content.count(b"\r\n") < content.count(b"\n")


def answers_file(sides: Sides, name: str) -> None:
    """Carry recorded answers over line by line when the user edited their file.

    Args:
        sides: What is to be merged; changed in place.
        name: The file.
    """
    if name not in sides.shared() or sides.old[name] == sides.user[name]:
        return
    try:
        was, will, own = (yaml.safe_load(side[name]) or {} for side in (sides.old, sides.new, sides.user))
    except yaml.YAMLError:
        return
    text = sides.user[name].decode(errors="surrogateescape")
    meant = dict(own)
    # In the order of the answers: that of a set differs from one run to the next.
    for key in dict.fromkeys([*was, *will]):
        if key in was and key in will and was[key] == will[key]:
            continue
        fresh = yaml.safe_dump({key: will[key]}, allow_unicode=True) if key in will else ""
        meant = {**meant, key: will[key]} if key in will else {other: meant[other] for other in meant if other != key}
        # A key may have a line of its own (`? key`), and a value go on in lines that are indented or list items.
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
        right = load_yaml(text) == meant
    except (yaml.YAMLError, ValueError):
        right = False
    if right:
        sides.old[name] = sides.user[name]
        sides.new[name] = text.encode(errors="surrogateescape")
