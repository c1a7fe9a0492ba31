"""What git makes of files on their way into a repository and out of it: filters, encodings, keywords, line endings.

A render holds files as a work tree has them, and a commit holds them as `git add` stores them. So both renders are
compared and committed as `git add` would store them. What both sides changed is merged as the work tree has it, since
an encrypted file or the pointer to a large one has no lines to merge.

The programs are those of the user's own settings. A template can name a filter and bring none.
"""

import subprocess
from collections.abc import Collection, Iterable, MutableMapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from quickset import git
from quickset.updating.adapt import Match
from quickset.updating.repository import Entry, Repository, Tree, is_file

if TYPE_CHECKING:
    from quickset.updating.scratch import Workshop

Files = MutableMapping[str, Entry]

_ATTRIBUTES = ("filter", "ident", "working-tree-encoding")
_FILE = ".gitattributes"
_NONE = ("unspecified", "unset")


class Filters:
    """Brings files into the form in which they are stored, and back for the merge.

    Args:
        work: Where to merge.
        repository: The user's, whose attributes and settings count.
    """

    def __init__(self, work: "Workshop", repository: Repository) -> None:
        self._work = work
        self._repository = repository
        self._old: dict[str, Entry] = {}
        self._new: dict[str, Entry] = {}
        self._yours: dict[str, str] = {}
        self._open: set[str] = set()
        self._after: Path | None = None
        """A work tree that holds the attributes of after the merge, where it changes them."""

    def store(self, was: Files, will: Files, head: Tree) -> None:
        """Bring both renders into the form in which `git add` would store their files.

        Args:
            was: The render of what the service was made of; changed in place.
            will: The render of what it is to become; changed in place.
            head: What the user has committed.
        """
        # What the template leaves alone needs no program to run, and stays as it is.
        moving = {path for path in was.keys() | will.keys() if was.get(path) != will.get(path)}
        self._lay_out([path for path in moving if PurePosixPath(path).name == _FILE], was, will, head)
        for tree, plain, after in ((was, self._old, None), (will, self._new, self._after)):
            named = self._named(moving, after)
            contents = self._work.read(tree, [path for path in moving if is_file(tree.get(path))])
            ending = [path for path, content in contents.items() if b"\r\n" in content and path not in named]
            # Git leaves line endings alone that are committed already.
            kept = self._work.read(head, [path for path in ending if is_file(head.get(path))])
            chosen = named.union(path for path in ending if b"\r\n" not in kept.get(path, b""))
            for path, content in contents.items():
                if path in chosen:
                    oid = self._stored(path, content, after)
                    if oid != tree[path].oid:
                        plain[path] = tree[path]
                        tree[path] = Entry(tree[path].mode, oid)
        for path in [path for path in self._old if head.get(path) == self._old[path]]:
            # Committed before the filter was set, and not stored again as long as nothing changes.
            was[path] = self._old.pop(path)
            if self._new.get(path) == was[path]:
                will[path] = self._new.pop(path)

    def readable(self, was: Tree, user: Tree) -> tuple[Tree, Tree]:
        """Bring files that the user may have moved into the form that the work tree has, in which likeness shows.

        Args:
            was: The old render as stored.
            user: What the user has committed.

        Returns:
            Both, with those files replaced.
        """
        gone = {path: entry for path, entry in self._old.items() if path not in user}
        # Each costs a run of the filter, and a large file may have to be fetched.
        suffixes = {PurePosixPath(path).suffix for path in gone}
        own = [
            path
            for path, entry in user.items()
            if path not in was and PurePosixPath(path).suffix in suffixes and is_file(entry)
        ]
        found = {path: self._smudged(path, user[path].oid) for path in self._named(own)}
        oids = self._work.write({path: content for path, content in found.items() if content is not None})
        return {**was, **gone}, {**user, **{path: Entry(user[path].mode, oid) for path, oid in oids.items()}}

    def open(self, base: Files, template: Files, user: Files, matches: Iterable[Match]) -> None:
        """Bring files that all sides have in different states into the form that the work tree has.

        Args:
            base: The old render as stored; changed in place.
            template: The new one; changed in place.
            user: What the user has committed; changed in place.
            matches: Where each file is on the three sides.
        """
        differing = [
            match
            for match in matches
            if is_file(template.get(match.new))
            and is_file(user[match.user])
            and user[match.user] not in (base.get(match.old), template[match.new])
            and base.get(match.old) != template[match.new]
        ]
        paths = [match.user for match in differing]
        named = self._named(paths) | self._named(paths, self._after)
        for match in differing:
            mine = user[match.user]
            content = self._smudged(match.user, mine.oid) if match.user in named else None
            if content is None:
                continue
            for side, path, plain in ((base, match.old, self._old), (template, match.new, self._new)):
                if path in plain:
                    side[path] = plain[path]
            oid = self._work.write({match.user: content})[match.user]
            user[match.user] = Entry(mine.mode, oid)
            self._yours[oid] = mine.oid
            self._open.update(match)

    def close(self, merged: Files, stages: MutableMapping[str, dict[int, Entry]]) -> None:
        """Bring what was merged back into the form in which it is stored; the user's side is as committed.

        Args:
            merged: The files that result; changed in place.
            stages: The sides of each conflict; changed in place.
        """
        for path in self._open & merged.keys():
            merged[path] = self._closed(path, merged[path])
        for path in self._open & stages.keys():
            stages[path] = {stage: self._closed(path, entry) for stage, entry in stages[path].items()}

    def notes(self, untouched: Collection[str]) -> list[str]:
        """Say what to do where the template's attributes are other ones for files that the update does not touch.

        Args:
            untouched: Those files.

        Returns:
            A note, or none.
        """
        if not self._after or not (self._named(untouched) ^ self._named(untouched, self._after)):
            return []
        return [f"{_FILE} changes how git stores files that are there already: run `git add --renormalize .`."]

    def _closed(self, path: str, entry: Entry) -> Entry:
        if not is_file(entry):
            return entry
        content = self._work.read({path: entry}, [path])[path]
        return Entry(entry.mode, self._yours.get(entry.oid) or self._stored(path, content, self._after))

    def _lay_out(self, names: list[str], was: Tree, will: Tree, head: Tree) -> None:
        """Write files of attributes that the template changes into a work tree of their own, with all others."""
        if not names:
            return
        old, new, mine = ({path: tree[path] for path in names if path in tree} for tree in (was, will, head))
        merged, stages = self._work.merge(old, new, mine, "attributes")
        if stages:
            # Until that conflict is resolved, the user's attributes hold.
            return
        others = {path: entry for path, entry in head.items() if PurePosixPath(path).name == _FILE} | merged
        contents = dict.fromkeys(names, b"") | self._work.read(others, others)
        placed = {self._repository.prefix + path: content for path, content in contents.items()}
        for folder in PurePosixPath(self._repository.prefix, _FILE).parents:
            above = str(folder / _FILE)
            if above not in placed and (content := self._repository.committed(above)):
                placed[above] = content
        self._after = self._work.folder / "attributes"
        for path, content in placed.items():
            file = self._after / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def _named(self, paths: Collection[str], after: Path | None = None) -> set[str]:
        """Find the files that attributes name for a conversion."""
        if not paths:
            return set()
        prefix = self._repository.prefix
        stdin = "".join(f"{prefix}{path}\0" for path in paths)
        listed = self._git("check-attr", "-z", "--stdin", *_ATTRIBUTES, stdin=stdin, after=after).stdout.split("\0")
        found = zip(listed[::3], listed[2::3], strict=False)
        return {path.removeprefix(prefix) for path, value in found if value not in _NONE}

    def _stored(self, path: str, content: bytes, after: Path | None = None) -> str:
        """Store a file as `git add` would, apart from the user's objects."""
        command = ("hash-object", "-w", "--stdin", f"--path={self._repository.prefix}{path}")
        stdin = content.decode(errors="surrogateescape")
        done = self._git(*command, stdin=stdin, after=after)
        if done.returncode and after:
            # A program that is named by its path from the top is found from there only.
            done = self._git(*command, stdin=stdin)
        if done.returncode:
            named = self._git("check-attr", "-z", "filter", "--", f"{self._repository.prefix}{path}", after=after)
            why = git.filter_reason(done.stderr, git.filters_in(named.stdout))
            raise git.GitError(f"{path} cannot be stored: {why}. Nothing was touched.")
        return done.stdout.strip()

    def _smudged(self, path: str, oid: str) -> bytes | None:
        """Read a committed file as the work tree has it; None where that fails."""
        done = self._git("cat-file", "--filters", f"--path={self._repository.prefix}{path}", oid)
        return None if done.returncode else done.stdout.encode(errors="surrogateescape")

    def _git(self, *args: str, stdin: str = "", after: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run git under the user's settings; what it writes goes into the repository of the merge."""
        env = git.stored_in(self._work.folder / "objects", self._work.objects)
        if after:
            env |= {"GIT_DIR": str(self._repository.git_dir), "GIT_WORK_TREE": str(after)}
        cwd = after or self._repository.top
        return git.attempt(*args, cwd=cwd, stdin=stdin, env=env, config={"core.safecrlf": "false"}, theirs=True)
