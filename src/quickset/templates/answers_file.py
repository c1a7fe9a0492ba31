"""Find and read the file in which a service records its answers."""

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from quickset import git
from quickset.errors import QuicksetError, UsageError, os_reason
from quickset.shell import join
from quickset.templates import remote
from quickset.templates.strict_yaml import RepeatedKeyError, kind_of, load_yaml, one_line

ANSWERS_FILE = ".copier-answers.yml"
# The first and the last line of a conflict.
_MARKER = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
# If a project has several templates, each has its own answers file.
_ANSWERS_NAME = re.compile(r"\.copier-answers.*\.ya?ml")


def is_answers_file(name: str) -> bool:
    """Return whether Copier uses a name for answers files.

    Args:
        name: The name of a file, without its folder.

    Returns:
        Whether it is the name of an answers file.
    """
    return _ANSWERS_NAME.fullmatch(name) is not None


def find_answers_file(folder: Path, given: str = "") -> str:
    """Find the answers file of a service.

    Args:
        folder: The service.
        given: The name that the user gave. If empty, the file is searched for.

    Returns:
        The name: the usual one, or that of the only answers file.

    Raises:
        UsageError: There is no answers file, or there are several.
        QuicksetError: The folder cannot be read.
    """
    if given:
        name = PurePosixPath(given)
        if name.is_absolute() or ".." in name.parts:
            raise UsageError(f"--answers-file: '{given}' needs to be a path inside the service.")
        if not (folder / name).is_file():
            _require_checked_out(folder, str(name))
            raise UsageError(f"--answers-file: there is no file {folder / name}.")
        return str(name)
    try:
        if (folder / ANSWERS_FILE).exists():
            return ANSWERS_FILE
        found = sorted(file.name for file in folder.iterdir() if is_answers_file(file.name))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is not a service: there is no such folder.") from None
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{folder} has {' and '.join(found)}; choose one with --answers-file.")
    _require_checked_out(folder)
    raise UsageError(
        f"{folder} is not a service: it has no {ANSWERS_FILE}. If another file has its answers, give that with "
        "--answers-file."
    )


def _require_checked_out(folder: Path, given: str = "") -> None:
    """Report an answers file that is in the repository, but not in the sparse checkout."""
    if not folder.is_dir() or shutil.which("git") is None:
        return
    for entry in git.attempt("ls-files", "-t", "-z", cwd=folder).stdout.split("\0"):
        tag, _, name = entry.partition(" ")
        if tag != "S" or not (name == given or (not given and is_answers_file(name))):
            continue
        top, prefix = (
            git.run("rev-parse", option, cwd=folder).removesuffix("/")
            for option in ("--show-toplevel", "--show-prefix")
        )
        cone = git.attempt("config", "--type=bool", "core.sparseCheckoutCone", cwd=folder).stdout.strip() == "true"
        wanted = prefix if cone else f"/{prefix}/{name}".replace("//", "/")
        command = join("git", "-C", top, "sparse-checkout", "add", wanted)
        raise UsageError(
            f"{folder / name} is in the repository, but the sparse checkout leaves it out. Run `{command}` first."
        )


def read_answers(folder: Path, name: str = "") -> dict[str, Any]:
    """Read the recorded answers of a service.

    Args:
        folder: The service.
        name: The answers file. If empty, it is searched for.

    Returns:
        The answers, with `_commit` and `_src_path`. If `_src_path` is a folder of this machine, it is absolute.

    Raises:
        UsageError: The folder has no answers file.
        QuicksetError: The file is damaged.
    """
    file = folder / (name or find_answers_file(folder))
    try:
        loaded = load_yaml(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is not a service: it has no {name}.") from None
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    except RepeatedKeyError as error:
        raise QuicksetError(f"{file} is damaged: {error}. Delete the wrong one and commit that.") from error
    except UnicodeDecodeError as error:
        raise QuicksetError(f"{file} is damaged: it is not UTF-8 text. Restore it from git.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if _MARKER.search(file.read_text(encoding="utf-8", errors="replace")):
            raise QuicksetError(f"{file} is damaged: it has conflict markers. Resolve them and commit.") from error
        raise QuicksetError(f"{file} is damaged: {one_line(error)}. Restore it from git.") from error
    if damage := _damage(loaded):
        raise QuicksetError(f"{file} is damaged: {damage}")
    recorded: dict[str, Any] = loaded
    return recorded | {"_src_path": remote.resolve_location(str(recorded["_src_path"]), folder)}


def _damage(loaded: Any) -> str:
    """Describe the damage of an answers file, and what to do. Return an empty text if there is none."""
    if loaded is None:
        return "it is empty. Restore it from git."
    if not isinstance(loaded, dict):
        return f"it is {kind_of(loaded)}, and not answers by name. Restore it from git."
    needed = ("_src_path", "_commit")
    for key in needed:
        if isinstance(loaded.get(key), (bool, dict, list)):
            return f"its {key} is {kind_of(loaded[key])}, and not text. Restore it from git."
    if missing := [key for key in needed if not loaded.get(key)]:
        return (
            f"it has no {' and no '.join(missing)}. Restore them from git, or write them: where the template is, and "
            "which release the service is made from. Outside of git, a template has none."
        )
    return ""
