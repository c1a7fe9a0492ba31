"""Measure how fast `check` finds services that are behind, and how fast `update` updates them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median

import effort
from commands import PROGRAMS
from figure import Figure, at_most, in_turn, ratios, seconds
from services import REPOSITORY, clean_environment

from quickset.templates.template import CANONICAL_URL

SERVICES = 100
FILES_BESIDE = 20_000
# Above every release of this project.
OLD, NEW = "1000.0.0", "1000.0.1"
# Answers that make about 80 files.
ANSWERS = ("layout=layered", "database=postgresql")


def measure_check(scratch: Path) -> list[Figure]:
    """Measure `check` of one service and of a hundred, each in a repository of its own."""
    template = _made_up_template(scratch)
    names = [str(number) for number in range(SERVICES)]
    first = _make_service(scratch / "check" / names[0], template)
    for name in names[1:]:
        shutil.copytree(first, first.with_name(name))

    def check(*names: str) -> None:
        _quickset(template, first.parent, "check", *names, status=1)

    measures = {
        "nothing": partial(_run, [sys.executable, "-c", "pass"], scratch),
        "one": partial(check, names[0]),
        "all": partial(check, *names),
    }
    found = in_turn({name: partial(seconds, measure) for name, measure in measures.items()}, effort.times(15))
    base, one, all_ = (median(found[name]) * 1000 for name in measures)
    return [
        at_most(
            "`quickset check` of one service, against `python -c pass`",
            ratios(found["one"], found["nothing"]),
            20,
            f"{one:.0f} ms against {base:.0f}",
        ),
        at_most(
            f"`quickset check` of {SERVICES} services, against one",
            ratios(found["all"], found["one"]),
            3,
            f"{all_:.0f} ms against {one:.0f}",
        ),
    ]


def measure_update(scratch: Path) -> list[Figure]:
    """Measure `update` against Copier's on the same service, and in a repository of many files."""
    template = _made_up_template(scratch)
    service = _make_service(scratch / "update" / "quickset", template)
    peer, large = service.with_name("copier"), service.with_name("large")
    shutil.copytree(service, peer)
    shutil.copytree(service, large)
    _add_files(large)
    count = len(_run(["git", "ls-files"], service).splitlines())
    applied: list[float] = []

    def quickset(folder: Path) -> float:
        def update() -> None:
            document = json.loads(_quickset(template, folder, "update", "--no-lock", "--json"))
            if folder == service:
                applied.append(document["applied_ms"])

        return _from_the_start(folder, update)

    def copier() -> float:
        command = [PROGRAMS / "copier", "update", "--defaults", "--quiet", "--vcs-ref", f"v{NEW}"]
        settings = {
            "COPIER_CACHE_DIR": str(scratch / "copier"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{template.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": CANONICAL_URL,
        }
        return _from_the_start(peer, partial(_run, command, peer, settings))

    measures: dict[str, Callable[[], float]] = {
        "quickset": partial(quickset, service),
        "copier": copier,
        "large": partial(quickset, large),
    }
    small, other, many = in_turn(measures, effort.times(7)).values()
    return [
        at_most(
            f"`quickset update` of {count} files, against `copier update`",
            ratios(small, other),
            0.6,
            f"{median(small):.2f} s against {median(other):.2f}",
        ),
        at_most(
            f"the same in a repository of {FILES_BESIDE:,} more files, against without them",
            ratios(many, small),
            1.2,
            f"{median(many):.2f} s against {median(small):.2f}",
        ),
        at_most(f"time of writing to the work tree, {count} files", applied[1:], 50, unit="ms"),
    ]


@cache
def _made_up_template(scratch: Path) -> Path:
    """Clone this repository, and release the committed template twice: the second changes every file of a service."""
    folder = scratch / "releases"
    _run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], scratch)
    # The command is that of the work tree, as in the other benchmarks.
    shutil.rmtree(folder / "src")
    shutil.copytree(REPOSITORY / "src", folder / "src")
    _release(folder, OLD)
    for file in (folder / "template").rglob("*"):
        if file.is_file() and "_copier_conf" not in file.name:
            with file.open("a", encoding="utf-8") as text:
                text.write("\n")
    _release(folder, NEW)
    _run([sys.executable, "-m", "compileall", "-q", str(folder / "src")], scratch)
    return folder


def _release(folder: Path, version: str) -> None:
    project = folder / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    project.write_text(re.sub(r'(?m)^version = ".*"', f'version = "{version}"', text, count=1), encoding="utf-8")
    _run(["git", "commit", "--quiet", "--all", "--no-verify", "--message", f"Release {version}"], folder)
    _run(["git", "tag", f"v{version}"], folder)


def _make_service(folder: Path, template: Path) -> Path:
    """Create a service from the older of the two releases, with a commit."""
    folder.parent.mkdir()
    options = ["--no-lock", "--quiet", "--ref", OLD, *(f"--data={answer}" for answer in ANSWERS)]
    _quickset(template, folder.parent, "new", folder.name, *options)
    return folder


def _add_files(folder: Path) -> None:
    for number in range(FILES_BESIDE):
        file = folder / "data" / str(number // 200) / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n", encoding="utf-8")
    _run(["git", "add", "--all"], folder)
    _run(["git", "commit", "--quiet", "--no-verify", "--message", "Add files"], folder)


def _from_the_start(folder: Path, update: Callable[[], object]) -> float:
    """Reset a service, and return how long its update takes."""
    _run(["git", "reset", "--quiet", "--hard"], folder)
    _run(["git", "clean", "--quiet", "--force", "-d"], folder)
    return seconds(update)


def _quickset(template: Path, cwd: Path, *args: str, status: int = 0) -> str:
    """Run this quickset on the made-up releases."""
    return _run([PROGRAMS / "quickset", *args], cwd, {"PYTHONPATH": str(template / "src")}, status)


def _run(command: Sequence[str | Path], cwd: Path, settings: dict[str, str] | None = None, status: int = 0) -> str:
    identity = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "quickset"), ("EMAIL", "quickset@localhost"))
    }
    environment = {**clean_environment(), **identity, "GIT_CONFIG_GLOBAL": os.devnull, **(settings or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != status:
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stdout
