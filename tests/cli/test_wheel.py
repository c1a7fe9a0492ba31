import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from quickset.source import CANONICAL_URL
from tests.questions import REPOSITORY


def test_wheel_brings_its_template(tmp_path: Path, work: Path) -> None:
    """The wheel, far from any checkout and without the network, makes a service from the template inside it."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # An installer compiles what it installs; caches are no part of the template.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(site)], check=False, capture_output=True)

    done = subprocess.run(
        [sys.executable, "-m", "quickset", "new", "a", "--defaults", "--no-lock", "--json"],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )

    document = json.loads(done.stdout)
    assert "Dockerfile" in document["files"]
    assert not [file for file in document["files"] if file.endswith(".pyc")]
    recorded = (work / "a" / ".copier-answers.yml").read_text()
    assert f"_src_path: {CANONICAL_URL}" in recorded
    assert f"_commit: {document['template']}" in recorded
    info = [sys.executable, "-m", "quickset", "info", "a", "--json"]
    shown = subprocess.run(info, cwd=work, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, check=True)
    assert json.loads(shown.stdout)["notes"] == []
