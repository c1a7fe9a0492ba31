"""Commit a prepared update to a branch of its own."""

from dataclasses import replace
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.shell import join
from quickset.signals import temporary_folder
from quickset.updating.merge import needed_objects
from quickset.updating.plan import PreparedUpdate
from quickset.updating.repository import Repository
from quickset.updating.result import UpdateResult

_TRAILER = "Quickset"


def commit_to_branch(update: PreparedUpdate, branch: str, message: str) -> UpdateResult:
    """Commit an update to a branch. The index, the work tree and the current branch do not change.

    Args:
        update: The update.
        branch: The branch to create, or to create again.
        message: The commit message.

    Returns:
        The result of the update. If there are conflicts, no branch is created, and a note says so.

    Raises:
        UsageError: The name of the branch is not valid.
        RefusedError: The branch is checked out, or has commits that quickset did not make.
        QuicksetError: Git knows no identity for the commit.
    """
    repository, result = update.repository, update.result
    if result.conflicts:
        note = "No branch was made: a commit cannot hold conflicts. Run `quickset update` here, without --branch."
        return replace(result, notes=(*result.notes, note))
    before = _require_own(repository, branch)
    update.scratch.copy_objects_to(needed_objects(update.merged), repository)
    tree = _write_tree(update)
    if not git.has_identity(repository.top):
        raise QuicksetError(
            "git has no name and email address for you: set user.name and user.email with `git config`."
        )
    # They identify a branch of this service that has no commits by anyone else.
    trailers = {"Template": result.after, "Service": repository.prefix or ".", "Tree": tree}
    text = "".join(f"{_TRAILER}-{name}: {value}\n" for name, value in trailers.items())
    made = repository.git("commit-tree", tree, "-p", repository.head, "-F", "-", stdin=f"{message.rstrip()}\n\n{text}")
    name = f"refs/heads/{branch}"
    repository.git("update-ref", "--no-deref", "-m", f"quickset: {result.title}", name, made, before)
    push = (join("git", "push", "origin", branch),) if repository.git("remote") else ()
    return replace(result, branch=branch, commit=made, next_steps=push)


def _write_tree(update: PreparedUpdate) -> str:
    """Write the tree of the updated repository, and return its object name."""
    repository = update.repository
    with temporary_folder() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        repository.git("read-tree", repository.head, env=env)
        null = "0" * len(repository.head)
        lines = [
            f"{after.mode} {after.oid}\t{repository.prefix}{path}\0"
            if after
            else f"0 {null}\t{repository.prefix}{path}\0"
            for path, after in sorted(update.merged.after.items(), key=lambda item: item[1] is not None)
        ]
        repository.git("update-index", "-z", "--index-info", stdin="".join(lines), env=env)
        return repository.git("write-tree", env=env)


def _require_own(repository: Repository, branch: str) -> str:
    """Refuse a branch of the user's. Return the commit of the branch, or an empty text if there is none."""
    if git.attempt("check-ref-format", "--branch", branch).returncode:
        raise UsageError(f"--branch: '{branch}' is not a valid name for a branch.")
    name = f"refs/heads/{branch}"
    tip = git.attempt("rev-parse", "--verify", "--quiet", name, cwd=repository.top).stdout.strip()
    if not tip:
        return ""
    worktrees = repository.git("worktree", "list", "--porcelain").splitlines()
    symbolic = git.attempt("symbolic-ref", "--quiet", name, cwd=repository.top).returncode == 0
    if f"branch {name}" in worktrees or symbolic:
        raise RefusedError(f"--branch: '{branch}' is checked out; use another name. Nothing was touched.")
    fields = ("%T", *(f"%(trailers:key={_TRAILER}-{key},valueonly,separator=)" for key in ("Tree", "Service")))
    listed = repository.git("log", f"--format={'%x00'.join(fields)}", f"{repository.head}..{tip}")
    for line in filter(None, listed.split("\n")):
        tree, recorded, service = line.split("\0")
        if tree != recorded or service != (repository.prefix or "."):
            raise RefusedError(
                f"--branch: '{branch}' has commits that quickset did not make; use another name. Nothing was touched."
            )
    return tip
