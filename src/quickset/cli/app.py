"""Assemble the command line, and run it."""

import io
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from quickset.cli.check import LightCommand, check
from quickset.cli.components import add, remove
from quickset.cli.info import info
from quickset.cli.new import new
from quickset.cli.options import off_by_default
from quickset.cli.output import output_failed
from quickset.cli.update import diff, update

_EPILOG = """\
\b
Exit codes:
  0  done
  1  something to do (behind, drifted)
  2  wrong usage
  3  conflicts left to resolve
  4  refused, nothing touched
  5  failed or interrupted"""

_TYPER_INTERRUPTED = 130
# The texts of Typer take two lines.
_COMPLETION = {
    "install_completion": "Install completion for the current shell.",
    "show_completion": "Show the completion script for the current shell.",
}


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)
        for param in params:
            if param.name in _COMPLETION:
                off_by_default(param).help = _COMPLETION[param.name]
        return params

    def get_help_option(self, ctx: Any) -> Any:
        return off_by_default(super().get_help_option(ctx))


# With Rich, the help of Typer takes three times as long to start.
app = typer.Typer(
    name="quickset",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 -- Typer calls it like that
    if wanted:
        from importlib.metadata import version

        typer.echo(f"quickset {version('quickset')}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Generate a production-ready FastAPI service and keep it up to date with its template.

    \b
    Examples:
      quickset new orders-api              answer a few questions
      quickset new orders-api --defaults   accept the defaults
      quickset info orders-api             show answers, version and components
      quickset check orders-api            check for a newer template
    """


for _command in (new, info, diff, update, add, remove):
    app.command(epilog=_EPILOG)(_command)
app.command(
    cls=LightCommand,
    epilog=_EPILOG,
    options_metavar="[OPTIONS] [PATH]...",
    context_settings={"allow_extra_args": True},
)(check)


def run() -> None:
    """Run the command line.

    Raises:
        KeyboardInterrupt: The user interrupted while arguments were parsed.
        SystemExit: Always, with the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files may contain characters that the terminal cannot show.
            stream.reconfigure(errors="backslashreplace")
    code: str | int | None = 0
    words: AbstractContextManager[None] = nullcontext()
    if os.environ.get("_QUICKSET_COMPLETE") == "complete_bash":
        from quickset.cli import completion

        words = completion.whole_words(os.environ)
    try:
        with words:
            app(prog_name="quickset")
    except SystemExit as end:
        code = end.code
        if code == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt from None
    except OSError as error:
        code = output_failed(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = output_failed(error)
    sys.exit(code)
