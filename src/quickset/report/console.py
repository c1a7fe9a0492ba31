"""The consoles on which results are shown, and the JSON form of a result."""

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
    # They import Copier, which takes longer than what some commands do.
    from quickset.commands.info import Info
    from quickset.commands.new import Created
    from quickset.updating.result import Result


class _Output(Console):
    """A console that ends a command over a closed pipe with the exit code of a failure, not with Rich's 1."""

    def on_broken_pipe(self) -> None:
        """Say nothing more, to nobody."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(QuicksetError.exit_code) from None


def console(*, stderr: bool = False) -> Console:
    """Open a console.

    Args:
        stderr: On standard error instead of standard output.

    Returns:
        One that colours nothing by itself; without a terminal, nothing at all.
    """
    return _Output(stderr=stderr, highlight=False)


def progress(text: str) -> AbstractContextManager[object]:
    """Show that something takes its time, where there is a terminal to show it on.

    Args:
        text: What is going on.

    Returns:
        A context that lasts as long as it does.
    """
    shown = console(stderr=True)
    return shown.status(f"{escape(text)} …") if shown.is_terminal else nullcontext()


def change_folder(path: Path) -> list[str]:
    """Say how to get to a service; nothing where one is there already."""
    here = Path.cwd()
    if path == here:
        return []
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return [join("cd", f"./{shown}" if str(shown).startswith("-") else str(shown))]


def to_json(value: "Created | Info | Result", **more: Any) -> str:
    """Write a result for scripts.

    Args:
        value: The result.
        **more: What stands beside it.

    Returns:
        One JSON document.
    """
    return json.dumps(asdict(value) | more, indent=2, default=str)
