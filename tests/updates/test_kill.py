"""Killed commands and the repository after them."""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from quickset.errors import QuicksetError
from tests.updates.conftest import isolate
from tests.updates.harness import NUMBERS, ORDERS, PICTURE, SERVICE_PY, Lab, Snapshot, copy, same
from tests.updates.processes import KILLED, Driver

pytestmark = pytest.mark.ci

# Boundaries for each of the four commands.
MOMENTS = int(os.environ.get("QUICKSET_TEST_KILLS", "40")) // 4
# The other kills are at random times.
BOUNDARIES = MOMENTS * 3 // 5

COMMANDS = ("update", "conflicts", "resume", "abort")

_LEFT_BESIDE = re.compile(r"(.*/)?\.quickset-[0-9a-f]{16}")


@dataclass(frozen=True)
class Case:
    """A service and the result of one command."""

    action: str
    folder: Path
    before: Snapshot
    after: Snapshot
    seconds: float
    """The duration of the command."""
    boundaries: int
    """The number of moments between changes on disk."""

    def lab(self, folder: Path) -> Lab:
        """Return a copy of it."""
        copy(self.folder, folder)
        return Lab(folder / "origin", folder / "service", folder / "service", version="0.2.0")


@pytest.fixture(scope="module")
def cases(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    """Services before each command, with their state afterwards."""
    root = tmp_path_factory.mktemp("cases")
    known: dict[str, Case] = {}
    driver = Driver(root)

    def make(command: str) -> Case:
        if command not in known:
            with pytest.MonkeyPatch.context() as patch:
                isolate(root / f"home-{command}", patch)
                known[command] = _case(command, pristine, root, driver)
        return known[command]

    yield make
    driver.close()


def _case(command: str, pristine: Path, root: Path, driver: Driver) -> Case:
    folder = root / command
    for name in ("origin", "service"):
        copy(pristine / name, folder / name)
    lab = Lab(folder / "origin", folder / "service", folder / "service")
    lab.commit(
        {
            "numbers.txt": NUMBERS.replace("line 40", "mine 40"),
            "app/orders/service.py": ORDERS + "# mine\n",
            "mine.txt": "mine\n",
        }
    )
    # A folder replaces a file, a binary file changes, a file moves, and one becomes executable.
    (lab.origin / "template" / "unended.txt").chmod(0o755)
    lab.release(
        {
            "numbers.txt": NUMBERS.replace("line 05" if command == "update" else "line 40", "theirs"),
            SERVICE_PY: None,
            "{{ package_name }}/orders/sums.py": ORDERS,
            "blocks.yaml": None,
            "blocks.yaml/one.txt": "one\n",
            "logo.png": PICTURE[::-1],
            "added/deep/new.txt": "new\n",
        }
    )
    lab.write(
        {"run.sh": "#!/bin/sh\n# dirty\n", "windows.txt": "staged\n", "untracked.txt": "x\n", "a.log": "ignored\n"}
    )
    lab.git("add", "windows.txt")
    action = "update" if command == "conflicts" else command
    if command in {"resume", "abort"}:
        job = driver.start("update", lab.path, lab.origin)
        assert driver.wait(job) == 3, job.error
    if command == "resume":
        lab.write({"numbers.txt": NUMBERS.replace("line 40", "both 40")})
        lab.git("add", "numbers.txt")
    before = lab.snapshot()
    done = Case(action, folder, before, before, 0.0, 0).lab(root / f"{command}-done")
    started = time.perf_counter()
    job = driver.start(action, done.path, done.origin)
    code = driver.wait(job)
    seconds = time.perf_counter() - started
    assert code == (3 if command == "conflicts" else 0), job.error
    after = done.snapshot()
    assert after != before
    return Case(action, folder, before, after, seconds, job.boundaries)


def accounted(lab: Lab, case: Case) -> None:
    """Require that every file is in its old or its new state."""
    now = lab.snapshot()
    assert now.head == case.before.head
    for name in now.files.keys() | case.before.files.keys() | case.after.files.keys():
        if _LEFT_BESIDE.fullmatch(name):
            continue
        assert now.files.get(name) in (case.before.files.get(name), case.after.files.get(name)), name
    assert now.index in (case.before.index, case.after.index)


def go_on(lab: Lab, action: str) -> str:
    """Run the next command, and return its notes, or its exit code and error."""
    try:
        result = {"update": lab.update, "resume": lab.resume, "abort": lab.abort}[action]()
    except QuicksetError as error:
        return f"{error.exit_code}: {error}"
    return " ".join(result.notes)


def settled(lab: Lab, case: Case) -> Snapshot:
    """Require that the repository is in its old or its new state, with nothing left over."""
    now = lab.snapshot()
    assert not now.differences(case.before) or not now.differences(case.after), (
        f"neither as before: {now.differences(case.before)} nor as afterwards: {now.differences(case.after)}"
    )
    assert not (lab.git_dir / "index.lock").exists()
    assert lab.git("fsck", "--no-dangling", "--connectivity-only") == ""
    return now


def finish(lab: Lab, case: Case, following: str) -> None:
    """Run the next command on the repository, and require that every file is in a known state afterwards."""
    accounted(lab, case)
    outcome = go_on(lab, following)
    assert not outcome.startswith(("1:", "5:")), outcome
    if lab.journal.exists() and '"conflicts"' not in lab.journal.read_text().split("\n")[1]:
        pytest.fail(f"{following} left the update interrupted: {outcome}")
    now = settled(lab, case)
    # The command can be given again.
    if not now.differences(case.before) and case.before != case.after:
        go_on(lab, case.action)
        if not lab.snapshot().differences(case.before):
            go_on(lab, case.action)
        same(lab.snapshot(), case.after)


@pytest.mark.parametrize("number", range(BOUNDARIES))
@pytest.mark.parametrize("command", COMMANDS)
def test_at_a_boundary(cases: Callable[[str], Case], driver: Driver, tmp_path: Path, command: str, number: int) -> None:
    """A command that is killed between two changes on disk is finished or undone by the next one."""
    case = cases(command)
    lab = case.lab(tmp_path / "lab")
    assert case.boundaries > 1
    # The first, the last and evenly spaced ones between, or repeated if there are fewer moments.
    at = 1 + (number * (case.boundaries - 1) // (BOUNDARIES - 1) if case.boundaries >= BOUNDARIES else number)
    at = (at - 1) % case.boundaries + 1

    assert driver.run(case.action, lab.path, lab.origin, kill_at=at) == KILLED

    finish(lab, case, ("update", "resume", "abort")[number % 3])


@pytest.mark.parametrize("number", range(MOMENTS - BOUNDARIES))
@pytest.mark.parametrize("command", COMMANDS)
def test_at_random(cases: Callable[[str], Case], driver: Driver, tmp_path: Path, command: str, number: int) -> None:
    """A command that is killed at any time, with its git processes, is finished or undone by the next one."""
    case = cases(command)
    lab = case.lab(tmp_path / "lab")
    chance = random.Random(f"{command} {number}")  # noqa: S311 -- a moment, no secret

    driver.run(case.action, lab.path, lab.origin, seconds=case.seconds * chance.uniform(0.3, 1.1))

    finish(lab, case, ("update", "resume", "abort")[number % 3])


def test_killed_again(cases: Callable[[str], Case], driver: Driver, tmp_path: Path) -> None:
    """The command that finishes or undoes an update can itself be killed repeatedly."""
    case = cases("update")
    lab = case.lab(tmp_path / "lab")
    assert driver.run("update", lab.path, lab.origin, kill_at=3) == KILLED

    for number in range(1, 4):
        accounted(lab, case)
        driver.run(("resume", "abort")[number % 2], lab.path, lab.origin, kill_at=number)

    finish(lab, case, "update")


def test_edited_after_a_kill(cases: Callable[[str], Case], driver: Driver, tmp_path: Path) -> None:
    """Edits that the user makes after a kill are not overwritten by the next command."""
    case = cases("update")
    lab = case.lab(tmp_path / "lab")
    assert driver.run("update", lab.path, lab.origin, kill_at=2) == KILLED
    lab.write({"numbers.txt": "mine, after the kill\n", "run.sh": "#!/bin/sh\n# mine, after the kill\n"})

    for action in ("resume", "abort", "update"):
        go_on(lab, action)
        assert lab.read("numbers.txt") == "mine, after the kill\n"
        assert lab.read("run.sh") == "#!/bin/sh\n# mine, after the kill\n"
