"""Match the files of the two renders with the user's files before the merge.

Moved files are found here by their content and by the history, so the merge compares files at one path only.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from quickset.updating.repository import Repository
from quickset.updating.tree import Entry, Tree

FindRenames = Callable[[Tree, Tree], Mapping[str, str]]
"""Finds the files that were renamed between two trees: old paths by new paths."""

ReadForms = Callable[[], tuple[Sequence[Tree], Tree]]
"""Reads forms of the old render in which similar files can be found, the best first, and the user's files."""

_COMMIT = re.compile(r"commit( [0-9a-f]{40,64})+")
_RENAME = re.compile(r"R\d+")


class Trees(NamedTuple):
    """The files of the three sides."""

    old: Tree
    new: Tree
    user: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMatch:
    """One file of the template, with its path on each side. None if a side lacks the file."""

    old: str | None
    new: str | None
    user: str | None
    target: str
    """The path where the sides are merged, and where the result is."""
    blocked: str | None = None
    """The path to which the template moved the file, if a file of the user's is in the each."""
    uncertain: bool = False
    """Whether a shallow clone lacks the history that shows if the user moved the file or its folder."""

    @property
    def paths(self) -> tuple[str | None, str | None, str | None]:
        """The paths on the three sides."""
        return self.old, self.new, self.user

    @property
    def moved_by_user(self) -> bool:
        """Whether the user has the file at another path than the old render."""
        return None not in (self.old, self.user) and self.user != self.old


def match(
    trees: Trees,
    repository: Repository,
    renames: FindRenames,
    read_forms: ReadForms,
    known: Sequence[Mapping[str, str | None]] = (),
) -> list[FileMatch]:
    """Match the files of both renders with the user's.

    A file that the user moved stays at the user's path, even if the template moves it, too.

    Args:
        trees: Both renders, and the committed files.
        repository: The user's repository.
        renames: Finds renames by content.
        read_forms: Reads forms of the old render, and the user's files.
        known: The moves that the template declares, for each release in between, the oldest first.

    Returns:
        One match for each file of the template. No two have the same target.
    """
    old_tree, new_tree, head = trees
    by_template, settled = _declared_moves(known, old_tree, new_tree)
    rest = [{path: entry for path, entry in tree.items() if path not in settled} for tree in (old_tree, new_tree)]
    by_template |= {old: new for new, old in renames(*rest).items()}
    added = new_tree.keys() - old_tree.keys() - set(by_template.values())
    missing = _missing(old_tree, new_tree, head, added)
    own = {path: entry for path, entry in head.items() if path not in old_tree} if missing else {}

    forms, mine = read_forms() if missing and own else ((), {})

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

    followed, uncertain = _follow(missing, own, repository, as_read)
    by_user = {
        old: path
        for old, path in followed.items()
        # A new template file with the same name is another file.
        if path not in new_tree or by_template.get(old) == path
    }
    wanted = by_template
    by_template = _possible_moves(wanted, by_user, trees)
    # The template may have another file at the old path, such as one that forwards.
    successors = {old for old in by_template if old in new_tree} - set(by_template.values())
    found = []
    for old in old_tree:
        new = by_template.get(old, old if old in new_tree else None)
        user = by_user.get(old, old if old in head else None)
        target = user if user is not None and user != old else new or old
        blocked = wanted.get(old) if user is not None and old not in by_template else None
        found.append(FileMatch(old=old, new=new, user=user, target=target, blocked=blocked, uncertain=old in uncertain))
        if old in successors:
            # A path that the user deleted, or moved away, stays empty.
            found.append(FileMatch(old=None if user == old else old, new=old, user=None, target=old))
    targets = {match.target for match in found}
    folders = _Folders(by_user, by_template, head)
    uncertain_folders = {folder for old in uncertain for folder in folders_of(old)}
    if uncertain_folders:
        uncertain_folders -= {folder for path in head for folder in folders_of(path)}
    for path in sorted(new_tree.keys() - old_tree.keys() - set(by_template.values())):
        target = path if path in head else folders.follow(path)
        if target != path and (target in targets or target in new_tree):
            target = path
        targets.add(target)
        user = target if target in head else None
        left_behind = target == path and not uncertain_folders.isdisjoint(folders_of(path))
        found.append(FileMatch(old=None, new=path, user=user, target=target, uncertain=left_behind))
    return found


def _declared_moves(
    known: Sequence[Mapping[str, str | None]], old_tree: Tree, new_tree: Tree
) -> tuple[dict[str, str], set[str]]:
    """Find the moves that the template declares: new paths by old paths, and every path that this settles."""
    found: dict[str, str] = {}
    gone = set()
    for path in old_tree if known else ():
        if new_tree.get(path) == old_tree[path]:
            continue
        # A release may declare the move of a folder although some of its files stay.
        paths: list[str | None] = [path]
        for files in known:
            paths = list(dict.fromkeys([*(each and moved(each, files) for each in paths), *paths]))
        target = next((each for each in paths if each in new_tree), None)
        if target in found.values() or (target is None and None in paths):
            gone.add(path)
        elif target is not None and target != path:
            found[path] = target
    return found, gone.union(found, found.values())


def _possible_moves(moves: Mapping[str, str], by_user: Mapping[str, str], trees: Trees) -> dict[str, str]:
    """Select the moves of the template that no file of the user's blocks."""
    old_tree, _, head = trees
    left = dict(moves)
    edited = {path for path, entry in head.items() if entry != old_tree.get(path)} if moves else set()
    while True:
        # A file that moves away is not in the each.
        leaving = left.keys() - by_user.keys()
        staying = edited - leaving
        folders = {folder for path in staying for folder in folders_of(path)}
        blocked = {
            old
            for old, new in left.items()
            if (new in old_tree and new not in left)
            or (
                # Nothing moves to the new path if the user has the file elsewhere.
                old not in by_user
                and ((new in head and new not in leaving) or new in folders or staying.intersection(folders_of(new)))
            )
        }
        if not blocked:
            return left
        left = {old: new for old, new in left.items() if old not in blocked}


def moved(path: str, files: Mapping[str, str | None]) -> str | None:
    """Apply the declared moves of one release to a path.

    Args:
        path: The path.
        files: New paths by old paths. A folder ends in a slash.

    Returns:
        The new path; None if the file is gone.
    """
    if path in files:
        return files[path]
    for folder in folders_of(path):
        if (name := f"{folder}/") in files:
            target = files[name]
            return target and f"{target}{path[len(name) :]}"
    return path


def folders_of(path: str) -> Iterator[str]:
    """List the folders of a path. Plain text is used, because a repository may have many thousands of paths.

    Args:
        path: The path.

    Yields:
        The folders, the innermost first.
    """
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _missing(old_tree: Tree, new_tree: Tree, head: Tree, added: Collection[str]) -> Tree:
    """Select the files that the user no longer has, and whose new paths matter."""
    grown = {folder for path in added for folder in folders_of(path)}
    return {
        path: entry
        for path, entry in old_tree.items()
        if path not in head and (new_tree.get(path) != entry or any(folder in grown for folder in folders_of(path)))
    }


def _follow(
    missing: Tree, own: Tree, repository: Repository, renames: FindRenames
) -> tuple[dict[str, str], frozenset[str]]:
    """Find where the user moved files: new paths by old paths, and the files for which a shallow clone is not enough.

    A similar file that existed next to the missing one before that was deleted is another file.
    """
    if not missing or not own:
        return {}, frozenset()
    pairs = {old: new for new, old in renames(missing, own).items()}
    older = _neighbors(repository, pairs) if pairs else {}
    # A history that is cut off may not include the deletion.
    uncertain = frozenset(pairs.keys() - older.keys() if pairs and repository.is_shallow() else ())
    found = {
        old: new
        for old, new in pairs.items()
        if old not in uncertain and not (old in older and older[old].holds(new, own[new]))
    }
    rejected = pairs.keys() - found.keys()
    for old in sorted(rejected - uncertain):
        rest = {
            path: entry
            for path, entry in own.items()
            if path not in found.values() and not older[old].holds(path, entry)
        }
        found |= {source: new for new, source in renames({old: missing[old]}, rest).items()}
    if rejected:
        # A path that was rejected for one file may be the new path of another.
        left = {path: entry for path, entry in missing.items() if path not in pairs}
        rest = {path: entry for path, entry in own.items() if path not in found.values()}
        more, also_uncertain = _follow(left, rest, repository, renames)
        found |= more
        uncertain |= also_uncertain
    return found, uncertain


@dataclass(frozen=True, slots=True)
class _Neighbors:
    """The tree just before a file was deleted."""

    old: str
    """The path of the file."""
    tree: Mapping[str, Entry]
    renames: Sequence[tuple[str, str]]
    """The renames since then, the newest first."""

    def holds(self, path: str, entry: Entry) -> bool:
        """Return whether a file existed next to the deleted one, under its name or an older one.

        Args:
            path: The path of the user's file.
            entry: The content of the user's file.

        Returns:
            Whether it existed.
        """
        names = {path}
        for before, after in self.renames:
            if after in names:
                names.add(before)
        is_unchanged = entry in self.tree.values() and entry != self.tree.get(self.old)
        return is_unchanged or not (names - {self.old}).isdisjoint(self.tree)


def _neighbors(repository: Repository, missing: Iterable[str]) -> dict[str, _Neighbors]:
    """Read the files that existed just before each missing file was deleted."""
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
    """Read the renames after some commits, the newest first."""
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
        # A folder that the template moved, too, has another path in the new render.
        self._moves = dict(moves) | {by_template[old]: new for old, new in moves.items() if old in by_template}
        arrived = {new for old, new in by_template.items() if old not in moves and old in head}
        self._standing = {folder for path in {*head, *arrived} for folder in folders_of(path)} if moves else set()

    def follow(self, path: str) -> str:
        """Return the path of a new template file: in the folder to which most files of its folder moved."""
        if not self._moves:
            return path
        for folder in folders_of(path):
            if folder in self._standing:
                return path
            targets = Counter(
                target for old, new in self._moves.items() if (target := _moved_folder(folder, old, new)) is not None
            )
            best = targets.most_common(2)
            if best and (len(best) == 1 or best[0][1] > best[1][1]):
                return f"{best[0][0]}{path[len(folder) :]}".removeprefix("/")
        return path


def _moved_folder(folder: str, old: str, new: str) -> str | None:
    """Find the new path of a folder from the move of one file in it. Return None if that file left the folder."""
    before, after = (f"/{PurePosixPath(path).parent}".removesuffix("/.") for path in (old, new))
    if not f"{before}/".startswith(f"/{folder}/"):
        return None
    rest = before[len(folder) + 1 :]
    return after.removesuffix(rest).removeprefix("/") if after.endswith(rest) else None
