"""Commit an update to a branch of its own."""

import tempfile
from dataclasses import replace
from pathlib import Path

from quickset import git
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.shell import join
from quickset.updating import merge
from quickset.updating.plan import Planned
from quickset.updating.repository import Repository
from quickset.updating.result import Result

_TRAILER = "Quickset"


def commit(plan: Planned, branch: str, message: str) -> Result:
    """Commit a plan on a branch of its own; index, work tree and the branch that is checked out stay as they are.

    Args:
        plan: The plan.
        branch: The branch, made or made anew.
        message: The commit's.

    Returns:
        What was done.

    Raises:
        UsageError: The branch cannot be called like that.
        ConflictError: There are conflicts, and a commit cannot hold them; no branch was made.
        RefusedError: The branch holds commits that quickset did not make.
    """
    repository, merged = plan.repository, plan.merged
    if plan.result.conflicts:
        note = "No branch was made: a commit cannot hold conflicts. Run `quickset update` here, without --branch."
        return replace(plan.result, notes=(*plan.result.notes, note))
    before = _require_own(repository, branch)
    plan.work.hand_over(merge.all_objects(merged), repository)
    with tempfile.TemporaryDirectory(prefix="quickset-") as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        repository.git("read-tree", repository.head, env=env)
        null = "0" * len(repository.head)
        lines = [
            f"{after.mode} {after.oid}\t{repository.prefix}{path}\0"
            if after
            else f"0 {null}\t{repository.prefix}{path}\0"
            for path, after in sorted(merged.after.items(), key=lambda item: item[1] is not None)
        ]
        repository.git("update-index", "-z", "--index-info", stdin="".join(lines), env=env)
        tree = repository.git("write-tree", env=env)
    if not git.has_identity(repository.top):
        raise QuicksetError("git knows no name and address of yours: set user.name and user.email with `git config`.")
    # By these the branch is known for one of this service, on which nobody has gone on.
    trailers = {"Template": plan.result.after, "Service": repository.prefix or ".", "Tree": tree}
    text = "".join(f"{_TRAILER}-{name}: {value}\n" for name, value in trailers.items())
    made = repository.git("commit-tree", tree, "-p", repository.head, "-F", "-", stdin=f"{message.rstrip()}\n\n{text}")
    name = f"refs/heads/{branch}"
    repository.git("update-ref", "--no-deref", "-m", f"quickset: {plan.result.title}", name, made, before)
    push = (join("git", "push", "origin", branch),) if repository.git("remote") else ()
    return replace(plan.result, branch=branch, commit=made, next_steps=push)


def _require_own(repository: Repository, branch: str) -> str:
    """Refuse a branch that is the user's; give its tip, or nothing where there is no such branch."""
    if git.attempt("check-ref-format", "--branch", branch).returncode:
        raise UsageError(f"--branch: '{branch}' is no name for a branch.")
    name = f"refs/heads/{branch}"
    tip = git.attempt("rev-parse", "--verify", "--quiet", name, cwd=repository.top).stdout.strip()
    if not tip:
        return ""
    worktrees = repository.git("worktree", "list", "--porcelain").splitlines()
    symbolic = git.attempt("symbolic-ref", "--quiet", name, cwd=repository.top).returncode == 0
    if f"branch {name}" in worktrees or symbolic:
        raise RefusedError(f"--branch: '{branch}' is checked out; take another name. Nothing was touched.")
    fields = ("%T", *(f"%(trailers:key={_TRAILER}-{key},valueonly,separator=)" for key in ("Tree", "Service")))
    listed = repository.git("log", f"--format={'%x00'.join(fields)}", f"{repository.head}..{tip}")
    for line in filter(None, listed.split("\n")):
        tree, recorded, service = line.split("\0")
        if tree != recorded or service != (repository.prefix or "."):
            raise RefusedError(
                f"--branch: '{branch}' holds commits of somebody's; take another name. Nothing was touched."
            )
    return tip
