"""Show the answers and the components of a service."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from quickset.updating.summary import show_value

if TYPE_CHECKING:
    # This module imports Copier, which takes longer than some commands.
    from quickset.commands.info import Info


def show_info(info: "Info", *, out: Console) -> None:
    """Show the description of a service.

    Args:
        info: The description.
        out: The console.
    """
    version = info.template if info.released else f"{info.template} (unreleased)"
    out.print(Text(str(info.path), style="bold"), soft_wrap=True)
    out.print(Text(f"template {version} of {info.source}"), soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in info.answers.items():
        table.add_row(Text(name, style="cyan"), Text(show_value(value)))
    out.print("\nAnswers")
    out.print(table)
    out.print("\nComponents")
    for component in info.components:
        tree = Tree(Text.assemble((component.name, "cyan"), f" {component.value}" * (component.value != "true")))
        for file in component.files:
            tree.add(Text(file).append("  deleted" * (file in component.missing), style="yellow"))
        if component.shared:
            tree.add(Text(f"and lines in {', '.join(component.shared)}", style="dim"))
        out.print(tree)
    if info.off:
        out.print(Text(f"off: {', '.join(info.off)}", style="dim"))
    for note in info.notes:
        out.print(Text(f"! {note}", style="yellow"), soft_wrap=True)
