"""Call git, without the settings of the user or of another repository unless they are wanted."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from quickset.errors import FULL, QuicksetError, why_full

# The variables that a hook or an alias of another repository sets (`git rev-parse --local-env-vars`). The settings of
# GIT_CONFIG_COUNT are kept, and more are appended.
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

# No call may run a program of the user's or of a repository, or clean up in the background.
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
    # A global ignore list must not leave files out of the first commit.
    "core.excludesFile": os.devnull,
}

# Otherwise git makes up a name and an address from those of the user and the machine.
NO_GUESS = {"user.useConfigOnly": "true"}

_FILTER = re.compile(r"^(?:fatal|error): (?P<path>.+): (?:clean|smudge) filter '?(?P<name>.+?)'? failed$", re.MULTILINE)
# For a filter that is a long-running program, git may name only these.
_FILTER_SIGNS = ("external filter", "initialization for subprocess", "packet write", "the remote end hung up")


class GitError(QuicksetError):
    """A git command failed."""


def environment(config: Mapping[str, str] | None = None, *, user_settings: bool = False) -> dict[str, str]:
    """Build the environment in which git runs.

    Args:
        config: Additional settings, such as an `insteadOf`.
        user_settings: Use the user's settings for line endings, filters and ignored files.

    Returns:
        The variables of this process without those of another repository, and with the settings.
    """
    env = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    count = env.get("GIT_CONFIG_COUNT", "")
    start = int(count) if count.isdigit() else 0
    settings = {**(_SAFE if user_settings else _CONFIG), **(config or {})}
    for number, (key, value) in enumerate(settings.items(), start):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    env["GIT_CONFIG_COUNT"] = str(start + len(settings))
    # This program parses the messages. A prompt would block it. Commands that only read must not write an index.
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TEMPLATE_DIR": "", "GIT_TERMINAL_PROMPT": "0"}
    return env


def require() -> None:
    """Require git.

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
    user_settings: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run git, and return also if it fails.

    Args:
        *args: The arguments.
        cwd: The folder to run in.
        stdin: The standard input.
        env: Additional variables.
        config: Additional settings.
        user_settings: Use the user's settings for line endings, filters and ignored files.

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
        env=environment(config, user_settings=user_settings) | dict(env or {}),
        capture_output=True,
        check=False,
    )
    # Python's text mode would convert the line endings of file contents.
    out, err = (stream.decode(errors="surrogateescape") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def run(
    *args: str,
    cwd: Path | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    user_settings: bool = False,
) -> str:
    """Run git, and return its output without the last line break.

    Args:
        *args: The arguments.
        cwd: The folder to run in.
        stdin: The standard input.
        env: Additional variables.
        config: Additional settings.
        user_settings: Use the user's settings for line endings, filters and ignored files.

    Returns:
        The standard output.

    Raises:
        GitError: git failed. The message is that of git.
        QuicksetError: git is not on PATH.
    """
    done = attempt(*args, cwd=cwd, stdin=stdin, env=env, config=config, user_settings=user_settings)
    if done.returncode:
        raise failure(args[0], done.stderr, (env or {}).get("GIT_INDEX_FILE") or cwd or Path.cwd())
    return done.stdout.removesuffix("\n")


def failure(command: str, output: str, place: str | Path) -> GitError:
    """Build the error for a failed command. If a disk is full, the message says which.

    Args:
        command: The command of git.
        output: The standard error of the command.
        place: The file or folder to which the command writes.

    Returns:
        The error.
    """
    full = why_full(tempfile.gettempdir())
    full = full or next((f"{why}: {place}" for number, why in FULL.items() if os.strerror(number) in output), None)
    # git gives no reason when a checkout fails. A temporary clone of Copier's is removed by now, and freed space.
    hint = f"; is the disk full? ({place})" if "unable to write file" in output else ""
    return GitError(full or f"git {command} failed: {reason(output)}{hint}")


def feed(*args: str, cwd: Path, file: IO[bytes], objects: Path, others: Path) -> None:
    """Run git with a file as its standard input.

    Args:
        *args: The arguments.
        cwd: The folder to run in.
        file: The standard input.
        objects: The folder in which objects are stored.
        others: A folder of objects that are only read.

    Raises:
        GitError: git failed.
    """
    env = environment(user_settings=True) | stored_in(objects, others)
    done = subprocess.run(["git", *args], cwd=cwd, stdin=file, env=env, capture_output=True, check=False)
    if done.returncode:
        raise failure(args[0], done.stderr.decode(errors="replace"), others)


def stored_in(objects: Path, others: Path) -> dict[str, str]:
    """Return the variables for the folders of objects.

    Args:
        objects: The folder in which objects are stored.
        others: A folder of objects that are only read.

    Returns:
        The variables for git.
    """
    alternates = os.fsdecode(quoted(others))
    return {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates}


def read_blobs(names: Iterable[str], *, env: Mapping[str, str]) -> dict[str, bytes]:
    """Read the contents of several blobs at once.

    Args:
        names: The object names.
        env: The variables that name the repository.

    Returns:
        The contents by object name.

    Raises:
        GitError: An object does not exist.
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
    """Quote a path as in git's own files. The path may contain any bytes.

    Args:
        path: The path.

    Returns:
        The path in quotes, with escapes.
    """
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    return b'"%b"' % b"".join(bytes([byte]) if byte in plain else b"\\%03o" % byte for byte in os.fsencode(path))


def reason(output: str) -> str:
    """Find the reason in the output of a failed command.

    Args:
        output: The standard error of the command.

    Returns:
        The first line that git marks as an error, because later ones follow from it. Otherwise the last line.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("fatal:", "error:"))]
    chosen = (marked or lines[-1:] or ["no reason given"])[0]
    return chosen.removeprefix("fatal:").removeprefix("error:").strip()


def filters_in(listing: str) -> dict[str, str]:
    """Parse the output of `git check-attr -z filter`.

    Args:
        listing: The output.

    Returns:
        The names of filters by path.
    """
    words = listing.split("\0")
    return {
        path: name for path, name in zip(words[::3], words[2::3], strict=False) if name not in ("unspecified", "unset")
    }


def filter_reason(output: str, filters: Mapping[str, str]) -> str:
    """Describe which filter failed for which file, with the message of its program.

    Args:
        output: The standard error of a command that runs filters.
        filters: The filters that may have run, by path.

    Returns:
        The reason. If no filter failed, it is that of git.
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
    """Return whether a folder is in a work tree.

    A repository that git cannot read also counts, such as one of another owner. Nothing is nested in it.

    Args:
        folder: An existing folder.

    Returns:
        Whether it is in a work tree.
    """
    done = attempt("rev-parse", "--is-inside-work-tree", cwd=folder)
    if done.returncode:
        return "not a git repository" not in done.stderr
    return done.stdout.strip() == "true"


def is_sparse(folder: Path) -> bool:
    """Return whether a work tree is a sparse checkout.

    Args:
        folder: A folder of the work tree.

    Returns:
        Whether it is sparse.
    """
    return attempt("config", "--type=bool", "core.sparseCheckout", cwd=folder).stdout.strip() == "true"


def has_identity(folder: Path | None = None) -> bool:
    """Return whether the user set a name and an address for commits. Values that git guesses do not count.

    Args:
        folder: The folder of the repository, which may have its own identity.

    Returns:
        Whether author and committer are set.
    """
    idents = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
    return all(attempt("var", ident, cwd=folder, config=NO_GUESS).returncode == 0 for ident in idents)


def settings() -> dict[str, str]:
    """Read the user's settings.

    Returns:
        The values by name in lower case, such as `user.name`. Empty without git.
    """
    if shutil.which("git") is None:
        return {}
    # If a name is set several times, the last value counts.
    entries = attempt("config", "--list", "-z").stdout.split("\0")
    return dict(entry.split("\n", 1) for entry in entries if "\n" in entry)
