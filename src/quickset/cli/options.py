"""Define the options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer


def off_by_default(option: Any) -> Any:
    """Turn an option without a value off by default, so that it needs no conversion.

    Typer imports pydantic to convert an option such as `--help`, which takes longer than all of `check`.

    Args:
        option: The option, or nothing.

    Returns:
        The same.
    """
    if option is not None:
        option.default = False
    return option


def complete_answers(incomplete: str) -> list[str]:
    """Complete `KEY=VALUE`.

    Args:
        incomplete: The text so far.

    Returns:
        The answers that start with it.
    """
    from quickset.cli import completion

    return completion.given_answers(incomplete)


def complete_components(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a component of `add` or `remove`.

    Args:
        context: The command with the options so far.
        incomplete: The text so far.

    Returns:
        The components that start with it.
    """
    from quickset.cli import completion

    return completion.components(context.params.get("path") or Path(), incomplete, add=context.info_name == "add")


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
AnswersFile = Annotated[
    str,
    typer.Option(
        "--answers-file",
        metavar="FILE",
        help="Answers file, if it is not .copier-answers.yml.",
        show_default=False,
    ),
]
Service = Annotated[
    Path, typer.Argument(metavar="PATH", help="The service. Default: the current folder.", show_default=False)
]

NoLock = Annotated[bool, typer.Option("--no-lock", help="Do not update uv.lock.")]

To = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="X.Y.Z, or HEAD of a checkout. Default: newest."),
]

Template = Annotated[
    str | None,
    typer.Option(metavar="URL", help="New location of the template, if it has moved."),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="KEY=VALUE",
        autocompletion=complete_answers,
        help="Answer a new question, or replace an invalid answer.",
    ),
]
FixImports = Annotated[bool, typer.Option("--fix-imports", help="Rewrite your imports of modules that moved.")]
AddedNames = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME", autocompletion=complete_components, help="Components, such as docker or cache=memory."
    ),
]
RemovedNames = Annotated[
    list[str],
    typer.Argument(metavar="NAME", autocompletion=complete_components, help="Components, such as docker or cache."),
]

At = Annotated[
    Path, typer.Option("--path", metavar="PATH", help="The service. Default: the current folder.", show_default=False)
]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
