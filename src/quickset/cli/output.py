"""Write results and errors, and end a command with the matching exit code."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import typer

from quickset.errors import ConflictError, QuicksetError, os_reason

if TYPE_CHECKING:
    from quickset.updating.result import Progress, UpdateResult


def choose_progress(*, silent: bool) -> "Progress":
    """Choose how to show what takes long.

    Args:
        silent: Show nothing.

    Returns:
        A function that opens a context for each step.
    """
    from quickset.report.console import progress

    return (lambda _: nullcontext()) if silent else progress


def finish(result: "UpdateResult", *, would: bool, quiet: bool, as_json: bool) -> None:
    """Report the result of an update, and end with the matching exit code.

    Args:
        result: The update.
        would: It was a preview.
        quiet: Print nothing.
        as_json: Print JSON.

    Raises:
        Exit: There are conflicts, or a preview has changes.
    """
    from quickset.report.console import console, to_json
    from quickset.report.updated import show_result
    from quickset.updating.summary import as_markdown

    with writing_output():
        if as_json:
            typer.echo(to_json(result, summary_markdown=as_markdown(result)))
        elif not quiet:
            if result.patch:
                typer.echo(result.patch)
            show_result(result, would=would, out=console())
    if result.conflicts:
        raise typer.Exit(ConflictError.exit_code)
    if would and result.changes:
        raise typer.Exit(1)


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Report an error in one line, and end the command with the exit code of the error.

    Yields:
        Nothing.

    Raises:
        Exit: The command failed.
    """
    try:
        yield
    except QuicksetError as error:
        typer.echo(f"quickset: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError as error:
        # Typer would end with 1, which means something else here.
        raise typer.Exit(output_failed(error)) from error
    except OSError as error:
        typer.echo(f"quickset: {os_reason(error)}", err=True)
        raise typer.Exit(QuicksetError.exit_code) from error
    except KeyboardInterrupt:
        typer.echo("quickset: interrupted; nothing was written.", err=True)
        raise typer.Exit(QuicksetError.exit_code) from None


@contextmanager
def writing_output() -> Iterator[None]:
    """End the command if its output cannot be written.

    Yields:
        Nothing.

    Raises:
        Exit: It cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise typer.Exit(output_failed(error)) from error


def output_failed(error: OSError) -> int:
    """Report that the output could not be written, unless its reader closed the pipe.

    Args:
        error: What was raised.

    Returns:
        The exit code.
    """
    # The buffered rest would raise the same error again at the end of the process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        typer.echo(f"quickset: the output could not be written: {error.strerror}", err=True)
    return QuicksetError.exit_code
