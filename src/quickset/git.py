"""The git calls, in an environment that neither the caller's repository nor the user's settings disturb."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from quickset.errors import QuicksetError

# What a hook or an alias of an outer repository leaves behind (`git rev-parse --local-env-vars`, less the
# GIT_CONFIG_COUNT family, which is appended to).
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)

_CONFIG = {
    "commit.gpgSign": "false",
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    # A user's global ignore list must not leave files out of the first commit.
    "core.excludesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "protocol.file.allow": "always",
    "tag.gpgSign": "false",
}

# Git would else make up a name and an address from those of the user and the machine.
NO_GUESS = {"user.useConfigOnly": "true"}


class GitError(QuicksetError):
    """A git command failed."""


def environment(config: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the environment in which git runs.

    Args:
        config: Settings beside the usual ones, such as an `insteadOf`.

    Returns:
        The process's environment, without an outer repository's variables, with the settings appended.
    """
    env = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    count = env.get("GIT_CONFIG_COUNT", "")
    start = int(count) if count.isdigit() else 0
    settings = {**_CONFIG, **(config or {})}
    for number, (key, value) in enumerate(settings.items(), start):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    env["GIT_CONFIG_COUNT"] = str(start + len(settings))
    # Messages are read by this program; prompts would hang it.
    env |= {"LC_ALL": "C", "GIT_TEMPLATE_DIR": "", "GIT_TERMINAL_PROMPT": "0"}
    return env


def require() -> None:
    """Fail clearly without git.

    Raises:
        QuicksetError: git is not on PATH.
    """
    if shutil.which("git") is None:
        raise QuicksetError("git is not on PATH; quickset needs it: install git and try again.")


def attempt(
    *args: str,
    cwd: Path | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run git, whatever comes of it.

    Args:
        *args: The arguments.
        cwd: Where to run.
        stdin: What git reads.
        env: Variables beside the usual ones.
        config: Settings beside the usual ones.

    Returns:
        The finished process.

    Raises:
        QuicksetError: git is not on PATH.
    """
    require()
    return subprocess.run(
        ["git", *args],
        cwd=cwd,
        input=stdin,
        env=environment(config) | dict(env or {}),
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def run(
    *args: str,
    cwd: Path | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
) -> str:
    """Run git and return what it printed, stripped.

    Args:
        *args: The arguments.
        cwd: Where to run.
        stdin: What git reads.
        env: Variables beside the usual ones.
        config: Settings beside the usual ones.

    Returns:
        Its standard output.

    Raises:
        GitError: git failed; the message is git's own.
        QuicksetError: git is not on PATH.
    """
    done = attempt(*args, cwd=cwd, stdin=stdin, env=env, config=config)
    if done.returncode:
        raise GitError(f"git {args[0]} failed: {reason(done.stderr)}")
    return done.stdout.strip()


def reason(output: str) -> str:
    """Pick the line of a failed command's output that says why.

    Args:
        output: What it wrote on standard error.

    Returns:
        The first line that git marks as an error, since the others follow from it; else the last that is not empty.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("fatal:", "error:"))]
    chosen = (marked or lines[-1:] or ["no reason given"])[0]
    return chosen.removeprefix("fatal:").removeprefix("error:").strip()


def inside_work_tree(folder: Path) -> bool:
    """Tell whether a folder belongs to a work tree.

    A repository that git refuses to read (another owner's, a broken one) counts: nothing is nested into it.

    Args:
        folder: An existing folder.

    Returns:
        Whether it does.
    """
    done = attempt("rev-parse", "--is-inside-work-tree", cwd=folder)
    if done.returncode:
        return "not a git repository" not in done.stderr
    return done.stdout.strip() == "true"


def has_identity() -> bool:
    """Tell whether the user set a name and an address for commits; git's guesses do not count.

    Returns:
        Whether both are there, for author and committer.
    """
    idents = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
    return all(attempt("var", ident, config=NO_GUESS).returncode == 0 for ident in idents)


def settings() -> dict[str, str]:
    """Read the user's settings.

    Returns:
        Values by name, as in `user.name`; names are in lower case. Empty when git is not there.
    """
    if shutil.which("git") is None:
        return {}
    # Of a name that is set several times the last one counts.
    entries = attempt("config", "--list", "-z").stdout.split("\0")
    return dict(entry.split("\n", 1) for entry in entries if "\n" in entry)
