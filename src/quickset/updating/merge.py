"""The three-way merge of two renders with the files that the user committed.

`git merge-tree` merges the files in a scratch repository. This module decides what git cannot know: which files belong
to the user, and which to the template.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from quickset.errors import RefusedError
from quickset.shell import quote
from quickset.templates.answers_file import is_answers_file
from quickset.updating import adapt, dependencies, formatting
from quickset.updating.changes import TEMPLATE_FOLDER, Change, MergedTree, change_of, require_complete
from quickset.updating.filters import Filters
from quickset.updating.formatting import Styles
from quickset.updating.matching import FileMatch, Trees, folders_of, match
from quickset.updating.repository import Repository
from quickset.updating.scratch import BASE, OURS, SUBMODULE, THEIRS, YOURS, ScratchRepository
from quickset.updating.tree import Entry, Tree, is_file

# A second revision next to existing ones would give the chain of migrations two heads.
MIGRATIONS = "migrations/versions"
_LINK = "120000"


class FileSides(NamedTuple):
    """The sides of a template file in the form of the work tree, and its old paths."""

    old_path: str | None
    user_path: str | None
    old: Entry | None
    new: Entry | None
    """None also if the file is written once and belongs to the owner."""
    user: Entry | None


@dataclass(slots=True)
class MergeResult:
    """The changes of a merge. Paths are relative to the service's folder."""

    before: dict[str, Entry] = field(default_factory=dict)
    """The committed files at the paths of `after`."""
    after: dict[str, Entry | None] = field(default_factory=dict)
    """The files to write; None for a file to delete."""
    stages: dict[str, dict[int, Entry]] = field(default_factory=dict)
    """The sides of each conflict by stage."""
    ignored: dict[str, Entry] = field(default_factory=dict)
    """Files of the template that are left out because git ignores their paths."""
    displaced: Mapping[str, str] = field(default_factory=dict)
    """The new paths of files whose path a folder of the other side has, by the old paths."""
    files: dict[str, Entry] = field(default_factory=dict)
    """All files of the service after the merge."""
    sides: dict[str, FileSides] = field(default_factory=dict)
    """The sides of each template file, by its path after the merge."""
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(
    scratch: ScratchRepository,
    repository: Repository,
    *,
    old: Path,
    new: Path,
    label: str,
    is_written_once: Callable[[str], bool],
    moves: Sequence[Mapping[str, str | None]] = (),
) -> MergeResult:
    """Merge a new render with the files that the user committed.

    Args:
        scratch: The repository of the merge.
        repository: The user's repository.
        old: The folder with the render of the service's version.
        new: The folder with the render of the new version.
        label: The name of the new render in conflict markers.
        is_written_once: Returns whether a file belongs to the service once it exists.
        moves: The moves that the template declares, for each release in between, the oldest first.

    Returns:
        The changes.

    Raises:
        RefusedError: The answers file is not committed.
    """
    head = repository.tree()
    if (answers_file := repository.answers_file) not in head:
        raise RefusedError(f"{repository.prefix}{answers_file} is not committed; commit it first. Nothing was touched.")
    if missing := scratch.missing_objects(head):
        repository.fetch(missing)
    old_tree, new_tree = scratch.add_folder(old), scratch.add_folder(new)
    filters = Filters(scratch, repository)
    filters.clean_renders(old_tree, new_tree, head)
    renders = dict(old_tree), dict(new_tree)
    result = MergeResult()
    excluded = _exclude_nested_services(old_tree, new_tree, head, result.notes)
    excluded |= _exclude_written_once(old_tree, new_tree, head, is_written_once, result.notes)
    trees = Trees(old_tree, new_tree, head)

    def read_forms() -> tuple[list[Tree], Tree]:
        stored, user = filters.smudge_missing(old_tree, head)
        in_place = [adapt.FilePaths(path, path, path) for path in old_tree if path in head]
        # A moved file may have the format of the user's other files, or that of the template.
        return [_adapt(scratch, repository, Trees(stored, new_tree, user), in_place, [])[0], stored], user

    matches = _exclude_ignored(
        match(trees, repository, scratch.find_renames, read_forms, moves), trees, repository, result
    )
    # Line endings and formatting follow a file to its new path, so files are matched first.
    kept_paths = _paths_of_kept(matches)
    base, template, user = dict(old_tree), dict(new_tree), dict(head)
    filters.smudge_edited(base, template, user, kept_paths)
    base, template = _adapt(scratch, repository, Trees(base, template, user), kept_paths, result.notes)
    for each in matches:
        sides = [
            tree.get(path) if path else None for tree, path in zip((base, template, user), each.paths, strict=True)
        ]
        if each.old and is_written_once(each.new or each.old):
            sides[1] = None
        result.sides[each.target] = FileSides(each.old, each.user, *sides)
    staying, shared = _settle_deletions(matches, Trees(base, template, user))
    base, template, user = _trees_at_targets(shared, Trees(base, template, user))
    matched = {each.user for each in matches if each.user is not None}
    own = {path: entry for path, entry in head.items() if path not in matched}
    user |= _in_the_way(base.keys() | template.keys(), own)
    merged, stages = scratch.merge_trees(base, template, user, label)
    while more := _files_in_reach(merged, own, user):
        user |= more
        merged, stages = scratch.merge_trees(base, template, user, label)
    displaced = _find_displaced(merged, base.keys() | template.keys() | user.keys(), label)
    _keep_dropped(merged, stages, shared)
    for each in staying:
        merged[each.target] = head[each.target]
    filters.clean_result(merged, stages)
    before = {path: head[path] for path in {*matched, *user} & head.keys()}
    _record_changes(result, before, merged, stages)
    result.displaced = displaced
    result.files = {path: entry for path, entry in {**head, **result.after}.items() if entry}
    result.notes += filters.notes(head.keys() - result.after.keys())
    result.changes += [Change(path, "yours", note=why) for path, why in excluded.items()]
    result.changes += _changes(scratch, trees, matches, MergedTree(merged, stages, displaced))
    result.changes.sort(key=lambda change: change.path)
    require_complete(result.changes, *renders, result.after)
    return result


def _exclude_nested_services(
    old_tree: Tree, new_tree: dict[str, Entry], head: dict[str, Entry], notes: list[str]
) -> dict[str, str]:
    """Exclude services in folders of this service. They have an answers file, and no file of this service's render.

    Return the excluded paths with the reason.
    """
    others = (path.rpartition("/")[::2] for path in head if "/.copier-answers" in path)
    folders = {f"{folder}/" for folder, name in others if is_answers_file(name)}
    folders = {folder for folder in folders if not any(own.startswith(folder) for own in old_tree)}
    excluded = {}
    for folder in sorted(folders):
        for path in [path for path in new_tree if f"{path}/".startswith(folder) or folder.startswith(f"{path}/")]:
            del new_tree[path]
            excluded[path] = f"{folder} is another service"
            notes.append(f"{path} was left out: {folder} is another service.")
        for path in [path for path in head if path.startswith(folder)]:
            del head[path]
    return excluded


def _files_in_reach(merged: Tree, everything: Tree, user: Tree) -> dict[str, Entry]:
    """Find files of the user's that have a path, or are in a folder, of the merged files."""
    reached = merged.keys() | {up for path in merged for up in folders_of(path)}
    return {
        path: everything[path]
        for path in everything.keys() - user.keys()
        if path in reached or any(up in merged for up in folders_of(path))
    }


def _exclude_ignored(
    matches: list[FileMatch], trees: Trees, repository: Repository, result: MergeResult
) -> list[FileMatch]:
    """Exclude files that git ignores. If the template moves a file to an ignored path, it stays at its old path."""
    ignored = repository.ignored([each.target for each in matches if each.new and each.target not in trees.user])
    kept = []
    for each in matches:
        why = ignored.get(each.target)
        if why is None or (each.user is None and each.old not in (None, each.new)):
            kept.append(each)
        elif each.user is not None:
            kept.append(replace(each, target=each.user))
            result.changes.append(Change(each.target, "ignored", note=f"{why}; {each.user} stays where it is"))
            result.notes.append(f"{each.user} stays where it is: you ignore its new place, {each.target}.")
        elif each.new is not None and trees.old.get(each.new) != trees.new[each.new]:
            elsewhere = (each.new,) if each.new != each.target else ()
            result.changes.append(Change(each.target, "ignored", note=why, template_paths=elsewhere))
            entry = result.ignored[each.target] = trees.new[each.new]
            occupied = os.path.lexists(repository.service / each.target)
            news = "is new" if each.old is None else "changed"
            result.notes.append(
                _how_to_get(repository.prefix, each.target, entry, f"{why} ignores it", news, occupied=occupied)
            )
    return kept


def _how_to_get(prefix: str, path: str, entry: Entry, why: str, news: str, *, occupied: bool) -> str:
    """Say how to get an ignored file of the template.

    Args:
        prefix: The service's folder from the top of the repository.
        path: The path of the file.
        entry: The template's file.
        why: The reason why it is left out.
        news: What happened to the file in the template.
        occupied: Whether the user has a file there, which no command may overwrite.
    """
    name, folder = quote(path), PurePosixPath(path).parent
    # git expects this path from the top of the repository in every folder.
    content = f"git cat-file --filters --path={quote(prefix + path)} {entry.oid}"
    left = f"{path} {news} in the template and was left out, because {why}."
    if entry.mode == _LINK:
        return f"{left} To get it, change that pattern and commit before the update."
    if occupied:
        return f"{left} Your file there stays as it is. After the update, `{content}` prints the template's."
    commands = [f"{content} > {name}", f"git add -f {name}"]
    if folder != PurePosixPath():
        commands.insert(0, f"mkdir -p {quote(str(folder))}")
    if entry.mode == "100755":
        commands.insert(-1, f"chmod +x {name}")
    return (
        f"{left} To get it, change that pattern and commit before the update. "
        f"After the update, run `{' && '.join(commands)}`."
    )


def _settle_deletions(matches: list[FileMatch], trees: Trees) -> tuple[list[FileMatch], list[FileMatch]]:
    """Settle deletions before the merge, because git before 2.50 may pair a deleted file with a new one.

    A file that the user deleted stays deleted. A file that the template deleted stays if the user moved or changed it.

    Returns:
        The files that stay as they are, and the files to merge.
    """
    known = {each.target for each in matches if each.new is not None}
    in_the_way = _in_the_way(known, {each.target: trees.user[each.user] for each in matches if each.user})
    kept, shared = [], []
    for each in matches:
        if each.old is None or (each.new is not None and each.user is not None):
            shared.append(each)
        elif each.user is not None and each.moved_by_user:
            kept.append(each)
        elif each.user is not None and trees.user[each.user] != trees.old[each.old]:
            (shared if each.target in in_the_way else kept).append(each)
    return kept, shared


def _trees_at_targets(
    matches: Iterable[FileMatch], trees: Trees
) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]]:
    """Put all sides of each file at the path where they are merged."""
    base: dict[str, Entry] = {}
    template: dict[str, Entry] = {}
    user: dict[str, Entry] = {}
    for each in matches:
        for side, tree, path in zip((base, template, user), trees, each.paths, strict=True):
            if path is not None:
                side[each.target] = tree[path]
    return base, template, user


def _in_the_way(known: AbstractSet[str], own: Tree) -> dict[str, Entry]:
    """Find the user's files where the template has a folder, and those in a folder where the template has a file."""
    parents = {up for path in known for up in folders_of(path)}
    return {
        path: entry for path, entry in own.items() if path in parents or any(up in known for up in folders_of(path))
    }


def _find_displaced(merged: Tree, known: AbstractSet[str], label: str) -> dict[str, str]:
    """Find the files that git renamed because a folder has their path: new paths by old paths."""
    pattern = re.compile(rf"(.+)~(?:{YOURS}|{re.escape(label.replace('/', '_'))})(?:_[0-9]+)?")
    found = {}
    for path in merged.keys() - known:
        if displaced := pattern.fullmatch(path):
            found[displaced[1]] = path
    return found


def _record_changes(result: MergeResult, head: Tree, merged: Tree, stages: Mapping[str, dict[int, Entry]]) -> None:
    """Record each path at which the merge differs from the committed files."""
    for path in sorted(merged.keys() | head.keys() | stages.keys()):
        before, after = head.get(path), merged.get(path)
        if before != after or path in stages:
            result.after[path] = after
        if before and path in result.after:
            result.before[path] = before
        if path in stages:
            result.stages[path] = stages[path]


def _exclude_written_once(
    old_tree: dict[str, Entry],
    new_tree: dict[str, Entry],
    head: Tree,
    is_written_once: Callable[[str], bool],
    notes: list[str],
) -> dict[str, str]:
    """Exclude files that are written once, by making both renders agree on them.

    Return the files in which the renders differ, with the reason.
    """
    seeds = [path for path in sorted(old_tree.keys() | new_tree.keys()) if is_written_once(path)]
    # A chain has one first migration, so a renamed one does not replace the one that ran.
    replaced = any(str(PurePosixPath(path).parent) == MIGRATIONS and path not in old_tree for path in seeds)
    excluded = {}
    for path in seeds:
        folder = str(PurePosixPath(path).parent)
        siblings = [name for name in head if name.startswith(f"{folder}/") and name.endswith(".py") and name != path]
        in_chain = folder == MIGRATIONS and siblings
        if path in old_tree and path in new_tree:
            if old_tree[path] != new_tree[path]:
                excluded[path] = "written once"
            new_tree[path] = old_tree[path]
        elif path in new_tree and (path in head or in_chain):
            del new_tree[path]
            excluded[path] = "written once"
            if path not in head:
                excluded[path] = "the service has migrations of its own"
                notes.append(f"{path} was left out: the service has migrations of its own.")
        elif (
            path in old_tree
            and path in head
            and (head[path] != old_tree[path] or in_chain or (folder == MIGRATIONS and replaced))
        ):
            new_tree[path] = old_tree[path]
            excluded[path] = "the service's own"
            notes.append(f"{path} stays: it is the service's own.")
    return excluded


def _paths_of_kept(matches: Iterable[FileMatch]) -> list[adapt.FilePaths]:
    """Select the files that the user has. A file that a render lacks is named by its path after the merge."""
    return [
        adapt.FilePaths(each.old or each.target, each.new or each.target, each.user)
        for each in matches
        if each.user is not None
    ]


def _adapt(
    scratch: ScratchRepository,
    repository: Repository,
    trees: Trees,
    matches: list[adapt.FilePaths],
    notes: list[str],
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Adapt both renders to the user's line endings, formatting, versions and answers."""
    old_tree, new_tree, head = trees
    python = {path for path in old_tree.keys() | new_tree.keys() if path.endswith((".py", ".pyi"))}
    reads = python.union(
        *(match for match in matches if old_tree.get(match.old) != head[match.user] or python.intersection(match))
    )
    old, new, user = (scratch.read_files(tree, [path for path in reads if is_file(tree.get(path))]) for tree in trees)
    sides = adapt.MergeInputs(old, new, user, matches)
    before = (dict(sides.old), dict(sides.new))
    adapt.line_endings(sides)
    formatting.follow(
        sides,
        _styles(scratch, head, repository.prefix, repository.committed),
        _styles(scratch, old_tree, "", lambda _: None),
    )
    dependencies.merge_arrays(sides)
    adapt.answers_file(sides, repository.answers_file)
    notes += sides.notes
    results = []
    for tree, original, side in zip((old_tree, new_tree), before, (sides.old, sides.new), strict=True):
        fresh = scratch.write_blobs({path: content for path, content in side.items() if content != original[path]})
        results.append({**tree, **{path: Entry(tree[path].mode, oid) for path, oid in fresh.items()}})
    return results[0], results[1]


def _changes(
    scratch: ScratchRepository, trees: Trees, matches: list[FileMatch], outcome: MergedTree
) -> Iterator[Change]:
    """Describe the change of each file. Say of a conflict whether formatting is its reason."""
    for change in (change_of(each, trees, outcome) for each in matches):
        if change:
            reason = _reason(scratch, change.path, outcome.conflicts.get(change.path, {}))
            yield replace(change, note="; ".join(filter(None, [change.note, reason])))
    # A file of the user's may have the path of a template folder.
    for path in outcome.displaced.keys() - {each.target for each in matches}:
        yield Change(outcome.displaced[path], "conflict", path, TEMPLATE_FOLDER.format(path))


def _reason(scratch: ScratchRepository, path: str, stages: Mapping[int, Entry]) -> str:
    """Describe whether formatting is the reason of a conflict. Return an empty text if it is not."""
    if stages.keys() != {BASE, OURS, THEIRS} or not all(map(is_file, stages.values())):
        return ""
    names = {str(stage): entry for stage, entry in stages.items()}
    contents = scratch.read_files(names, names)
    return formatting.reason(path, *(contents[str(stage)] for stage in (BASE, THEIRS, OURS)))


def _styles(scratch: ScratchRepository, tree: Tree, prefix: str, above: Callable[[str], bytes | None]) -> Styles:
    """Read the formatters' settings in a tree and in the folders above it."""

    def read(path: str) -> bytes | None:
        name = path.removeprefix(prefix)
        if not path.startswith(prefix):
            return above(path)
        return scratch.read_files(tree, [name])[name] if is_file(tree.get(name)) else None

    return Styles(read, prefix)


def _keep_dropped(merged: dict[str, Entry], stages: dict[str, dict[int, Entry]], matches: Iterable[FileMatch]) -> None:
    """Keep the user's file where the template deleted its own. This is no conflict."""
    for each in matches:
        sides = stages.get(each.target, {})
        if BASE in sides and OURS in sides and THEIRS not in sides:
            del stages[each.target]
            merged[each.target] = sides[OURS]


def needed_objects(merged: MergeResult) -> list[str]:
    """List the objects that the result of a merge needs.

    Args:
        merged: The result.

    Returns:
        The object names.
    """
    entries = [entry for entry in merged.after.values() if entry]
    entries += merged.ignored.values()
    entries += [entry for sides in merged.stages.values() for entry in sides.values()]
    return [entry.oid for entry in entries if entry.mode != SUBMODULE]
