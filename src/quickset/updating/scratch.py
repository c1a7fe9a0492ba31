"""A temporary repository in which trees are merged. It reads the user's objects, and changes nothing of the user's."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from quickset import git
from quickset.errors import writing
from quickset.signals import temporary_folder
from quickset.templates.history import IDENTITY
from quickset.updating.repository import Repository
from quickset.updating.tree import Entry, Tree, parse_tree

YOURS = "yours"
# The stages of a conflict in git's index: the old render, the user's file, the new render.
BASE, OURS, THEIRS = 1, 2, 3
SUBMODULE = "160000"

_SHA1 = 40  # hexadecimal digits
_CONFIG = {
    # Moved files are matched before the merge, so that all sides of a file have one path.
    "merge.renames": "false",
    "merge.directoryRenames": "false",
    "merge.conflictStyle": "merge",
    # The user's merge driver is a program, or hides conflicts.
    "merge.default": "text",
    "merge.renormalize": "false",
    "pack.packSizeLimit": "0",
    "diff.renames": "true",
    "core.quotePath": "false",
}


class ScratchRepository:
    """A bare repository for the merge, without the user's settings and refs.

    Args:
        folder: The folder to create.
        objects: The folder of the user's objects, which are only read.
        head: A commit of the user's.
    """

    def __init__(self, folder: Path, objects: Path, head: str) -> None:
        self.folder = folder
        self.objects = objects
        self._env = {"GIT_DIR": str(folder), "GIT_INDEX_FILE": str(folder / "index")}
        kind = "sha256" if len(head) > _SHA1 else "sha1"
        git.run("init", "--quiet", "--bare", "--initial-branch=main", f"--object-format={kind}", str(folder))
        (folder / "objects" / "info" / "alternates").write_bytes(git.quoted(objects) + b"\n")
        # Contents are merged without filters and conversions, whatever the attributes of the renders say.
        (folder / "info").mkdir(exist_ok=True)
        (folder / "info" / "attributes").write_text("* -text -filter -ident -working-tree-encoding\n", encoding="utf-8")

    def git(self, *args: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run git in this repository.

        Args:
            *args: The arguments.
            stdin: The standard input.
            env: Additional variables.

        Returns:
            The standard output.
        """
        return git.run(*args, cwd=self.folder, stdin=stdin, env=self._env | dict(env or {}), config=_CONFIG)

    def add_folder(self, folder: Path) -> dict[str, Entry]:
        """Store the files of a rendered folder.

        Args:
            folder: The folder.

        Returns:
            The files.
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

    def write_blobs(self, contents: Mapping[str, bytes]) -> dict[str, str]:
        """Store contents.

        Args:
            contents: The contents by path.

        Returns:
            The object names by path.
        """
        if not contents:
            return {}
        with temporary_folder(parent=self.folder) as folder:
            names = []
            for number, content in enumerate(contents.values()):
                file = Path(folder, str(number))
                file.write_bytes(content)
                names.append(f"{file}\n")
            oids = self.git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="".join(names)).split()
        return dict(zip(contents, oids, strict=True))

    def read_files(self, tree: Tree, paths: Iterable[str]) -> dict[str, bytes]:
        """Read the contents of files.

        Args:
            tree: The tree.
            paths: The paths of the files in it.

        Returns:
            The contents by path.
        """
        wanted = {path: tree[path].oid for path in paths}
        contents = git.read_blobs(wanted.values(), env=self._env)
        return {path: contents[oid] for path, oid in wanted.items()}

    def missing_objects(self, tree: Tree) -> list[str]:
        """Find the objects that a partial clone has not fetched yet. In this repository git cannot fetch them.

        Args:
            tree: The user's files.

        Returns:
            The object names.
        """
        names = "".join(f"{entry.oid}\n" for entry in tree.values() if entry.mode != SUBMODULE)
        listed = self.git("cat-file", "--batch-check=%(objectname)", stdin=names)
        return sorted({line.removesuffix(" missing") for line in listed.splitlines() if line.endswith(" missing")})

    def write_tree(self, entries: Tree) -> str:
        """Store a tree.

        Args:
            entries: The files.

        Returns:
            The object name.
        """
        self.git("read-tree", "--empty")
        lines = "".join(f"{entry.mode} {entry.oid}\t{path}\0" for path, entry in entries.items())
        self.git("update-index", "-z", "--index-info", stdin=lines)
        return self.git("write-tree")

    def merge_trees(
        self, old: Tree, new: Tree, user: Tree, label: str
    ) -> tuple[dict[str, Entry], dict[str, dict[int, Entry]]]:
        """Merge three trees.

        Args:
            old: The merge base.
            new: The template's side.
            user: The user's side.
            label: The name of the template's side in conflict markers.

        Returns:
            The merged files, and the sides of each conflict by stage.
        """
        base = self.git("commit-tree", self.write_tree(old), "-m", "old", env=IDENTITY)
        for name, side in ((YOURS, user), (label, new)):
            # The common parent makes the old render the merge base in every version of git.
            commit = self.git("commit-tree", self.write_tree(side), "-p", base, "-m", name, env=IDENTITY)
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

    def find_renames(self, old: Tree, side: Tree) -> dict[str, str]:
        """Find the files that were moved between two trees.

        Args:
            old: The tree before.
            side: The tree after.

        Returns:
            The old paths by new paths.
        """
        if not (old.keys() - side.keys() and side.keys() - old.keys()):
            return {}
        # Compare any number of files. Empty files are all equal, so they are left out.
        options = ("--find-renames", "-l0", "--no-rename-empty", "--diff-filter=R", "--name-status")
        listed = self.git(
            *("diff-tree", "-r", "-z", *options),
            *(self.write_tree(old), self.write_tree(side)),
        )
        words = [word for word in listed.split("\0") if word]
        return {words[at + 2]: words[at + 1] for at in range(0, len(words) - 2, 3)}

    def grep(self, entries: Tree, texts: Iterable[str]) -> set[str]:
        """Find the text files that contain one of some texts.

        Args:
            entries: The files to search.
            texts: The texts.

        Returns:
            The paths.
        """
        stdin = "".join(f"{text}\n" for text in texts)
        if not stdin:
            return set()
        options = ("-I", "-z", "--name-only", "--full-name", "--fixed-strings", "-f", "-")
        done = git.attempt(
            *("grep", *options, tree := self.write_tree(entries)),
            cwd=self.folder,
            stdin=stdin,
            env=self._env,
            config=_CONFIG,
        )
        if done.returncode not in (0, 1):
            raise git.GitError(f"git grep failed: {git.reason(done.stderr)}")
        return {line.removeprefix(f"{tree}:") for line in done.stdout.split("\0") if line}

    def copy_objects_to(self, oids: Iterable[str], repository: Repository) -> None:
        """Copy objects to the user's repository. Nothing refers to them there yet.

        Args:
            oids: The names of blobs and trees.
            repository: The user's repository.
        """
        wanted = "".join(f"{oid}\n" for oid in dict.fromkeys(oids))
        if not wanted:
            return
        pack = self.folder / "quickset"
        name = self.git("pack-objects", "--quiet", "--local", "--revs", str(pack), stdin=wanted)
        # A temporary folder first, so that a failure leaves nothing. git removes leftover folders of that name.
        with temporary_folder("tmp_objdir-quickset-", self.objects) as folder:
            with Path(f"{pack}-{name}.pack").open("rb") as file:
                git.feed("unpack-objects", "-q", cwd=repository.top, file=file, objects=folder, others=self.objects)
            for made in folder.glob("??"):
                if not (self.objects / made.name).exists():
                    made.rename(self.objects / made.name)
                for object_file in made.glob("*"):
                    object_file.rename(self.objects / made.name / object_file.name)


@contextmanager
def scratch_repository(repository: Repository) -> Iterator[ScratchRepository]:
    """Create a scratch repository that exists until the context ends.

    Args:
        repository: The user's repository.

    Yields:
        The scratch repository.
    """
    with temporary_folder() as folder:
        with writing(folder):
            scratch = ScratchRepository(folder.resolve() / "merge.git", repository.objects(), repository.head)
        yield scratch
