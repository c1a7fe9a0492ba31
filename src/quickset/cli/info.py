"""Define `quickset info`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from quickset.cli.options import AnswersFile, Json, Quiet
from quickset.cli.output import reporting_errors, writing_output


def info(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="The service. Default: the current folder.", show_default=False),
    ] = Path(),
    *,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Show the answers, version and components of a service.

    For each component, quickset lists the files that belong to it.

    \b
    Examples:
      quickset info
      quickset info orders-api --json
    """
    with reporting_errors():
        from quickset.commands import info as command
        from quickset.report.console import console, progress, to_json
        from quickset.report.info import show_info

        with nullcontext() if quiet or as_json else progress("Comparing renders"):
            found = command.info(path, answers_file=answers_file)
        with writing_output():
            if as_json:
                typer.echo(to_json(found))
            elif not quiet:
                show_info(found, out=console())
