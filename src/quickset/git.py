"""The git calls, in an environment that neither the caller's repository nor the user's settings disturb."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from quickset.errors import FULL, QuicksetError, why_full

# What a hook or an alias of an outer repository leaves behind (`git rev-parse --local-env-vars`, less the
# GIT_CONFIG_COUNT family, which is appended to).
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DEFAULT_HASH",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)

# What no call may do: run a program of the user's or of a repository's, or tidy up behind our back.
_SAFE = {
    "commit.gpgSign": "false",
    "core.fsmonitor": "false",
    "diff.orderFile": os.devnull,
    "log.showSignature": "false",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.file.allow": "always",
    "tag.gpgSign": "false",
}
_CONFIG = _SAFE | {
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    # A user's global ignore list must not leave files out of the first commit.
    "core.excludesFile": os.devnull,
}

# Git would else make up a name and an address from those of the user and the machine.
NO_GUESS = {"user.useConfigOnly": "true"}

_FILTER = re.compile(r"^(?:fatal|error): (?P<path>.+): (?:clean|smudge) filter '?(?P<name>.+?)'? failed$", re.MULTILINE)
# Of a filter that is a long-running program, git may name only these.
_FILTER_SIGNS = ("external filter", "initialization for subprocess", "packet write", "the remote end hung up")


class GitError(QuicksetError):
    """A git command failed."""


def environment(config: Mapping[str, str] | None = None, *, theirs: bool = False) -> dict[str, str]:
    """Build the environment in which git runs.

    Args:
        config: Settings beside the usual ones, such as an `insteadOf`.
        theirs: The user's settings decide what a file in the work tree looks like, and what is ignored.

    Returns:
        The process's environment, without an outer repository's variables, with the settings appended.
    """
    env = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    count = env.get("GIT_CONFIG_COUNT", "")
    start = int(count) if count.isdigit() else 0
    settings = {**(_SAFE if theirs else _CONFIG), **(config or {})}
    for number, (key, value) in enumerate(settings.items(), start):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    env["GIT_CONFIG_COUNT"] = str(start + len(settings))
    # Messages are read by this program; prompts would hang it; an index is not written for what only looks at it.
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TEMPLATE_DIR": "", "GIT_TERMINAL_PROMPT": "0"}
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
    theirs: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run git, whatever comes of it.

    Args:
        *args: The arguments.
        cwd: Where to run.
        stdin: What git reads.
        env: Variables beside the usual ones.
        config: Settings beside the usual ones.
        theirs: As for `environment`.

    Returns:
        The finished process.

    Raises:
        QuicksetError: git is not on PATH.
    """
    require()
    done = subprocess.run(
        ["git", *args],
        cwd=cwd,
        input=stdin.encode(errors="surrogateescape"),
        env=environment(config, theirs=theirs) | dict(env or {}),
        capture_output=True,
        check=False,
    )
    # Python's own text mode would turn the line endings of a file's contents.
    out, told = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, told)


def run(
    *args: str,
    cwd: Path | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    theirs: bool = False,
) -> str:
    """Run git and return what it printed, without the last line break.

    Args:
        *args: The arguments.
        cwd: Where to run.
        stdin: What git reads.
        env: Variables beside the usual ones.
        config: Settings beside the usual ones.
        theirs: As for `environment`.

    Returns:
        Its standard output.

    Raises:
        GitError: git failed; the message is git's own.
        QuicksetError: git is not on PATH.
    """
    done = attempt(*args, cwd=cwd, stdin=stdin, env=env, config=config, theirs=theirs)
    if done.returncode:
        raise failure(args[0], done.stderr, (env or {}).get("GIT_INDEX_FILE") or cwd or Path.cwd())
    return done.stdout.removesuffix("\n")


def failure(command: str, output: str, place: str | Path) -> GitError:
    """Say why a command failed, and of a full disk where.

    Args:
        command: The command of git.
        output: What it wrote on standard error.
        place: Where it writes.

    Returns:
        The error.
    """
    full = why_full(tempfile.gettempdir())
    full = full or next((f"{why}: {place}" for number, why in FULL.items() if os.strerror(number) in output), None)
    # Where files are checked out, git gives no reason; a temporary clone of Copier's is gone by now, and has made room.
    hint = f"; is the disk full? ({place})" if "unable to write file" in output else ""
    return GitError(full or f"git {command} failed: {reason(output)}{hint}")


def feed(*args: str, cwd: Path, file: IO[bytes], objects: Path, others: Path) -> None:
    """Run git on the contents of a file.

    Args:
        *args: The arguments.
        cwd: Where to run.
        file: What git reads.
        objects: The folder to which it writes objects.
        others: A folder of objects that it can refer to.

    Raises:
        GitError: git failed.
    """
    env = environment(theirs=True) | stored_in(objects, others)
    done = subprocess.run(["git", *args], cwd=cwd, stdin=file, env=env, capture_output=True, check=False)
    if done.returncode:
        raise failure(args[0], done.stderr.decode(errors="replace"), others)


def stored_in(objects: Path, others: Path) -> dict[str, str]:
    """Say in which folder objects are stored.

    Args:
        objects: The folder.
        others: A folder of objects that are only read.

    Returns:
        Variables for git.
    """
    alternates = os.fsdecode(quoted(others))
    return {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates}


def read_blobs(names: Iterable[str], *, env: Mapping[str, str]) -> dict[str, bytes]:
    """Read the contents of several blobs at once.

    Args:
        names: The blobs' object names.
        env: Says in which repository.

    Returns:
        The contents by name.

    Raises:
        GitError: One is not there.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    done = subprocess.run(
        ["git", "cat-file", "--batch"],
        input="".join(f"{name}\n" for name in wanted).encode(),
        env=environment() | dict(env),
        capture_output=True,
        check=False,
    )
    found, rest = {}, memoryview(done.stdout)
    for name in wanted:
        head, _, _ = bytes(rest[:200]).partition(b"\n")
        fields = head.split()
        if len(fields) != 3:  # noqa: PLR2004 -- name, type, size
            raise GitError(f"git cat-file failed: there is no object {name}.")
        start, size = len(head) + 1, int(fields[2])
        found[name] = bytes(rest[start : start + size])
        rest = rest[start + size + 1 :]
    return found


def quoted(path: Path) -> bytes:
    """Write a path as git reads it in its own files, whatever bytes it holds.

    Args:
        path: The path.

    Returns:
        The path in quotes, with escapes.
    """
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return b'"%b"' % b"".join(bytes([byte]) if byte in plain else b"\\%03o" % byte for byte in os.fsencode(path))


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


def filters_in(listing: str) -> dict[str, str]:
    """Read what `git check-attr -z filter` printed.

    Args:
        listing: Its output.

    Returns:
        The names of filters by path.
    """
    words = listing.split("\0")
    return {
        path: name for path, name in zip(words[::3], words[2::3], strict=False) if name not in ("unspecified", "unset")
    }


def filter_reason(output: str, filters: Mapping[str, str]) -> str:
    """Say which filter failed for which file, and what its program said.

    Args:
        output: What a command wrote on standard error that runs filters.
        filters: The filters that it may have run, by path.

    Returns:
        The reason; git's own where no filter failed.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if found := _FILTER.search(output):
        filters = {found["path"]: found["name"]}
    elif not any(sign in output for sign in _FILTER_SIGNS):
        filters = {}
    if not filters:
        return reason(output)
    shown = " or ".join(f"'{name}' for {path}" for path, name in filters.items())
    program = f" ({lines[0]})" if not lines[0].startswith(("fatal:", "error:")) else ""
    return f"the filter {shown} failed{program}"


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


def is_sparse(folder: Path) -> bool:
    """Tell whether a work tree is a sparse checkout.

    Args:
        folder: A folder of it.

    Returns:
        Whether it is.
    """
    return attempt("config", "--type=bool", "core.sparseCheckout", cwd=folder).stdout.strip() == "true"


def has_identity(folder: Path | None = None) -> bool:
    """Tell whether the user set a name and an address for commits; git's guesses do not count.

    Args:
        folder: Where the commit is to be; a repository may have an identity of its own.

    Returns:
        Whether both are there, for author and committer.
    """
    idents = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
    return all(attempt("var", ident, cwd=folder, config=NO_GUESS).returncode == 0 for ident in idents)


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
