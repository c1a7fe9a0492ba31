"""Recipes of the justfile that do more than run one command."""

import shutil
import subprocess
from pathlib import Path

from tests.services.behaviour.variants import where
from tests.services.running import Project

# A stand-in for uv, because the environment already has everything.
UV = '#!/bin/sh\nshift\nexec "$@"\n'

with_a_file = where(lambda variant: variant.database == "sqlite" and variant.layout == "feature")


@with_a_file
def test_migration_in_a_fresh_clone(project: Project, tmp_path: Path) -> None:
    """In a fresh clone a migration can be created at once, before the database exists."""
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
