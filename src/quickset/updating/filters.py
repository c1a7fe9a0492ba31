"""Convert files as git does it: filters, encodings, keywords and line endings.

A render has the files of a work tree, and a commit has them as `git add` stores them. So both renders are compared and
committed as `git add` would store them. A file that both sides changed is merged in the form of the work tree. An
encrypted file, or the pointer to a large one, has no lines to merge.

The programs are those of the user's settings. A template can name a filter, and cannot bring its program.
"""

import subprocess
from collections.abc import Collection, Iterable, MutableMapping
from pathlib import Path, PurePosixPath

from quickset import git
from quickset.updating.adapt import FilePaths
from quickset.updating.repository import Repository
from quickset.updating.scratch import ScratchRepository
from quickset.updating.tree import Entry, Tree, is_file

Files = MutableMapping[str, Entry]

_ATTRIBUTES = ("filter", "ident", "working-tree-encoding")
_FILE = ".gitattributes"
_NONE = ("unspecified", "unset")


class Filters:
    """Clean and smudge files, which is how git calls the conversion to the stored form and back.

    Args:
        scratch: The repository of the merge.
        repository: The user's repository, with the attributes and settings.
    """

    def __init__(self, scratch: ScratchRepository, repository: Repository) -> None:
        self._scratch = scratch
        self._repository = repository
        self._old: dict[str, Entry] = {}
        self._new: dict[str, Entry] = {}
        self._committed: dict[str, str] = {}
        self._smudged_paths: set[str] = set()
        self._after: Path | None = None
        """The folder with the attributes after the merge, if the merge changes them."""

    def clean_renders(self, old_tree: Files, new_tree: Files, head: Tree) -> None:
        """Clean both renders, as `git add` would do.

        Args:
            old_tree: The render of the service's version. It is changed in place.
            new_tree: The render of the new version. It is changed in place.
            head: The committed files.
        """
        # A file that the template does not change needs no filter.
        moving = {path for path in old_tree.keys() | new_tree.keys() if old_tree.get(path) != new_tree.get(path)}
        self._write_attributes([path for path in moving if PurePosixPath(path).name == _FILE], old_tree, new_tree, head)
        for tree, plain, after in ((old_tree, self._old, None), (new_tree, self._new, self._after)):
            named = self._with_attributes(moving, after)
            contents = self._scratch.read_files(tree, [path for path in moving if is_file(tree.get(path))])
            ending = [path for path, content in contents.items() if b"\r\n" in content and path not in named]
            # git keeps line endings that are committed already.
            kept = self._scratch.read_files(head, [path for path in ending if is_file(head.get(path))])
            chosen = named.union(path for path in ending if b"\r\n" not in kept.get(path, b""))
            for path, content in contents.items():
                if path in chosen:
                    oid = self._clean(path, content, after)
                    if oid != tree[path].oid:
                        plain[path] = tree[path]
                        tree[path] = Entry(tree[path].mode, oid)
        for path in [path for path in self._old if head.get(path) == self._old[path]]:
            # The file was committed before the filter was set, and is not changed.
            old_tree[path] = self._old.pop(path)
            if self._new.get(path) == old_tree[path]:
                new_tree[path] = self._new.pop(path)

    def smudge_missing(self, old_tree: Tree, user: Tree) -> tuple[Tree, Tree]:
        """Smudge files that the user may have moved, because only then their contents can be compared.

        Args:
            old_tree: The old render, cleaned.
            user: The committed files.

        Returns:
            Both trees, with those files smudged.
        """
        gone = {path: entry for path, entry in self._old.items() if path not in user}
        # Each file costs a run of its filter, and may have to be fetched.
        suffixes = {PurePosixPath(path).suffix for path in gone}
        own = [
            path
            for path, entry in user.items()
            if path not in old_tree and PurePosixPath(path).suffix in suffixes and is_file(entry)
        ]
        found = {path: self._smudge(path, user[path].oid) for path in self._with_attributes(own)}
        oids = self._scratch.write_blobs({path: content for path, content in found.items() if content is not None})
        return {**old_tree, **gone}, {**user, **{path: Entry(user[path].mode, oid) for path, oid in oids.items()}}

    def smudge_edited(self, base: Files, template: Files, user: Files, matches: Iterable[FilePaths]) -> None:
        """Smudge the files that differ on all sides.

        Args:
            base: The old render, cleaned. It is changed in place.
            template: The new render, cleaned. It is changed in place.
            user: The committed files. They are changed in place.
            matches: The paths of each file on the three sides.
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
        named = self._with_attributes(paths) | self._with_attributes(paths, self._after)
        for match in differing:
            mine = user[match.user]
            content = self._smudge(match.user, mine.oid) if match.user in named else None
            if content is None:
                continue
            for side, path, plain in ((base, match.old, self._old), (template, match.new, self._new)):
                if path in plain:
                    side[path] = plain[path]
            oid = self._scratch.write_blobs({match.user: content})[match.user]
            user[match.user] = Entry(mine.mode, oid)
            self._committed[oid] = mine.oid
            self._smudged_paths.update(match)

    def clean_result(self, merged: Files, stages: MutableMapping[str, dict[int, Entry]]) -> None:
        """Clean the merged files. The user's side becomes the committed file again.

        Args:
            merged: The merged files. They are changed in place.
            stages: The sides of each conflict. They are changed in place.
        """
        for path in self._smudged_paths & merged.keys():
            merged[path] = self._cleaned(path, merged[path])
        for path in self._smudged_paths & stages.keys():
            stages[path] = {stage: self._cleaned(path, entry) for stage, entry in stages[path].items()}

    def notes(self, untouched: Collection[str]) -> list[str]:
        """Say what to do if the template changes the attributes of files that the update does not change.

        Args:
            untouched: The files that the update does not change.

        Returns:
            A note, or nothing.
        """
        if not self._after or not (self._with_attributes(untouched) ^ self._with_attributes(untouched, self._after)):
            return []
        return [f"{_FILE} changes how git stores files that are there already: run `git add --renormalize .`."]

    def _cleaned(self, path: str, entry: Entry) -> Entry:
        if not is_file(entry):
            return entry
        content = self._scratch.read_files({path: entry}, [path])[path]
        return Entry(entry.mode, self._committed.get(entry.oid) or self._clean(path, content, self._after))

    def _write_attributes(self, names: list[str], old_tree: Tree, new_tree: Tree, head: Tree) -> None:
        """Write the attributes after the merge to a folder, if the template changes them."""
        if not names:
            return
        old, new, mine = ({path: tree[path] for path in names if path in tree} for tree in (old_tree, new_tree, head))
        merged, stages = self._scratch.merge_trees(old, new, mine, "attributes")
        if stages:
            # The user's attributes apply until that conflict is resolved.
            return
        others = {path: entry for path, entry in head.items() if PurePosixPath(path).name == _FILE} | merged
        contents = dict.fromkeys(names, b"") | self._scratch.read_files(others, others)
        placed = {self._repository.prefix + path: content for path, content in contents.items()}
        for folder in PurePosixPath(self._repository.prefix, _FILE).parents:
            above = str(folder / _FILE)
            if above not in placed and (content := self._repository.committed(above)):
                placed[above] = content
        self._after = self._scratch.folder / "attributes"
        for path, content in placed.items():
            file = self._after / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def _with_attributes(self, paths: Collection[str], after: Path | None = None) -> set[str]:
        """Select the files for which attributes name a conversion."""
        if not paths:
            return set()
        prefix = self._repository.prefix
        stdin = "".join(f"{prefix}{path}\0" for path in paths)
        listed = self._git("check-attr", "-z", "--stdin", *_ATTRIBUTES, stdin=stdin, after=after).stdout.split("\0")
        found = zip(listed[::3], listed[2::3], strict=False)
        return {path.removeprefix(prefix) for path, value in found if value not in _NONE}

    def _clean(self, path: str, content: bytes, after: Path | None = None) -> str:
        """Store a file as `git add` would, in the repository of the merge. Return its object name."""
        command = ("hash-object", "-w", "--stdin", f"--path={self._repository.prefix}{path}")
        stdin = content.decode(errors="surrogateescape")
        done = self._git(*command, stdin=stdin, after=after)
        if done.returncode and after:
            # A program with a relative path is only found from the top of the repository.
            done = self._git(*command, stdin=stdin)
        if done.returncode:
            named = self._git("check-attr", "-z", "filter", "--", f"{self._repository.prefix}{path}", after=after)
            why = git.filter_reason(done.stderr, git.filters_in(named.stdout))
            raise git.GitError(f"{path} cannot be stored: {why}. Nothing was touched.")
        return done.stdout.strip()

    def _smudge(self, path: str, oid: str) -> bytes | None:
        """Smudge a committed file. Return None if that fails."""
        done = self._git("cat-file", "--filters", f"--path={self._repository.prefix}{path}", oid)
        return None if done.returncode else done.stdout.encode(errors="surrogateescape")

    def _git(self, *args: str, stdin: str = "", after: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run git with the user's settings. It writes objects to the repository of the merge."""
        env = git.stored_in(self._scratch.folder / "objects", self._scratch.objects)
        if after:
            env |= {"GIT_DIR": str(self._repository.git_dir), "GIT_WORK_TREE": str(after)}
        cwd = after or self._repository.top
        return git.attempt(*args, cwd=cwd, stdin=stdin, env=env, config={"core.safecrlf": "false"}, user_settings=True)
