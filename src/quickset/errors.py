"""What can go wrong, each with its exit code."""

from typing import ClassVar


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
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason
