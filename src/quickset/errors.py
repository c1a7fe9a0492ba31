"""What can go wrong, each with its exit code."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import ClassVar

FULL: Mapping[int, str] = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_PROBE = 65536  # bytes


class QuicksetError(Exception):
    """Something failed; the message is one clear line for the user."""

    exit_code: ClassVar[int] = 5


class UsageError(QuicksetError):
    """The command was called wrongly: an option, an answer or a file of answers."""

    exit_code = 2


class AnswerError(UsageError):
    """The template refuses an answer.

    Args:
        question: The question's name.
        reason: Why, in the template's words.
    """

    def __init__(self, question: str, reason: str) -> None:
        super().__init__(f"{question}: {reason}")
        self.question = question
        self.reason = reason


class ConflictError(QuicksetError):
    """Conflicts are left that the user has to resolve first."""

    exit_code = 3


class RefusedError(QuicksetError):
    """The command would touch something that is not its own, so it did nothing."""

    exit_code = 4


def os_reason(error: OSError) -> str:
    """Say what the operating system said, without a traceback.

    Args:
        error: What was raised.

    Returns:
        The reason and, where known, the file it concerns.
    """
    reason = FULL.get(error.errno or 0) or error.strerror or str(error)
    # Of a copy, the second file is the one that is written.
    name = (error.filename2 if error.errno in FULL else None) or error.filename
    return f"{reason}: {name}" if name else reason


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name a path in an error that names none: the system does so for opening a file, and not for writing to it.

    Args:
        path: What is written, or the folder where files are.

    Yields:
        Nothing.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def why_full(folder: str | Path) -> str | None:
    """Find out whether a disk is full: not every program says so when it cannot write.

    Args:
        folder: A folder for files of ours.

    Returns:
        What is full, and where; None when there is room.
    """
    try:
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE))
            probe.flush()
    except OSError as error:
        reason = FULL.get(error.errno or 0)
        return f"{reason}: {folder}" if reason else None
    return None
