"""Find out which file of the two renders is which file of the user's, before anything is merged.

Moves are settled here, by content and by history, so that the merge itself compares files at one place only.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from quickset.updating.repository import Entry, Repository, Tree

Renames = Callable[[Tree, Tree], Mapping[str, str]]
"""Finds what was renamed between two trees: old paths by new ones."""

Readable = Callable[[], tuple[Sequence[Tree], Tree]]

_COMMIT = re.compile(r"commit( [0-9a-f]{40,64})+")
_RENAME = re.compile(r"R\d+")


class Trees(NamedTuple):
    """The files of the three sides."""

    old: Tree
    new: Tree
    user: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One file of the template, and where each side has it; None where a side has none."""

    old: str | None
    new: str | None
    user: str | None
    place: str
    """Where the sides are merged, and where the result is."""
    blocked: str | None = None
    """The path to which the template moved it, if a file of the user is in the way."""
    unsure: bool = False
    """Whether a shallow clone lacks the history that would say if the user moved it or its folder."""

    @property
    def paths(self) -> tuple[str | None, str | None, str | None]:
        """The paths on the three sides."""
        return self.old, self.new, self.user

    @property
    def moved_by_user(self) -> bool:
        """Whether the user has it at another path than the old render."""
        return None not in (self.old, self.user) and self.user != self.old


def match(
    trees: Trees,
    repository: Repository,
    renames: Renames,
    readable: Readable,
    known: Sequence[Mapping[str, str | None]] = (),
) -> list[Match]:
    """Match the files of both renders with the user's.

    A file that the user moved stays at the user's place, whatever the template does with its path.

    Args:
        trees: Both renders, and what the user has committed.
        repository: The user's, for its history.
        renames: Finds renames by content.
        readable: Returns the forms of the old render in which likeness shows, the best first, and the user's files.
        known: What the template says of its moves, for each release on the way, the oldest first.

    Returns:
        One match for each file of the template; no two have the same place.
    """
    was, will, head = trees
    by_template, settled = _given(known, was, will)
    rest = [{path: entry for path, entry in tree.items() if path not in settled} for tree in (was, will)]
    by_template |= {old: new for new, old in renames(*rest).items()}
    added = will.keys() - was.keys() - set(by_template.values())
    missing = _missing(was, will, head, added)
    own = {path: entry for path, entry in head.items() if path not in was} if missing else {}

    forms, mine = readable() if missing and own else ((), {})

    def as_read(old: Tree, user: Tree) -> Mapping[str, str]:
        found: dict[str, str] = {}
        tried: Tree = {}
        for form in forms:
            left = {path: form[path] for path in old if path not in found.values()}
            if left.items() <= tried.items():
                break
            found |= renames(left, {path: mine[path] for path in user if path not in found})
            tried = left
        return found

    followed, unsure = _follow(missing, own, repository, as_read)
    by_user = {
        old: path
        for old, path in followed.items()
        # A new file of the template with the same name is another file.
        if path not in will or by_template.get(old) == path
    }
    wanted = by_template
    by_template = _unblocked(wanted, by_user, trees)
    # Where a file moved away and the template has another one at its path, as one that forwards.
    successors = {old for old in by_template if old in will} - set(by_template.values())
    found = []
    for old in was:
        new = by_template.get(old, old if old in will else None)
        user = by_user.get(old, old if old in head else None)
        place = user if user is not None and user != old else new or old
        blocked = wanted.get(old) if user is not None and old not in by_template else None
        found.append(Match(old=old, new=new, user=user, place=place, blocked=blocked, unsure=old in unsure))
        if old in successors:
            # What the user deleted, or moved away, stays away.
            found.append(Match(old=None if user == old else old, new=old, user=None, place=old))
    places = {match.place for match in found}
    folders = _Folders(by_user, by_template, head)
    unsure_folders = {folder for old in unsure for folder in folders_of(old)}
    if unsure_folders:
        unsure_folders -= {folder for path in head for folder in folders_of(path)}
    for path in sorted(will.keys() - was.keys() - set(by_template.values())):
        place = path if path in head else folders.follow(path)
        if place != path and (place in places or place in will):
            place = path
        places.add(place)
        user = place if place in head else None
        left_behind = place == path and not unsure_folders.isdisjoint(folders_of(path))
        found.append(Match(old=None, new=path, user=user, place=place, unsure=left_behind))
    return found


def _given(known: Sequence[Mapping[str, str | None]], was: Tree, will: Tree) -> tuple[dict[str, str], set[str]]:
    """Find where the template says that its files went: new paths by old ones, and each path that this settles."""
    found: dict[str, str] = {}
    gone = set()
    for path in was if known else ():
        if will.get(path) == was[path]:
            continue
        # A release may speak of a whole folder when some of its files stay.
        ways: list[str | None] = [path]
        for files in known:
            ways = list(dict.fromkeys([*(way and moved(way, files) for way in ways), *ways]))
        goal = next((way for way in ways if way in will), None)
        if goal in found.values() or (goal is None and None in ways):
            gone.add(path)
        elif goal is not None and goal != path:
            found[path] = goal
    return found, gone.union(found, found.values())


def _unblocked(moves: Mapping[str, str], by_user: Mapping[str, str], trees: Trees) -> dict[str, str]:
    """Select what the template can move: not over a file of the user's own, nor to where one is in the way."""
    was, _, head = trees
    left = dict(moves)
    edited = {path for path, entry in head.items() if entry != was.get(path)} if moves else set()
    while True:
        # What moves away itself is not in the way.
        leaving = left.keys() - by_user.keys()
        staying = edited - leaving
        folders = {folder for path in staying for folder in folders_of(path)}
        blocked = {
            old
            for old, new in left.items()
            if (new in was and new not in left)
            or (
                # Where the user has it elsewhere, nothing goes to the new path.
                old not in by_user
                and ((new in head and new not in leaving) or new in folders or staying.intersection(folders_of(new)))
            )
        }
        if not blocked:
            return left
        left = {old: new for old, new in left.items() if old not in blocked}


def moved(path: str, files: Mapping[str, str | None]) -> str | None:
    """Say where one release moved a file.

    Args:
        path: The file.
        files: Old paths with new ones; a folder ends in a slash.

    Returns:
        Its path after that release; None when it is gone.
    """
    if path in files:
        return files[path]
    for folder in folders_of(path):
        if (name := f"{folder}/") in files:
            goal = files[name]
            return goal and f"{goal}{path[len(name) :]}"
    return path


def folders_of(path: str) -> Iterator[str]:
    """Name the folders that a path lies in; plain text, because a repository may have many thousands of paths.

    Args:
        path: The path.

    Yields:
        The folders, the innermost first.
    """
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _missing(was: Tree, will: Tree, head: Tree, added: Collection[str]) -> Tree:
    """Select the files that the user no longer has, as far as it matters where they went."""
    grown = {folder for path in added for folder in folders_of(path)}
    return {
        path: entry
        for path, entry in was.items()
        if path not in head and (will.get(path) != entry or any(folder in grown for folder in folders_of(path)))
    }


def _follow(
    missing: Tree, own: Tree, repository: Repository, renames: Renames
) -> tuple[dict[str, str], frozenset[str]]:
    """Find where the user moved files: new paths by old ones, and what a shallow clone cannot tell.

    A file that stood next to the missing one until that was deleted is a look-alike, and not the same file.
    """
    if not missing or not own:
        return {}, frozenset()
    pairs = {old: new for new, old in renames(missing, own).items()}
    older = _neighbors(repository, pairs) if pairs else {}
    # Without a deletion in it, a cut-off history does not say what stood next to the file.
    unsure = frozenset(pairs.keys() - older.keys() if pairs and repository.is_shallow() else ())
    found = {
        old: new
        for old, new in pairs.items()
        if old not in unsure and not (old in older and older[old].holds(new, own[new]))
    }
    rejected = pairs.keys() - found.keys()
    for old in sorted(rejected - unsure):
        rest = {
            path: entry
            for path, entry in own.items()
            if path not in found.values() and not older[old].holds(path, entry)
        }
        found |= {source: new for new, source in renames({old: missing[old]}, rest).items()}
    if rejected:
        # What was rejected for one file may be where another one went.
        left = {path: entry for path, entry in missing.items() if path not in pairs}
        rest = {path: entry for path, entry in own.items() if path not in found.values()}
        more, unsure_too = _follow(left, rest, repository, renames)
        found |= more
        unsure |= unsure_too
    return found, unsure


@dataclass(frozen=True, slots=True)
class _Neighbors:
    """The tree just before a file was deleted."""

    old: str
    """The file."""
    tree: Mapping[str, Entry]
    renames: Sequence[tuple[str, str]]
    """The renames since then, newest first."""

    def holds(self, path: str, entry: Entry) -> bool:
        """Tell whether a file was there next to the deleted one, under its name or under another one.

        Args:
            path: Where the user has the file now.
            entry: Its content.

        Returns:
            Whether it was.
        """
        names = {path}
        for before, after in self.renames:
            if after in names:
                names.add(before)
        is_unchanged = entry in self.tree.values() and entry != self.tree.get(self.old)
        return is_unchanged or not (names - {self.old}).isdisjoint(self.tree)


def _neighbors(repository: Repository, missing: Iterable[str]) -> dict[str, _Neighbors]:
    """Read which files there were just before each missing one was deleted."""
    options = ("--full-history", "-m", "--no-renames", "--diff-filter=D", "--name-only", "--format=%x00commit %H %P")
    paths = [repository.prefix + path for path in missing]
    listed = repository.git("log", *options, "-z", repository.head, "--", *paths, env={"GIT_LITERAL_PATHSPECS": "1"})
    parents: list[str] = []
    deleted: dict[str, list[str]] = {}
    for word in (word.strip("\n") for word in listed.split("\0")):
        if _COMMIT.fullmatch(word):
            parents = word.split(" ")[2:]
        elif word:
            # The newest deletion is listed first.
            deleted.setdefault(word.removeprefix(repository.prefix), parents)
    trees: dict[str, dict[str, Entry]] = {}
    found = {}
    for path, commits in deleted.items():
        for commit in commits:
            if commit not in trees:
                trees[commit] = repository.tree_of(commit)
        held = [commit for commit in commits if path in trees[commit]]
        if held:
            files = {name: entry for commit in held for name, entry in trees[commit].items()}
            found[path] = _Neighbors(path, files, _renamed_since(repository, held))
    return found


def _renamed_since(repository: Repository, commits: Iterable[str]) -> list[tuple[str, str]]:
    """Read what was renamed after commits, the newest first."""
    options = ("--topo-order", "-m", "-M", "-l0", "--diff-filter=R", "--name-status", "--format=", "-z")
    since = [f"^{commit}" for commit in commits]
    listed = repository.git(
        *("log", *options, repository.head, *since, "--", repository.prefix or "."),
        env={"GIT_LITERAL_PATHSPECS": "1"},
    )
    words = iter([word.strip("\n").removeprefix(repository.prefix) for word in listed.split("\0")])
    return [(next(words), next(words)) for word in words if _RENAME.fullmatch(word)]


class _Folders:
    """The folders that the user moved as a whole."""

    def __init__(self, moves: Mapping[str, str], by_template: Mapping[str, str], head: Tree) -> None:
        # A folder that the template moved, too, has another name in the new render.
        self._moves = dict(moves) | {by_template[old]: new for old, new in moves.items() if old in by_template}
        arrived = {new for old, new in by_template.items() if old not in moves and old in head}
        self._standing = {folder for path in {*head, *arrived} for folder in folders_of(path)} if moves else set()

    def follow(self, path: str) -> str:
        """Say where a new file of the template belongs: where most of what was in its folder is now."""
        if not self._moves:
            return path
        for folder in folders_of(path):
            if folder in self._standing:
                return path
            goals = Counter(goal for old, new in self._moves.items() if (goal := _goal(folder, old, new)) is not None)
            best = goals.most_common(2)
            if best and (len(best) == 1 or best[0][1] > best[1][1]):
                return f"{best[0][0]}{path[len(folder) :]}".removeprefix("/")
        return path


def _goal(folder: str, old: str, new: str) -> str | None:
    """Say where a folder went by the move of one file below it; None when that file went elsewhere."""
    before, after = (f"/{PurePosixPath(path).parent}".removesuffix("/.") for path in (old, new))
    if not f"{before}/".startswith(f"/{folder}/"):
        return None
    rest = before[len(folder) + 1 :]
    return after.removesuffix(rest).removeprefix("/") if after.endswith(rest) else None
