"""A temporary repository in which trees are merged, next to the user's objects."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from quickset import git
from quickset.errors import writing
from quickset.templates.history import IDENTITY
from quickset.updating.repository import Entry, Repository, Tree, parse_tree

YOURS = "yours"

OLD, MINE, THEIRS = 1, 2, 3

_SHA1 = 40  # hexadecimal digits

SUBMODULE = "160000"

_CONFIG = {
    # Each file is merged at one place; what was moved is found before.
    "merge.renames": "false",
    "merge.directoryRenames": "false",
    "merge.conflictStyle": "merge",
    # Not the user's driver: it is a program, or drops a conflict.
    "merge.default": "text",
    "merge.renormalize": "false",
    "pack.packSizeLimit": "0",
    "diff.renames": "true",
    "core.quotePath": "false",
}


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
        names = "".join(f"{entry.oid}\n" for entry in tree.values() if entry.mode != SUBMODULE)
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
            raise git.failure("merge-tree", done.stderr, self.folder)
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
        # Without a limit of the files to compare; empty ones are all alike.
        options = ("--find-renames", "-l0", "--no-rename-empty", "--diff-filter=R", "--name-status")
        listed = self.git(
            *("diff-tree", "-r", "-z", *options),
            *(self.tree(old), self.tree(side)),
        )
        words = [word for word in listed.split("\0") if word]
        return {words[at + 2]: words[at + 1] for at in range(0, len(words) - 2, 3)}

    def grep(self, entries: Tree, texts: Iterable[str]) -> set[str]:
        """Find the files that hold one of some texts; binary ones are left out.

        Args:
            entries: Where to look.
            texts: The texts.

        Returns:
            The paths.
        """
        stdin = "".join(f"{text}\n" for text in texts)
        if not stdin:
            return set()
        options = ("-I", "-z", "--name-only", "--full-name", "--fixed-strings", "-f", "-")
        done = git.attempt(
            *("grep", *options, tree := self.tree(entries)),
            cwd=self.folder,
            stdin=stdin,
            env=self._env,
            config=_CONFIG,
        )
        if done.returncode not in (0, 1):
            raise git.GitError(f"git grep failed: {git.reason(done.stderr)}")
        return {line.removeprefix(f"{tree}:") for line in done.stdout.split("\0") if line}

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
        # Aside first, so that a failure leaves nothing; git itself removes a folder of that name when it tidies up.
        with tempfile.TemporaryDirectory(prefix="tmp_objdir-quickset-", dir=self.objects) as folder:
            with Path(f"{pack}-{name}.pack").open("rb") as file:
                git.feed(
                    "unpack-objects", "-q", cwd=repository.top, file=file, objects=Path(folder), others=self.objects
                )
            for made in Path(folder).glob("??"):
                if not (self.objects / made.name).exists():
                    made.rename(self.objects / made.name)
                for object_file in made.glob("*"):
                    object_file.rename(self.objects / made.name / object_file.name)


@contextmanager
def workshop(repository: Repository) -> Iterator[Workshop]:
    """Open a workshop beside a repository; it is gone when the context ends.

    Args:
        repository: The user's.

    Yields:
        The workshop.
    """
    with tempfile.TemporaryDirectory(prefix="quickset-", ignore_cleanup_errors=True) as folder:
        with writing(Path(folder)):
            work = Workshop(Path(folder).resolve() / "merge.git", repository.objects(), repository.head)
        yield work
