"""Define `quickset check`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from quickset.cli.options import AnswersFile, Json, Quiet, off_by_default
from quickset.cli.output import reporting_errors, writing_output
from quickset.errors import UsageError


class LightCommand(TyperCommand):
    """A command whose options Typer parses without pydantic."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, with the answers file as text."""
        params = super().get_params(ctx)
        for param in params:
            if param.name == "answers_file":
                # The value is text already. Otherwise pydantic converts the default, too.
                param.process_value = lambda ctx, value: value  # type: ignore[method-assign]  # noqa: ARG005 -- Click's names
        return params

    def get_help_option(self, ctx: Any) -> Any:
        """Return `--help`, off by default."""
        return off_by_default(super().get_help_option(ctx))


def check(
    context: typer.Context,
    *,
    drift: Annotated[bool, typer.Option("--drift", help="Also list files that differ from a fresh render.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="With --drift: exit with 1 if a file differs.")] = False,
    answers_file: AnswersFile = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check whether services are behind their template.

    Give any number of paths. The default is the current folder. quickset compares versions, and writes nothing.

    \b
    States of a service:
      current     at the newest release of the template
      behind      at an older release
      ahead       at a newer release than this version of quickset knows
      unknown     at a release or from a template that this version does not know
      conflicted  in an update with unresolved conflicts

    \b
    Exit codes, the first that applies to any service:
      5  unknown, or the answers file is damaged
      2  not a service
      3  conflicted
      1  behind, or drifted with --strict
      0  current or ahead

    \b
    Examples:
      quickset check
      quickset check services/* --json
      quickset check orders-api --drift --strict
    """
    with reporting_errors():
        if "" in context.args:
            raise UsageError("PATH is empty.")
        if strict and not drift:
            raise UsageError("--strict needs --drift.")
        from quickset.commands import check as command

        paths = [Path(path) for path in context.args or ["."]]
        if quiet or as_json:
            found = command.check(paths, drift=drift, answers_file=answers_file)
        else:
            from quickset.report.checks import show_checks
            from quickset.report.console import console, progress

            found = command.check(paths, drift=drift, answers_file=answers_file, progress=progress)
            with writing_output():
                show_checks(found, out=console())
        with writing_output():
            if as_json:
                typer.echo(command.as_json(found))
            for each in found:
                if each.error:
                    typer.echo(f"quickset: {each.error}", err=True)
        raise typer.Exit(command.exit_code(found, strict=strict))
