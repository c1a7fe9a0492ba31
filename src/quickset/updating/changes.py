"""Describe what an update does: one change for each path in which the two renders differ, and for no other path."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from quickset.errors import QuicksetError
from quickset.updating.matching import FileMatch, Trees, folders_of
from quickset.updating.tree import Entry, Tree

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
    """The old path of a moved file."""
    note: str = ""
    template_paths: tuple[str, ...] = ()
    """The old and the new path in the template, if the user has the file at another path."""


@dataclass(frozen=True, slots=True)
class MergedTree:
    """The result of merging trees."""

    files: Tree
    conflicts: Mapping[str, Mapping[int, Entry]]
    displaced: Mapping[str, str]
    """The new paths of files whose path a folder has, by the old paths."""


def change_of(match: FileMatch, trees: Trees, outcome: MergedTree) -> Change | None:
    """Describe the change of a template file.

    Args:
        match: The file.
        trees: The files of the three sides.
        outcome: The result of the merge.

    Returns:
        The change; None if the renders agree on the file.
    """
    old, new, user = (tree.get(path) if path else None for tree, path in zip(trees, match.paths, strict=True))
    if match.old == match.new and old == new:
        return None
    target = match.target
    before = match.user or match.old or target
    source = before if before != target else None
    elsewhere = _elsewhere(match)
    if target in outcome.displaced:
        # The folder is on the other side than the file.
        note = YOUR_FOLDER if match.user is None else TEMPLATE_FOLDER
        return Change(outcome.displaced[target], "conflict", source or target, note.format(target), elsewhere)
    if target in outcome.conflicts:
        return Change(target, "conflict", source, _note(match), elsewhere)
    after = outcome.files.get(target)
    if user is None or new is None:
        kind = _one_sided(old, new, user, after)
    elif source:
        kind = "moved"
    elif after == user:
        kind = "yours"
    else:
        kind = "changed" if user == old and after == new else "merged"
    return Change(target, kind, source, _note(match), elsewhere)


def _elsewhere(match: FileMatch) -> tuple[str, ...]:
    """List the template's paths of a file that the user has at another path."""
    if not match.moved_by_user and (match.old is not None or match.new == match.target):
        return ()
    return tuple(dict.fromkeys(path for path in (match.old, match.new) if path not in (None, match.target)))


def _one_sided(old: Entry | None, new: Entry | None, user: Entry | None, after: Entry | None) -> Kind:
    """Choose the kind of change for a file that is new, or that one side deleted."""
    if old is None:
        return "added"
    if user is not None:
        return "kept" if after else "removed"
    return "yours" if new is None else "deleted"


def _note(match: FileMatch) -> str:
    if match.user is None and match.new is None:
        return "both removed it"
    if match.blocked:
        return f"the template moved it to {match.blocked}, where something of yours is in the way"
    if match.moved_by_user:
        if match.new == match.user:
            return f"both moved it from {match.old}"
        elsewhere = match.new not in (None, match.old)
        return f"you moved it from {match.old}" + f", the template to {match.new}" * elsewhere
    if match.uncertain:
        what = "it" if match.old else "its folder"
        return (
            f"this shallow clone does not show whether you moved {what}: to find out, run `git fetch --unshallow` "
            "before the update"
        )
    return "you moved its folder" if match.old is None and match.new != match.target else ""


def require_complete(
    changes: Iterable[Change], old_tree: Tree, new_tree: Tree, touched: Mapping[str, Entry | None]
) -> None:
    """Refuse an update whose report is not complete.

    Args:
        changes: The report.
        old_tree: The old render.
        new_tree: The new render.
        touched: The paths that change.

    Raises:
        QuicksetError: The report lacks a path in which the renders differ, or has one that only concerns the user.
    """
    differing = {path for path in old_tree.keys() | new_tree.keys() if old_tree.get(path) != new_tree.get(path)}
    around = {folder for path in differing for folder in folders_of(path)}
    named: set[str] = set()
    wrong: set[str] = set()
    for change in changes:
        names = {name for name in (change.path, change.source, *change.template_paths) if name}
        named |= names
        # A file of the user's concerns the template only if it is in the way.
        if not any(name in differing or name in around or differing.intersection(folders_of(name)) for name in names):
            wrong.add(change.path)
    wrong |= differing - named
    wrong |= touched.keys() - named
    if wrong:
        raise QuicksetError(
            f"internal error: the update cannot account for {', '.join(sorted(wrong))}. Nothing was touched; please "
            "report this, with the versions of quickset and of the template."
        )
