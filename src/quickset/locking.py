"""Lock the dependencies of a service with uv, if uv is available."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from textwrap import shorten

from quickset.signals import temporary_folder

PROJECT, LOCK = "pyproject.toml", "uv.lock"

_SECONDS = 120
# These variables refer to the project in which quickset runs.
_OTHER_PROJECT = ("UV_FROZEN", "UV_LOCKED", "UV_PROJECT", "UV_WORKING_DIRECTORY", "VIRTUAL_ENV")


def find_uv() -> str | None:
    """Find uv.

    Returns:
        The path: the first on PATH, otherwise the uv that started this process.
    """
    return shutil.which("uv") or os.environ.get("UV")


def is_lock(file: Path) -> bool:
    """Return whether a file is a lock file of uv. Other tools may use the same name.

    Args:
        file: A path that may be missing.

    Returns:
        Whether it is a lock file of uv.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Both are in every lock file of uv, even in one without packages.
    return isinstance(found.get("version"), int) and isinstance(found.get("requires-python"), str)


def lock(folder: Path, *, trusted: bool = True) -> str | None:
    """Write a service's `uv.lock`.

    Args:
        folder: The service.
        trusted: Code that `pyproject.toml` names may run. uv starts the build back end of a project with dynamic
            metadata, and that of a dependency without a wheel.

    Returns:
        None if the file is written, otherwise the reason.
    """
    uv = find_uv()
    if uv is None:
        return "uv is not on PATH"
    env = {name: value for name, value in os.environ.items() if name not in _OTHER_PROJECT}
    if not trusted:
        if _is_dynamic(folder):
            return "its pyproject.toml has dynamic metadata, for which uv would run code of the template"
        env["UV_NO_BUILD"] = "1"
    # In another folder, because uv would add the service to a workspace around it.
    with temporary_folder("quickset-lock-") as isolated:
        for name in ("pyproject.toml", "uv.lock"):
            if (folder / name).exists():
                # With the old lock file, uv changes only the versions that must change.
                shutil.copy(folder / name, isolated)
        try:
            done = subprocess.run(
                [uv, "lock"],
                cwd=isolated,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"uv was not done after {_SECONDS} seconds"
        except OSError as error:
            return f"uv could not be started ({error.strerror})"
        written = Path(isolated, "uv.lock")
        if done.returncode or not written.is_file():
            return _reason(done.stderr)
        shutil.copyfile(written, folder / "uv.lock")
    return None


def _is_dynamic(folder: Path) -> bool:
    """Return whether code must run to find the dependencies of a project, or `pyproject.toml` is not valid."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return bool(project.get("dynamic")) or not {"name", "version"} <= project.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def _reason(output: str) -> str:
    """Shorten the output of uv to one line: the failure and its nearest cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    what = next((line for line in lines if line.startswith(("error:", "×"))), (lines or ["uv gave no reason"])[0])
    why = next((line for line in lines if line.startswith(("cause:", "Caused by:", "╰─▶"))), "")
    parts = [what.removeprefix("error:"), why.removeprefix("cause:").removeprefix("Caused by:").removeprefix("╰─▶")]
    return shorten("; ".join(part.strip(" ×.") for part in parts if part), 200, placeholder=" …")
