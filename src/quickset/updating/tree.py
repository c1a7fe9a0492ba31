"""The entries of git's trees and indexes."""

from collections.abc import Mapping
from typing import NamedTuple, TypeGuard


class Entry(NamedTuple):
    """A file, a link or a submodule: its mode and its object name."""

    mode: str
    oid: str


Tree = Mapping[str, Entry]
"""Entries by path."""


def is_file(entry: Entry | None) -> TypeGuard[Entry]:
    """Return whether an entry is a file, and not a link or a submodule.

    Args:
        entry: The entry, or None.

    Returns:
        Whether it is a file.
    """
    return entry is not None and entry.mode.startswith("100")


def parse_tree(listing: str) -> dict[str, Entry]:
    """Parse the output of `git ls-tree -r -z`.

    Args:
        listing: The output.

    Returns:
        The entries by path.
    """
    found = {}
    for line in listing.split("\0"):
        if line:
            meta, path = line.split("\t", 1)
            mode, _, oid = meta.split(" ")[:3]
            found[path] = Entry(mode, oid)
    return found
