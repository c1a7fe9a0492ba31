"""The three-way merge of two renders into what the user has committed.

Git does it, in a repository of its own that borrows the user's objects: `git merge-tree` finds renames, leaves
binaries alone and knows real conflicts. What is decided here is only what git cannot know: whose file it is.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from quickset import adapt, formatting, git
from quickset.answers import ANSWERS_FILE
from quickset.errors import RefusedError
from quickset.filters import Filters
from quickset.formatting import Styles
from quickset.history import IDENTITY
from quickset.repository import Entry, Repository, Tree, is_file, parse_tree

Kind = Literal["added", "changed", "merged", "conflict", "removed", "kept", "deleted", "moved"]

YOURS = "yours"
# A revision beside existing ones would give the chain of migrations two heads.
MIGRATIONS = "migrations/versions"

OLD, _YOURS, THEIRS = 1, 2, 3
_MANY = 1000
_SHA1 = 40  # hexadecimal digits
_SUBMODULE = "160000"
_CONFIG = {
    "merge.renames": "true",
    "merge.directoryRenames": "true",
    "merge.renameLimit": "5000",
    "merge.conflictStyle": "merge",
    # Not the user's driver: it is a program, or drops a conflict.
    "merge.default": "text",
    "merge.renormalize": "false",
    "pack.packSizeLimit": "0",
    "diff.renames": "true",
    "core.quotePath": "false",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What an update does to one file."""

    path: str
    kind: Kind
    source: str | None = None
    """Where a moved file was."""
    note: str = ""


@dataclass(slots=True)
class Merged:
    """What comes of a merge: the paths to change, relative to the service's folder."""

    before: dict[str, Entry] = field(default_factory=dict)
    """What the user has committed, of the paths below."""
    after: dict[str, Entry | None] = field(default_factory=dict)
    """What is to be there; None where nothing is."""
    stages: dict[str, dict[int, Entry]] = field(default_factory=dict)
    """The sides of each conflict: 1 the old render, 2 the user's, 3 the new render."""
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Moves:
    """Old paths by new ones."""

    by_user: Mapping[str, str]
    by_template: Mapping[str, str]


class Workshop:
    """A bare repository for the merge, apart from the user's settings and refs.

    Args:
        folder: Where it is made.
        objects: The user's objects, which it reads and never writes.
        head: A commit among them.
    """

    def __init__(self, folder: Path, objects: Path, head: str) -> None:
        self.folder = folder
        self.objects = objects
        self._env = {"GIT_DIR": str(folder), "GIT_INDEX_FILE": str(folder / "index")}
        kind = "sha256" if len(head) > _SHA1 else "sha1"
        git.run("init", "--quiet", "--bare", "--initial-branch=main", f"--object-format={kind}", str(folder))
        (folder / "objects" / "info" / "alternates").write_bytes(git.quoted(objects) + b"\n")
        # Bytes are merged as they are: no filter, no conversion, whatever the renders' own attributes say.
        (folder / "info").mkdir(exist_ok=True)
        (folder / "info" / "attributes").write_text("* -text -filter -ident -working-tree-encoding\n", encoding="utf-8")

    def git(self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run git in it.

        Args:
            *args: The arguments.
            stdin: What git reads.
            env: Variables beside the usual ones.

        Returns:
            Its standard output.
        """
        return git.run(*args, cwd=self.folder, stdin=stdin, env=self._env | dict(env or {}), config=_CONFIG)

    def add(self, folder: Path) -> dict[str, Entry]:
        """Take in a rendered folder.

        Args:
            folder: The folder.

        Returns:
            Its files.
        """
        self.git("read-tree", "--empty")
        self.git("add", "--force", "--all", env={"GIT_WORK_TREE": str(folder)})
        listed = self.git("ls-files", "--stage", "-z")
        found = {}
        for line in listed.split("\0"):
            if line:
                meta, path = line.split("\t", 1)
                mode, oid, _ = meta.split(" ")
                found[path] = Entry(mode, oid)
        return found

    def write(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Store contents.

        Args:
            contents: By path.

        Returns:
            Object names by path.
        """
        if not contents:
            return {}
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            names = []
            for number, content in enumerate(contents.values()):
                file = Path(folder, str(number))
                file.write_bytes(content)
                names.append(f"{file}\n")
            oids = self.git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(names)).split()
        return dict(zip(contents, oids, strict=True))

    def read(self, tree: Tree, paths: Iterable[str]) -> dict[str, bytes]:
        """Read files.

        Args:
            tree: Where they are.
            paths: Which.

        Returns:
            Their contents by path.
        """
        wanted = {path: tree[path].oid for path in paths}
        contents = git.read_blobs(wanted.values(), env=self._env)
        return {path: contents[oid] for path, oid in wanted.items()}

    def missing(self, tree: Tree) -> list[str]:
        """Find the objects that a partial clone has not fetched yet; from here git fetches nothing by itself.

        Args:
            tree: The user's files.

        Returns:
            The names of the objects.
        """
        names = "".join(f"{entry.oid}\n" for entry in tree.values() if entry.mode != _SUBMODULE)
        listed = self.git("cat-file", "--batch-check=%(objectname)", stdin=names)
        return sorted({line.removesuffix(" missing") for line in listed.splitlines() if line.endswith(" missing")})

    def tree(self, entries: Tree) -> str:
        """Make a tree.

        Args:
            entries: Its files.

        Returns:
            Its object name.
        """
        self.git("read-tree", "--empty")
        lines = "".join(f"{entry.mode} {entry.oid}\t{path}\0" for path, entry in entries.items())
        self.git("update-index", "-z", "--index-info", stdin=lines)
        return self.git("write-tree")

    def merge(
        self, old: Tree, new: Tree, user: Tree, label: str
    ) -> tuple[dict[str, Entry], dict[str, dict[int, Entry]]]:
        """Merge three trees.

        Args:
            old: What both sides come from.
            new: One side.
            user: The other side.
            label: What conflict markers call the new side.

        Returns:
            The files that result, and the sides of each conflict.
        """
        base = self.git("commit-tree", self.tree(old), "-m", "old", env=IDENTITY)
        for name, side in ((YOURS, user), (label, new)):
            # The common parent makes the old render the merge base, on any git.
            commit = self.git("commit-tree", self.tree(side), "-p", base, "-m", name, env=IDENTITY)
            self.git("update-ref", f"refs/heads/{name}", commit)
        options = ("--write-tree", "-z", "--no-messages", "--allow-unrelated-histories")
        done = git.attempt("merge-tree", *options, YOURS, label, cwd=self.folder, env=self._env, config=_CONFIG)
        if done.returncode not in (0, 1):
            raise git.GitError(f"git merge-tree failed: {git.reason(done.stderr)}")
        oid, *lines = done.stdout.split("\0")
        stages: dict[str, dict[int, Entry]] = {}
        for line in lines:
            if line:
                meta, path = line.split("\t", 1)
                mode, blob, stage = meta.split(" ")
                stages.setdefault(path, {})[int(stage)] = Entry(mode, blob)
        return parse_tree(self.git("ls-tree", "-r", "-z", oid)), stages

    def renames(self, old: Tree, side: Tree) -> dict[str, str]:
        """Find the files that one side moved.

        Args:
            old: Before.
            side: After.

        Returns:
            Old paths by new ones.
        """
        if not (old.keys() - side.keys() and side.keys() - old.keys()):
            return {}
        listed = self.git(
            *("diff-tree", "-r", "-z", "--find-renames", "--diff-filter=R", "--name-status"),
            *(self.tree(old), self.tree(side)),
        )
        words = [word for word in listed.split("\0") if word]
        return {words[at + 2]: words[at + 1] for at in range(0, len(words) - 2, 3)}

    def hand_over(self, oids: Iterable[str], repository: Repository) -> None:
        """Copy objects to the user's repository, where nothing refers to them yet.

        Args:
            oids: Blobs and trees.
            repository: The repository.
        """
        wanted = "".join(f"{oid}\n" for oid in dict.fromkeys(oids))
        if not wanted:
            return
        pack = self.folder / "quickset"
        name = self.git("pack-objects", "--quiet", "--local", "--revs", str(pack), stdin=wanted)
        with Path(f"{pack}-{name}.pack").open("rb") as file:
            git.feed("unpack-objects", "-q", cwd=repository.top, file=file)


@contextmanager
def workshop(repository: Repository) -> Iterator[Workshop]:
    """Open a workshop beside a repository; it is gone when the context ends.

    Args:
        repository: The user's.

    Yields:
        The workshop.
    """
    with tempfile.TemporaryDirectory(prefix="quickset-", ignore_cleanup_errors=True) as folder:
        yield Workshop(Path(folder).resolve() / "merge.git", repository.objects(), repository.head)


def merge(
    work: Workshop,
    repository: Repository,
    *,
    old: Path,
    new: Path,
    label: str,
    once: Callable[[str], bool],
) -> Merged:
    """Merge a new render into what the user has committed.

    Args:
        work: Where to merge.
        repository: The user's.
        old: The render of what the service was made of.
        new: The render of what it is to become.
        label: What conflict markers call the new render.
        once: Whether a path belongs to the service once it is there.

    Returns:
        What to change.

    Raises:
        RefusedError: The answers are not committed.
    """
    head = repository.tree()
    if ANSWERS_FILE not in head:
        raise RefusedError(f"{repository.prefix}{ANSWERS_FILE} is not committed; commit it first. Nothing was touched.")
    if missing := work.missing(head):
        repository.fetch(missing)
    was, will = work.add(old), work.add(new)
    filters = Filters(work, repository)
    filters.store(was, will, head)
    result = Merged()
    _leave_nested(was, will, head, result.notes)
    _seed_once(was, will, head, once, result.notes)
    user = _relevant(repository, was, will, head)
    # Before line endings and formatting are adapted: they follow a file to where either side moved it.
    matches = _matches(was, will, user, _Moves(work.renames(was, user), work.renames(was, will)))
    base, template = dict(was), dict(will)
    filters.open(base, template, user, matches)
    base, template = _adapt(work, repository, (base, template, {**head, **user}), matches, result.notes)
    merged, stages = work.merge(base, template, user, label)
    while met := _met(merged, head, user):
        user |= met
        merged, stages = work.merge(base, template, user, label)
    moves = _Moves(work.renames(base, user), work.renames(base, template))
    away = base.keys() - user.keys() - set(moves.by_user.values())
    verdicts = _verdicts(merged, stages, away, moves)
    _leave_ignored(repository, head, merged, stages, (moves, result.notes))
    filters.close(merged, stages)
    _record(result, head, merged, stages, user)
    gone = {source for target, source in moves.by_template.items() if source in result.after and target in merged}
    for path in result.after:
        change = _change(path, result, was, will, moves)
        if change.kind == "conflict":
            change = replace(change, note=_reason(work, path, result.stages[path]))
        if path not in gone or change.kind != "removed":
            result.changes.append(change)
    result.changes += [Change(path, kind) for path, kind in sorted(verdicts.items()) if path not in result.after]
    result.changes.sort(key=lambda change: change.path)
    return result


def _leave_nested(was: Tree, will: dict[str, Entry], head: dict[str, Entry], notes: list[str]) -> None:
    """Leave services alone that lie in folders of this one: they have answers, and nothing of this one's render."""
    folders = {
        path.removesuffix(ANSWERS_FILE)
        for path in head
        if path.endswith(f"/{ANSWERS_FILE}") and not any(own.startswith(path.removesuffix(ANSWERS_FILE)) for own in was)
    }
    for folder in sorted(folders):
        for path in [path for path in will if f"{path}/".startswith(folder) or folder.startswith(f"{path}/")]:
            del will[path]
            notes.append(f"{path} was left out: {folder} is another service.")
        for path in [path for path in head if path.startswith(folder)]:
            del head[path]


def _met(merged: Tree, everything: Tree, user: Tree) -> dict[str, Entry]:
    """Find files that were left out of a merge and yet lie where its result does."""
    reached = merged.keys() | {up for path in merged for up in _folders(path)}
    return {
        path: everything[path]
        for path in everything.keys() - user.keys()
        if path in reached or any(up in merged for up in _folders(path))
    }


def _folders(path: str) -> Iterator[str]:
    """Name the folders that a path lies in; plain text, because a repository may have many thousands of paths."""
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _leave_ignored(
    repository: Repository,
    head: Tree,
    merged: dict[str, Entry],
    stages: dict[str, dict[int, Entry]],
    told: tuple[_Moves, list[str]],
) -> None:
    """Leave ignored paths alone; what the template would move to one stays where it is."""
    moves, notes = told
    for path in sorted(repository.ignored(path for path in merged.keys() | stages.keys() if path not in head)):
        merged.pop(path, None)
        stages.pop(path, None)
        source = moves.by_template.get(path)
        if source is not None and source in head:
            merged[source] = head[source]
            stages.pop(source, None)
            notes.append(f"{source} stays where it is: you ignore its new place, {path}.")


def _record(result: Merged, head: Tree, merged: Tree, stages: Mapping[str, dict[int, Entry]], user: Tree) -> None:
    """Note each path where the merge differs from what is committed."""
    for path in sorted(merged.keys() | user.keys() | stages.keys()):
        before, after = head.get(path), merged.get(path)
        if before != after or path in stages:
            result.after[path] = after
        if before and path in result.after:
            result.before[path] = before
        if path in stages:
            result.stages[path] = stages[path]


def _seed_once(
    was: dict[str, Entry], will: dict[str, Entry], head: Tree, once: Callable[[str], bool], notes: list[str]
) -> None:
    """Take files that belong to the service out of the merge, by making both renders agree on them."""
    seeds = [path for path in sorted(was.keys() | will.keys()) if once(path)]
    # One chain has one beginning: a first migration of another name does not take the place of the one that ran.
    replaced = any(str(PurePosixPath(path).parent) == MIGRATIONS and path not in was for path in seeds)
    for path in seeds:
        folder = str(PurePosixPath(path).parent)
        siblings = [name for name in head if name.startswith(f"{folder}/") and name.endswith(".py") and name != path]
        in_chain = folder == MIGRATIONS and siblings
        if path in was and path in will:
            will[path] = was[path]
        elif path in will and (path in head or in_chain):
            del will[path]
            if path not in head:
                notes.append(f"{path} was left out: the service has migrations of its own.")
        elif (
            path in was
            and path in head
            and (head[path] != was[path] or in_chain or (folder == MIGRATIONS and replaced))
        ):
            will[path] = was[path]
            notes.append(f"{path} stays: it is the service's own.")


def _matches(was: Tree, will: Tree, user: Tree, moves: _Moves) -> list[adapt.Match]:
    """Find each file of the renders on all three sides."""
    mine = {source: path for path, source in moves.by_user.items()}
    theirs = {source: path for path, source in moves.by_template.items()}
    found = [adapt.Match(path, theirs.get(path, path), mine.get(path, path)) for path in was]
    found += [adapt.Match(path, path, path) for path in will.keys() - was.keys() - moves.by_template.keys()]
    return [match for match in sorted(found) if match.user in user]


def _adapt(
    work: Workshop,
    repository: Repository,
    trees: tuple[Tree, Tree, Tree],
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
    adapt.dependencies(sides)
    adapt.answers_file(sides, ANSWERS_FILE)
    notes += sides.notes
    results = []
    for tree, original, side in zip((was, will), before, (sides.old, sides.new), strict=True):
        fresh = work.write({path: content for path, content in side.items() if content != original[path]})
        results.append({**tree, **{path: Entry(tree[path].mode, oid) for path, oid in fresh.items()}})
    return results[0], results[1]


def _reason(work: Workshop, path: str, stages: Mapping[int, Entry]) -> str:
    """Say of a conflict whether formatting is its reason."""
    if stages.keys() != {OLD, _YOURS, THEIRS} or not all(map(is_file, stages.values())):
        return ""
    names = {str(stage): entry for stage, entry in stages.items()}
    contents = work.read(names, names)
    return formatting.reason(path, *(contents[str(stage)] for stage in (OLD, THEIRS, _YOURS)))


def _styles(work: Workshop, tree: Tree, prefix: str, above: Callable[[str], bytes | None]) -> Styles:
    """Read how files are formatted from the settings in a tree and in the folders above it."""

    def read(path: str) -> bytes | None:
        name = path.removeprefix(prefix)
        if not path.startswith(prefix):
            return above(path)
        return work.read(tree, [name])[name] if is_file(tree.get(name)) else None

    return Styles(read, prefix)


def _relevant(repository: Repository, base: Tree, template: Tree, user: Tree) -> dict[str, Entry]:
    """Leave out the files of the user's that cannot have anything to do with the template's.

    What is left is small, however large the repository, and no look-alike of a deleted file is taken for it.
    """
    missing = base.keys() - user.keys()
    own = user.keys() - base.keys() - template.keys()
    taken = {path for path in base.keys() | template.keys() if path in user}
    known = base.keys() | template.keys()
    parents = {up for path in known for up in _folders(path)}
    in_way = {path for path in own if path in parents or any(up in known for up in _folders(path))}
    candidates: set[str] = set()
    if missing:
        blobs, names = {base[path].oid for path in missing}, {PurePosixPath(path).name for path in missing}
        suffixes = {PurePosixPath(path).suffix for path in missing}
        sure = {path for path in own if user[path].oid in blobs or PurePosixPath(path).name in names}
        alike = {path for path in own if PurePosixPath(path).suffix in suffixes}
        candidates = sure | alike if len(alike) <= _MANY else sure
        candidates -= _older(repository, missing, candidates)
    return {path: entry for path, entry in user.items() if path in taken | in_way | candidates}


def _older(repository: Repository, missing: Iterable[str], candidates: Iterable[str]) -> set[str]:
    """Find candidates that stood beside every missing file when it was deleted: none of those was moved there."""
    candidates = set(candidates)
    file = f"{repository.prefix}{ANSWERS_FILE}"
    since = repository.git("log", "-1", "--format=%H", repository.head, "--", file)
    if not candidates or not since:
        return set()
    gone = [repository.prefix + path for path in missing]
    options = ("--no-renames", "--diff-filter=D", "--name-only", "--format=%x00%H", "-z", f"{since}..{repository.head}")
    listed = repository.git("log", *options, "--", *gone, env={"GIT_LITERAL_PATHSPECS": "1"})
    deleted: dict[str, str] = {}
    commit = ""
    for word in (word.strip("\n") for word in listed.split("\0")):
        if re.fullmatch(r"[0-9a-f]{40,64}", word):
            commit = word
        elif word:
            deleted.setdefault(word, commit)
    if deleted.keys() != set(gone):
        return set()
    for commit in set(deleted.values()):
        names = repository.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", f"{commit}^")
        candidates &= {name.removeprefix(repository.prefix) for name in names.split("\0")}
    return candidates


def _verdicts(
    merged: dict[str, Entry],
    stages: dict[str, dict[int, Entry]],
    away: set[str],
    moves: _Moves,
) -> dict[str, Kind]:
    """Settle what is no conflict: what the user deleted stays so, what the template gave up stays the user's."""
    found: dict[str, Kind] = {}
    for path, sides in list(stages.items()):
        source = moves.by_template.get(path, path)
        if _YOURS not in sides and THEIRS in sides and source in away:
            del stages[path]
            merged.pop(path, None)
            found[path] = "deleted"
        elif THEIRS not in sides and _YOURS in sides and OLD in sides:
            del stages[path]
            merged[path] = sides[_YOURS]
            found[path] = "kept"
    return found


def _change(
    path: str,
    result: Merged,
    was: Tree,
    will: Tree,
    moves: _Moves,
) -> Change:
    before, after = result.before.get(path), result.after[path]
    if path in result.stages:
        return Change(path, "conflict")
    if after is None:
        return Change(path, "removed")
    if before is None:
        if path in moves.by_template:
            return Change(path, "moved", moves.by_template[path])
        return Change(path, "added")
    origin = moves.by_user.get(path, path)
    note = f"you moved it from {origin}" if origin != path else ""
    if before == was.get(origin) and after in (will.get(origin), will.get(path)):
        return Change(path, "changed", note=note)
    return Change(path, "merged", note=note)


def all_objects(merged: Merged) -> list[str]:
    """Name every object that a merge's result needs.

    Args:
        merged: The result.

    Returns:
        Their names.
    """
    entries = [entry for entry in merged.after.values() if entry]
    entries += [entry for sides in merged.stages.values() for entry in sides.values()]
    return [entry.oid for entry in entries if entry.mode != _SUBMODULE]
