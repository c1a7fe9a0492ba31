"""Show how services stand to their templates."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quickset.commands.check import Checked, Status

_STYLES: Mapping[Status, str] = {
    Status.CURRENT: "green",
    Status.BEHIND: "yellow",
    Status.AHEAD: "cyan",
    Status.UNKNOWN: "magenta",
    Status.CONFLICTED: "red",
}


def show_checks(found: Sequence[Checked], *, out: Console) -> None:
    """Show how services stand to their templates: a table in a terminal, else a line for each.

    Args:
        found: What was found out; what failed is left to whoever tells of errors.
        out: Where to show it.
    """
    told = [each for each in found if each.status in _STYLES]
    if not told:
        return
    if out.is_terminal:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in told:
            table.add_row(Text(each.status, style=_STYLES[each.status]), Text(str(each.path)), Text(_standing(each)))
            for drift in each.drift or ():
                table.add_row("", Text(f"  {drift.path}", style="dim"), Text(drift.kind, style="dim"))
        out.print(table)
    else:
        width = max(len(str(each.path)) for each in told)
        for each in told:
            line = f"{each.status:<10}  {each.path!s:<{width}}  {_standing(each)}"
            out.print(Text(line.rstrip()), soft_wrap=True)
            for drift in each.drift or ():
                out.print(Text(f"{'':<10}  {drift.kind:<7}  {drift.path}"), soft_wrap=True)
    if any(each.status is Status.BEHIND for each in told):
        out.print("\n`quickset diff` shows what an update brings, `quickset update` brings it.", soft_wrap=True)


def _standing(checked: Checked) -> str:
    """Say in words how a service stands to its template."""
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
