"""The errors of quickset with their exit codes, and the messages for errors of the system."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import ClassVar

FULL: Mapping[int, str] = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_PROBE = 65536  # bytes


class QuicksetError(Exception):
    """A step failed. The message is one clear line for the user."""

    exit_code: ClassVar[int] = 5


class UsageError(QuicksetError):
    """An option, an answer or an answers file is wrong."""

    exit_code = 2


class AnswerError(UsageError):
    """The template refuses an answer.

    Args:
        question: The name of the question.
        reason: The reason in the words of the template.
    """

    def __init__(self, question: str, reason: str) -> None:
        super().__init__(f"{question}: {reason}")
        self.question = question
        self.reason = reason


class ConflictError(QuicksetError):
    """The user must resolve conflicts first."""

    exit_code = 3


class RefusedError(QuicksetError):
    """The command would change files of the user's, so it did nothing."""

    exit_code = 4


def os_reason(error: OSError) -> str:
    """Describe an error of the operating system.

    Args:
        error: The error.

    Returns:
        The reason, with the file if it is known.
    """
    reason = FULL.get(error.errno or 0) or error.strerror or str(error)
    # In a copy, the second file is the one to write.
    name = (error.filename2 if error.errno in FULL else None) or error.filename
    return f"{reason}: {name}" if name else reason


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add a path to errors that have none. The system names a file when it is opened, but not when it is written.

    Args:
        path: The file that is written, or its folder.

    Yields:
        Nothing.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def why_full(folder: str | Path) -> str | None:
    """Check whether a disk is full, because not every program reports it.

    Args:
        folder: A folder for temporary files.

    Returns:
        The reason with the folder; None if there is space.
    """
    try:
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE))
            probe.flush()
    except OSError as error:
        reason = FULL.get(error.errno or 0)
        return f"{reason}: {folder}" if reason else None
    return None
