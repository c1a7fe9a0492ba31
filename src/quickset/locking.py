"""Locking a service's dependencies with uv, where that can be had."""

import os
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from textwrap import shorten

PROJECT, LOCK = "pyproject.toml", "uv.lock"

_SECONDS = 120
# These speak of the project that quickset was called in, if any.
_FOREIGN = ("UV_FROZEN", "UV_LOCKED", "UV_PROJECT", "UV_WORKING_DIRECTORY", "VIRTUAL_ENV")


def find_uv() -> str | None:
    """Find uv.

    Returns:
        Its path: the first on PATH, else the one that started this process.
    """
    return shutil.which("uv") or os.environ.get("UV")


def is_lock(file: Path) -> bool:
    """Return whether a file is a lock file of uv, and not one of another tool with the same name.

    Args:
        file: A path that may be missing.

    Returns:
        Whether it is.
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
        trusted: Whether code that its `pyproject.toml` names may run: uv starts the build back end of a project with
            dynamic metadata, and that of a dependency without a wheel.

    Returns:
        None when it is there, else the reason why not.
    """
    uv = find_uv()
    if uv is None:
        return "uv is not on PATH"
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    if not trusted:
        if _is_dynamic(folder):
            return "its pyproject.toml has dynamic metadata, for which uv would run code of the template's"
        env["UV_NO_BUILD"] = "1"
    # Elsewhere, because uv would make the service a member of a workspace that happens to lie around it.
    with tempfile.TemporaryDirectory(prefix="quickset-lock-", ignore_cleanup_errors=True) as alone:
        for name in ("pyproject.toml", "uv.lock"):
            if (folder / name).exists():
                # With the lock there is, uv changes no version that need not change.
                shutil.copy(folder / name, alone)
        try:
            done = subprocess.run(
                [uv, "lock"],
                cwd=alone,
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
        written = Path(alone, "uv.lock")
        if done.returncode or not written.is_file():
            return _reason(done.stderr)
        shutil.copyfile(written, folder / "uv.lock")
    return None


def _is_dynamic(folder: Path) -> bool:
    """Return whether code must run to know what a project needs, or pyproject.toml cannot be read."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return bool(project.get("dynamic")) or not {"name", "version"} <= project.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def _reason(output: str) -> str:
    """Make one line of uv's complaint: what failed, and the nearest cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    what = next((line for line in lines if line.startswith(("error:", "×"))), (lines or ["uv gave no reason"])[0])
    why = next((line for line in lines if line.startswith(("cause:", "Caused by:", "╰─▶"))), "")
    parts = [what.removeprefix("error:"), why.removeprefix("cause:").removeprefix("Caused by:").removeprefix("╰─▶")]
    return shorten("; ".join(part.strip(" ×.") for part in parts if part), 200, placeholder=" …")
