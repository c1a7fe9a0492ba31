"""Account for what an update does: a change for each path in which the two renders differ, and for no other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from quickset.errors import QuicksetError
from quickset.updating.matching import Match, Trees, folders_of
from quickset.updating.repository import Entry, Tree

YOUR_FOLDER = "your folder {}/ has its place"
TEMPLATE_FOLDER = "the template's folder {}/ has its place"

Kind = Literal[
    "added", "changed", "merged", "conflict", "removed", "kept", "deleted", "moved", "yours", "ignored", "rewritten"
]


@dataclass(frozen=True, slots=True)
class Change:
    """What an update does to one file."""

    path: str
    kind: Kind
    source: str | None = None
    """Where a moved file was."""
    note: str = ""
    template_paths: tuple[str, ...] = ()
    """Where the template had it, and has it, when the user has it elsewhere."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a merge."""

    files: Tree
    conflicts: Mapping[str, Mapping[int, Entry]]
    aside: Mapping[str, str]
    """Places to which a file had to move because a folder has its path, by that path."""


def account(match: Match, trees: Trees, outcome: Outcome) -> Change | None:
    """Say what became of a file of the template.

    Args:
        match: The file.
        trees: What the sides have.
        outcome: What came of the merge.

    Returns:
        The change; None when the renders agree on the file.
    """
    old, new, user = (tree.get(path) if path else None for tree, path in zip(trees, match.paths, strict=True))
    if match.old == match.new and old == new:
        return None
    place = match.place
    before = match.user or match.old or place
    source = before if before != place else None
    elsewhere = _elsewhere(match)
    if place in outcome.aside:
        # Only one side can have the folder: the other one than the file's.
        note = YOUR_FOLDER if match.user is None else TEMPLATE_FOLDER
        return Change(outcome.aside[place], "conflict", source or place, note.format(place), elsewhere)
    if place in outcome.conflicts:
        return Change(place, "conflict", source, _note(match), elsewhere)
    after = outcome.files.get(place)
    if user is None or new is None:
        kind = _one_sided(old, new, user, after)
    elif source:
        kind = "moved"
    elif after == user:
        kind = "yours"
    else:
        kind = "changed" if user == old and after == new else "merged"
    return Change(place, kind, source, _note(match), elsewhere)


def _elsewhere(match: Match) -> tuple[str, ...]:
    """Name the template's paths of a file that is elsewhere because of the user."""
    if not match.moved_by_user and (match.old is not None or match.new == match.place):
        return ()
    return tuple(dict.fromkeys(path for path in (match.old, match.new) if path not in (None, match.place)))


def _one_sided(old: Entry | None, new: Entry | None, user: Entry | None, after: Entry | None) -> Kind:
    """Say what became of a file that the template or the user no longer has, or that is new."""
    if old is None:
        return "added"
    if user is not None:
        return "kept" if after else "removed"
    return "yours" if new is None else "deleted"


def _note(match: Match) -> str:
    if match.user is None and match.new is None:
        return "both removed it"
    if match.blocked:
        return f"the template moved it to {match.blocked}, where something of yours is in the way"
    if match.moved_by_user:
        if match.new == match.user:
            return f"both moved it from {match.old}"
        elsewhere = match.new not in (None, match.old)
        return f"you moved it from {match.old}" + f", the template to {match.new}" * elsewhere
    if match.unsure:
        what = "it" if match.old else "its folder"
        return (
            f"this shallow clone does not show whether you moved {what}: to find out, run `git fetch --unshallow` "
            "before the update"
        )
    return "you moved its folder" if match.old is None and match.new != match.place else ""


def require_complete(changes: Iterable[Change], was: Tree, will: Tree, touched: Mapping[str, Entry | None]) -> None:
    """Refuse a plan whose report is not the whole truth.

    Args:
        changes: The report.
        was: The old render.
        will: The new render.
        touched: The paths that are to change.

    Raises:
        QuicksetError: A path in which the renders differ is not named, or one that is only the user's is.
    """
    differing = {path for path in was.keys() | will.keys() if was.get(path) != will.get(path)}
    around = {folder for path in differing for folder in folders_of(path)}
    named: set[str] = set()
    wrong: set[str] = set()
    for change in changes:
        names = {name for name in (change.path, change.source, *change.template_paths) if name}
        named |= names
        # A file of the user's is the template's concern only where it stands in the way.
        if not any(name in differing or name in around or differing.intersection(folders_of(name)) for name in names):
            wrong.add(change.path)
    wrong |= differing - named
    wrong |= touched.keys() - named
    if wrong:
        raise QuicksetError(
            f"internal error: the update cannot account for {', '.join(sorted(wrong))}. Nothing was touched; please "
            "report this, with the versions of quickset and of the template."
        )
