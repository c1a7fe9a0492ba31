"""The terminal, progress and JSON output that the commands share."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from quickset.errors import QuicksetError
from quickset.shell import join

if TYPE_CHECKING:
    # These modules import Copier, which takes longer than some commands.
    from quickset.commands.info import Info
    from quickset.commands.new import Created
    from quickset.updating.result import UpdateResult


class _Output(Console):
    """A console that ends the command with exit code 5 when the pipe is closed. Rich would use 1."""

    def on_broken_pipe(self) -> None:
        """End the command without a message."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(QuicksetError.exit_code) from None


def console(*, stderr: bool = False) -> Console:
    """Open a console.

    Args:
        stderr: Use standard error instead of standard output.

    Returns:
        The console. It adds no colors of its own, and uses none without a terminal.
    """
    return _Output(stderr=stderr, highlight=False)


def progress(text: str) -> AbstractContextManager[object]:
    """Show a long step at a terminal.

    Args:
        text: The description of the step.

    Returns:
        A context that lasts as long as the step.
    """
    shown = console(stderr=True)
    return shown.status(f"{escape(text)} …") if shown.is_terminal else nullcontext()


def change_folder(path: Path) -> list[str]:
    """Return the command that changes to the folder of a service.

    Args:
        path: The folder.

    Returns:
        The command; nothing if it is the current folder.
    """
    here = Path.cwd()
    if path == here:
        return []
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return [join("cd", f"./{shown}" if str(shown).startswith("-") else str(shown))]


def to_json(value: "Created | Info | UpdateResult", **more: Any) -> str:
    """Convert a result to JSON.

    Args:
        value: The result.
        **more: Additional values.

    Returns:
        One JSON document.
    """
    return json.dumps(asdict(value) | more, indent=2, default=str)
