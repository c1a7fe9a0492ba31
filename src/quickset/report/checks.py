"""Show how services compare with their templates."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quickset.commands.check import CheckResult, Status

_STYLES: Mapping[Status, str] = {
    Status.CURRENT: "green",
    Status.BEHIND: "yellow",
    Status.AHEAD: "cyan",
    Status.UNKNOWN: "magenta",
    Status.CONFLICTED: "red",
}


def show_checks(found: Sequence[CheckResult], *, out: Console) -> None:
    """Show how services compare with their templates: a table at a terminal, otherwise one line each.

    Args:
        found: The results. Errors are reported elsewhere.
        out: The console.
    """
    compared = [each for each in found if each.status in _STYLES]
    if not compared:
        return
    if out.is_terminal:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in compared:
            table.add_row(Text(each.status, style=_STYLES[each.status]), Text(str(each.path)), Text(_describe(each)))
            for drift in each.drift or ():
                table.add_row("", Text(f"  {drift.path}", style="dim"), Text(drift.kind, style="dim"))
        out.print(table)
    else:
        width = max(len(str(each.path)) for each in compared)
        for each in compared:
            line = f"{each.status:<10}  {each.path!s:<{width}}  {_describe(each)}"
            out.print(Text(line.rstrip()), soft_wrap=True)
            for drift in each.drift or ():
                out.print(Text(f"{'':<10}  {drift.kind:<7}  {drift.path}"), soft_wrap=True)
    if any(each.status is Status.BEHIND for each in compared):
        out.print("\n`quickset diff` shows what an update brings, `quickset update` brings it.", soft_wrap=True)


def _describe(checked: CheckResult) -> str:
    """Describe how a service compares with its template."""
    parts = [checked.version] if checked.version else []
    if checked.behind:
        parts.append(f"{checked.behind} release{'s' * (checked.behind > 1)} behind {checked.newest}")
    if checked.status is Status.AHEAD and checked.newest:
        parts.append(f"the newest known here is {checked.newest}")
    if checked.reason:
        parts.append(checked.reason)
    if checked.drift is not None:
        parts.append(
            f"{len(checked.drift)} of the template's files differ{'s' * (len(checked.drift) == 1)}"
            if checked.drift
            else "as rendered"
        )
    return ", ".join(parts)
