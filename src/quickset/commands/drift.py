"""Find the files of a service that differ from a fresh render of its recorded version."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickset.signals import temporary_folder
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.templates.questions import load_questions

if TYPE_CHECKING:
    from quickset.templates.render import Renderer


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A template file that differs from its render."""

    path: str
    kind: str
    """`edited` or `deleted`."""


def differences(
    folder: Path, recorded: Mapping[str, Any], work: "Renderer", answers_file: str = ANSWERS_FILE
) -> tuple[Drift, ...]:
    """Compare a service with a fresh render of it.

    Files that are not in the template, and files that it writes once, belong to the service and are not compared.

    Args:
        folder: The service.
        recorded: The recorded answers.
        work: Renders the recorded version of the template.
        answers_file: The answers file of the service.

    Returns:
        The files that differ, sorted.

    Raises:
        UsageError: The template does not accept a recorded answer.
        QuicksetError: The template cannot be rendered.
        OSError: A file of the service cannot be read.
    """
    questions = load_questions(work.template.config())
    given = {name: value for name, value in recorded.items() if name in questions and not questions[name].hidden}
    found = []
    with temporary_folder() as scratch:
        fresh = Path(scratch, folder.resolve().name)
        rendered = work.render(fresh, given, answers_file=answers_file)
        for file in sorted(fresh.rglob("*")):
            name = file.relative_to(fresh).as_posix()
            if (file.is_dir() and not file.is_symlink()) or name == answers_file:
                continue
            if not rendered.is_written_once(name) and (kind := _difference(file, folder / name)):
                found.append(Drift(path=name, kind=kind))
    return tuple(found)


def _difference(fresh: Path, own: Path) -> str | None:
    try:
        mode = own.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "deleted"
    if fresh.is_symlink():
        return None if own.is_symlink() and own.readlink() == fresh.readlink() else "edited"
    # A link, a folder or a pipe at this path is not read.
    if not stat.S_ISREG(mode):
        return "edited"
    new, old = own.read_bytes(), fresh.read_bytes()
    # git may have checked the file out with other line endings.
    same = new == old or new.replace(b"\r\n", b"\n") == old.replace(b"\r\n", b"\n")
    return None if same else "edited"
