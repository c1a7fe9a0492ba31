"""The three-way merge of two renders into what the user has committed.

Git does it, in a repository of its own that borrows the user's objects: `git merge-tree` finds renames, leaves
binaries alone and knows real conflicts. What is decided here is only what git cannot know: whose file it is.
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
from quickset.updating.changes import TEMPLATE_FOLDER, Change, Outcome, account, require_complete
from quickset.updating.filters import Filters
from quickset.updating.formatting import Styles
from quickset.updating.matching import Match, Trees, folders_of, match
from quickset.updating.repository import Entry, Repository, Tree, is_file
from quickset.updating.scratch import MINE, OLD, SUBMODULE, THEIRS, YOURS, Workshop

# A revision beside existing ones would give the chain of migrations two heads.
MIGRATIONS = "migrations/versions"
_LINK = "120000"


class Sides(NamedTuple):
    """A file of the template: where it was, and what each side has, in the form of the work tree."""

    old_path: str | None
    user_path: str | None
    old: Entry | None
    new: Entry | None
    """None also for what was written once: it is the owner's."""
    user: Entry | None


@dataclass(slots=True)
class Merged:
    """What comes of a merge: the paths to change, relative to the service's folder."""

    before: dict[str, Entry] = field(default_factory=dict)
    """What the user has committed, of the paths below."""
    after: dict[str, Entry | None] = field(default_factory=dict)
    """What is to be there; None where nothing is."""
    stages: dict[str, dict[int, Entry]] = field(default_factory=dict)
    """The sides of each conflict: 1 the old render, 2 the user's, 3 the new render."""
    ignored: dict[str, Entry] = field(default_factory=dict)
    """New files of the template that are left out because the user ignores their paths."""
    aside: Mapping[str, str] = field(default_factory=dict)
    """Paths of files that a folder of the other side displaced, by their original path."""
    files: dict[str, Entry] = field(default_factory=dict)
    """All that the service has after it."""
    sides: dict[str, Sides] = field(default_factory=dict)
    """By the path where the result is."""
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(
    work: Workshop,
    repository: Repository,
    *,
    old: Path,
    new: Path,
    label: str,
    once: Callable[[str], bool],
    moves: Sequence[Mapping[str, str | None]] = (),
) -> Merged:
    """Merge a new render into what the user has committed.

    Args:
        work: Where to merge.
        repository: The user's.
        old: The render of what the service was made of.
        new: The render of what it is to become.
        label: What conflict markers call the new render.
        once: Whether a path belongs to the service once it is there.
        moves: What the template says of its moves, for each release on the way, the oldest first.

    Returns:
        What to change.

    Raises:
        RefusedError: The answers are not committed.
    """
    head = repository.tree()
    if (answers_file := repository.answers_file) not in head:
        raise RefusedError(f"{repository.prefix}{answers_file} is not committed; commit it first. Nothing was touched.")
    if missing := work.missing(head):
        repository.fetch(missing)
    was, will = work.add(old), work.add(new)
    filters = Filters(work, repository)
    filters.store(was, will, head)
    renders = dict(was), dict(will)
    result = Merged()
    settled = _leave_nested(was, will, head, result.notes)
    settled |= _seed_once(was, will, head, once, result.notes)
    trees = Trees(was, will, head)

    def readable() -> tuple[list[Tree], Tree]:
        stored, user = filters.readable(was, head)
        in_place = [adapt.Match(path, path, path) for path in was if path in head]
        # A moved file may be formatted as the user's other files are, or as the template has it.
        return [_adapt(work, repository, Trees(stored, will, user), in_place, [])[0], stored], user

    matches = _leave_ignored(match(trees, repository, work.renames, readable, moves), trees, repository, result)
    # Before line endings and formatting are adapted: they follow a file to where either side moved it.
    aligned = _aligned(matches)
    base, template, user = dict(was), dict(will), dict(head)
    filters.open(base, template, user, aligned)
    base, template = _adapt(work, repository, Trees(base, template, user), aligned, result.notes)
    for each in matches:
        sides = [
            tree.get(path) if path else None for tree, path in zip((base, template, user), each.paths, strict=True)
        ]
        if each.old and once(each.new or each.old):
            sides[1] = None
        result.sides[each.place] = Sides(each.old, each.user, *sides)
    kept, shared = _without_deleted(matches, Trees(base, template, user))
    base, template, user = _at_places(shared, Trees(base, template, user))
    theirs = {each.user for each in matches if each.user is not None}
    own = {path: entry for path, entry in head.items() if path not in theirs}
    user |= _in_the_way(base.keys() | template.keys(), own)
    merged, stages = work.merge(base, template, user, label)
    while met := _met(merged, own, user):
        user |= met
        merged, stages = work.merge(base, template, user, label)
    aside = _aside(merged, base.keys() | template.keys() | user.keys(), label)
    _verdicts(merged, stages, shared)
    for each in kept:
        merged[each.place] = head[each.place]
    filters.close(merged, stages)
    before = {path: head[path] for path in {*theirs, *user} & head.keys()}
    _record(result, before, merged, stages)
    result.aside = aside
    result.files = {path: entry for path, entry in {**head, **result.after}.items() if entry}
    result.notes += filters.notes(head.keys() - result.after.keys())
    result.changes += [Change(path, "yours", note=why) for path, why in settled.items()]
    result.changes += _accounted(work, trees, matches, Outcome(merged, stages, aside))
    result.changes.sort(key=lambda change: change.path)
    require_complete(result.changes, *renders, result.after)
    return result


def _leave_nested(was: Tree, will: dict[str, Entry], head: dict[str, Entry], notes: list[str]) -> dict[str, str]:
    """Leave services alone that lie in folders of this one: they have answers, and nothing of this one's render.

    What is left out is returned with the reason.
    """
    others = (path.rpartition("/")[::2] for path in head if "/.copier-answers" in path)
    folders = {f"{folder}/" for folder, name in others if is_answers_file(name)}
    folders = {folder for folder in folders if not any(own.startswith(folder) for own in was)}
    left = {}
    for folder in sorted(folders):
        for path in [path for path in will if f"{path}/".startswith(folder) or folder.startswith(f"{path}/")]:
            del will[path]
            left[path] = f"{folder} is another service"
            notes.append(f"{path} was left out: {folder} is another service.")
        for path in [path for path in head if path.startswith(folder)]:
            del head[path]
    return left


def _met(merged: Tree, everything: Tree, user: Tree) -> dict[str, Entry]:
    """Find files that were left out of a merge and yet lie where its result does."""
    reached = merged.keys() | {up for path in merged for up in folders_of(path)}
    return {
        path: everything[path]
        for path in everything.keys() - user.keys()
        if path in reached or any(up in merged for up in folders_of(path))
    }


def _leave_ignored(matches: list[Match], trees: Trees, repository: Repository, result: Merged) -> list[Match]:
    """Leave ignored paths alone; what the template would move to one stays where it is."""
    ignored = repository.ignored([each.place for each in matches if each.new and each.place not in trees.user])
    left = []
    for each in matches:
        why = ignored.get(each.place)
        if why is None or (each.user is None and each.old not in (None, each.new)):
            left.append(each)
        elif each.user is not None:
            left.append(replace(each, place=each.user))
            result.changes.append(Change(each.place, "ignored", note=f"{why}; {each.user} stays where it is"))
            result.notes.append(f"{each.user} stays where it is: you ignore its new place, {each.place}.")
        elif each.new is not None and trees.old.get(each.new) != trees.new[each.new]:
            elsewhere = (each.new,) if each.new != each.place else ()
            result.changes.append(Change(each.place, "ignored", note=why, template_paths=elsewhere))
            entry = result.ignored[each.place] = trees.new[each.new]
            occupied = os.path.lexists(repository.service / each.place)
            news = "is new" if each.old is None else "changed"
            result.notes.append(
                _way_out(repository.prefix, each.place, entry, f"{why} ignores it", news, occupied=occupied)
            )
    return left


def _way_out(prefix: str, path: str, entry: Entry, why: str, news: str, *, occupied: bool) -> str:
    """Say how to get a file of the template that is left out because it is ignored.

    Args:
        prefix: The service's folder below the top of the repository.
        path: Where the file would be.
        entry: The template's file.
        why: The reason.
        news: What happened to it in the template.
        occupied: Whether the user has a file there, which no command may overwrite.
    """
    name, folder = quote(path), PurePosixPath(path).parent
    # Git takes this path from the top, wherever it runs.
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


def _without_deleted(matches: list[Match], trees: Trees) -> tuple[list[Match], list[Match]]:
    """Settle what one side deleted, since git before 2.50 pairs it with new files, whatever its settings say.

    What the user deleted stays deleted. What the template deleted stays when the user moved or changed it.

    Returns:
        The files that stay, and those to merge.
    """
    known = {each.place for each in matches if each.new is not None}
    in_the_way = _in_the_way(known, {each.place: trees.user[each.user] for each in matches if each.user})
    kept, shared = [], []
    for each in matches:
        if each.old is None or (each.new is not None and each.user is not None):
            shared.append(each)
        elif each.user is not None and each.moved_by_user:
            kept.append(each)
        elif each.user is not None and trees.user[each.user] != trees.old[each.old]:
            (shared if each.place in in_the_way else kept).append(each)
    return kept, shared


def _at_places(matches: Iterable[Match], trees: Trees) -> tuple[dict[str, Entry], dict[str, Entry], dict[str, Entry]]:
    """Put the sides of each file at the one place where they are merged."""
    base: dict[str, Entry] = {}
    template: dict[str, Entry] = {}
    user: dict[str, Entry] = {}
    for each in matches:
        for side, tree, path in zip((base, template, user), trees, each.paths, strict=True):
            if path is not None:
                side[each.place] = tree[path]
    return base, template, user


def _in_the_way(known: AbstractSet[str], own: Tree) -> dict[str, Entry]:
    """Find the files of the user's own that are where the template has a folder, or the other way around."""
    parents = {up for path in known for up in folders_of(path)}
    return {
        path: entry for path, entry in own.items() if path in parents or any(up in known for up in folders_of(path))
    }


def _aside(merged: Tree, known: AbstractSet[str], label: str) -> dict[str, str]:
    """Find the files that git put next to a folder that has their path: the new paths by the old ones."""
    pattern = re.compile(rf"(.+)~(?:{YOURS}|{re.escape(label.replace('/', '_'))})(?:_[0-9]+)?")
    found = {}
    for path in merged.keys() - known:
        if aside := pattern.fullmatch(path):
            found[aside[1]] = path
    return found


def _record(result: Merged, head: Tree, merged: Tree, stages: Mapping[str, dict[int, Entry]]) -> None:
    """Note each path where the merge differs from what is committed."""
    for path in sorted(merged.keys() | head.keys() | stages.keys()):
        before, after = head.get(path), merged.get(path)
        if before != after or path in stages:
            result.after[path] = after
        if before and path in result.after:
            result.before[path] = before
        if path in stages:
            result.stages[path] = stages[path]


def _seed_once(
    was: dict[str, Entry], will: dict[str, Entry], head: Tree, once: Callable[[str], bool], notes: list[str]
) -> dict[str, str]:
    """Take files that belong to the service out of the merge, by making both renders agree on them.

    Those in which the renders differ are returned with the reason.
    """
    seeds = [path for path in sorted(was.keys() | will.keys()) if once(path)]
    # One chain has one beginning: a first migration of another name does not take the place of the one that ran.
    replaced = any(str(PurePosixPath(path).parent) == MIGRATIONS and path not in was for path in seeds)
    left = {}
    for path in seeds:
        folder = str(PurePosixPath(path).parent)
        siblings = [name for name in head if name.startswith(f"{folder}/") and name.endswith(".py") and name != path]
        in_chain = folder == MIGRATIONS and siblings
        if path in was and path in will:
            if was[path] != will[path]:
                left[path] = "written once"
            will[path] = was[path]
        elif path in will and (path in head or in_chain):
            del will[path]
            left[path] = "written once"
            if path not in head:
                left[path] = "the service has migrations of its own"
                notes.append(f"{path} was left out: the service has migrations of its own.")
        elif (
            path in was
            and path in head
            and (head[path] != was[path] or in_chain or (folder == MIGRATIONS and replaced))
        ):
            will[path] = was[path]
            left[path] = "the service's own"
            notes.append(f"{path} stays: it is the service's own.")
    return left


def _aligned(matches: Iterable[Match]) -> list[adapt.Match]:
    """Select the files that the user has; one that a render lacks is called there as at its place."""
    return [
        adapt.Match(each.old or each.place, each.new or each.place, each.user)
        for each in matches
        if each.user is not None
    ]


def _adapt(
    work: Workshop,
    repository: Repository,
    trees: Trees,
    matches: list[adapt.Match],
    notes: list[str],
) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Adapt both renders to the user's line endings, formatting, versions and answers; the user's side stays."""
    was, will, head = trees
    python = {path for path in was.keys() | will.keys() if path.endswith((".py", ".pyi"))}
    reads = python.union(
        *(match for match in matches if was.get(match.old) != head[match.user] or python.intersection(match))
    )
    old, new, user = (work.read(tree, [path for path in reads if is_file(tree.get(path))]) for tree in trees)
    sides = adapt.Sides(old, new, user, matches)
    before = (dict(sides.old), dict(sides.new))
    adapt.line_endings(sides)
    formatting.follow(
        sides, _styles(work, head, repository.prefix, repository.committed), _styles(work, was, "", lambda _: None)
    )
    dependencies.merge_arrays(sides)
    adapt.answers_file(sides, repository.answers_file)
    notes += sides.notes
    results = []
    for tree, original, side in zip((was, will), before, (sides.old, sides.new), strict=True):
        fresh = work.write({path: content for path, content in side.items() if content != original[path]})
        results.append({**tree, **{path: Entry(tree[path].mode, oid) for path, oid in fresh.items()}})
    return results[0], results[1]


def _accounted(work: Workshop, trees: Trees, matches: list[Match], outcome: Outcome) -> Iterator[Change]:
    """Say what became of each file, and of a conflict whether formatting is its reason."""
    for change in (account(each, trees, outcome) for each in matches):
        if change:
            reason = _reason(work, change.path, outcome.conflicts.get(change.path, {}))
            yield replace(change, note="; ".join(filter(None, [change.note, reason])))
    # A file of the user's own may be in the way of a folder of the template.
    for path in outcome.aside.keys() - {each.place for each in matches}:
        yield Change(outcome.aside[path], "conflict", path, TEMPLATE_FOLDER.format(path))


def _reason(work: Workshop, path: str, stages: Mapping[int, Entry]) -> str:
    """Say of a conflict whether formatting is its reason."""
    if stages.keys() != {OLD, MINE, THEIRS} or not all(map(is_file, stages.values())):
        return ""
    names = {str(stage): entry for stage, entry in stages.items()}
    contents = work.read(names, names)
    return formatting.reason(path, *(contents[str(stage)] for stage in (OLD, THEIRS, MINE)))


def _styles(work: Workshop, tree: Tree, prefix: str, above: Callable[[str], bytes | None]) -> Styles:
    """Read how files are formatted from the settings in a tree and in the folders above it."""

    def read(path: str) -> bytes | None:
        name = path.removeprefix(prefix)
        if not path.startswith(prefix):
            return above(path)
        return work.read(tree, [name])[name] if is_file(tree.get(name)) else None

    return Styles(read, prefix)


def _verdicts(merged: dict[str, Entry], stages: dict[str, dict[int, Entry]], matches: Iterable[Match]) -> None:
    """Settle what is no conflict: what the template gave up stays the user's."""
    for each in matches:
        sides = stages.get(each.place, {})
        if OLD in sides and MINE in sides and THEIRS not in sides:
            del stages[each.place]
            merged[each.place] = sides[MINE]


def all_objects(merged: Merged) -> list[str]:
    """Name every object that a merge's result needs.

    Args:
        merged: The result.

    Returns:
        Their names.
    """
    entries = [entry for entry in merged.after.values() if entry]
    entries += merged.ignored.values()
    entries += [entry for sides in merged.stages.values() for entry in sides.values()]
    return [entry.oid for entry in entries if entry.mode != SUBMODULE]
