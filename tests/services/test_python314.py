"""Services run on Python 3.14, even on machines without it."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rendering import render
from tests.services.environments import Environment, cache_folder, environment_of, find_python
from tests.services.matrix import Row
from tests.services.python314 import VERSION, MissingPythonError, debian_environment_of
from tests.services.test_matrix import PRESET_ROWS, ROWS, run
from tests.services.trial import Trial

# One worker installs Debian and the packages once.
pytestmark = pytest.mark.ci

PRESETS = [
    replace(row, name=f"{row.name}-python-{VERSION}", answers={**row.answers, "python_version": VERSION})
    for row in ROWS
    if row.name in PRESET_ROWS
]


def environment_for(service: Path, missing_server: Callable[[str], None]) -> Environment:
    """Return an environment with Python 3.14. Without one, fail in CI and skip elsewhere."""
    if find_python(VERSION):
        return environment_of(service, VERSION)
    try:
        return debian_environment_of(service)
    except MissingPythonError as error:
        missing_server(str(error))
        raise


@pytest.mark.parametrize("row", PRESETS, ids=lambda row: row.name)
def test_preset(row: Row, trial: Trial, template: Path, missing_server: Callable[[str], None]) -> None:
    """The service of each preset passes its tests on Python 3.14, starts, responds, and stops on request."""
    assert row["database"] in {"none", "sqlite"}
    with trial.phase("render"):
        render(template, trial.folder, row.answers)
    with trial.phase("install"):
        environment = environment_for(trial.folder, missing_server)
    trial.fail_on_faults(row)
    run(trial, row, environment, "")
    trial.fail_on_faults(row)


@pytest.fixture
def debian(template: Path, tmp_path: Path, missing_server: Callable[[str], None]) -> Environment:
    """Return an environment with Debian's Python 3.14."""
    try:
        return debian_environment_of(render(template, tmp_path / "service", PRESETS[0].answers))
    except MissingPythonError as error:
        if find_python(VERSION):
            pytest.skip("Python 3.14 is installed, and Debian's cannot be installed")
        missing_server(str(error))
        raise


def test_debian_python_is_one_process(debian: Environment, tmp_path: Path) -> None:
    """The Python of Debian is one process with the expected version, folder and exit code."""
    code = "import os, signal, sys; print(*sys.version_info[:2], os.getcwd(), os.getpid(), flush=True)"
    command: list[str | Path] = [debian.python, "-c", f"{code}; os.kill(os.getpid(), signal.SIGTERM)"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        printed, _ = process.communicate()
    assert printed.split() == ["3", "14", str(tmp_path), str(process.pid)]
    assert process.returncode == -signal.SIGTERM


def test_debian_is_read_only(debian: Environment, tmp_path: Path) -> None:
    """A service can change its own folder but nothing that other services share."""
    code = "import pathlib; pathlib.Path('here').touch(); pathlib.Path('/usr/there').touch()"
    done = subprocess.run([debian.python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Read-only file system: '/usr/there'" in done.stderr
    assert (tmp_path / "here").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_debian_leaves_no_mount(debian: Environment, number: signal.Signals, tmp_path: Path) -> None:
    """No mount of it is visible on this machine, neither while it runs nor after Ctrl-C or a kill."""
    # Python's own handler only sets a flag, and would lose a signal right before the pause.
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(1, flush=True); signal.pause()"
    command: list[str | Path] = [debian.python, "-c", code]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert str(cache_folder()) in Path(f"/proc/{process.pid}/mountinfo").read_text()
        assert str(cache_folder()) not in Path("/proc/self/mountinfo").read_text()
        os.killpg(process.pid, number)
    assert process.returncode == -number
    assert str(cache_folder()) not in Path("/proc/self/mountinfo").read_text()
