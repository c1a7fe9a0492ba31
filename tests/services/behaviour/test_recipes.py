"""Recipes of the justfile that need more than the command that they run."""

import shutil
import subprocess
from pathlib import Path

from tests.services.behaviour.variants import where
from tests.services.running import Project

# Stands for uv: the environment has everything already.
UV = '#!/bin/sh\nshift\nexec "$@"\n'

with_a_file = where(lambda variant: variant.database == "sqlite" and variant.layout == "feature")


@with_a_file
def test_migration_in_a_fresh_clone(project: Project, tmp_path: Path) -> None:
    """A migration can be written at once, on a database that does not exist yet."""
    clone = shutil.copytree(project.folder, tmp_path / "clone", ignore=shutil.ignore_patterns("*.db*"))
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    environment = project.environment({})
    path = f"{uv.parent}:{project.python.parent}:{environment['PATH']}"

    finished = subprocess.run(
        [project.python.parent / "just", "migration", "Add a column"],
        cwd=clone,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert len(list((clone / "migrations" / "versions").glob("*_add_a_column.py"))) == 1
