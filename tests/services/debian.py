"""Installs Debian into folders, for the stand-ins of base images and for missing Python versions."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOOLS = ("chroot", "debootstrap", "unshare")


def call(
    command: Sequence[str | Path],
    *,
    timeout: float = 600,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Raises:
        RuntimeError: The program failed. The message has the end of its output.
    """
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        env=env,
    )
    if done.returncode:
        printed = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{printed}")
    return done


def missing_tools(*programs: str) -> list[str]:
    """Return the tools that are missing for a Debian system, and any of these further programs."""
    missing = [program for program in sorted({*TOOLS, *programs}) if not shutil.which(program)]
    if sys.platform != "linux":
        missing.append("Linux")
    elif os.geteuid() != 0:
        missing.append("root")
    return missing


def install(suite: str, packages: Sequence[str], root: Path) -> None:
    """Install Debian's essential packages and others into a folder.

    Args:
        suite: The release, such as "bookworm".
        packages: The packages besides the essential ones.
        root: The folder, empty or missing.

    Raises:
        RuntimeError: debootstrap failed.
    """
    options = ["--variant=minbase", f"--include={','.join(packages)}"]
    # The mirror is debootstrap's default. debootstrap has no script for newer suites, but those of Debian are all
    # alike. Its mounts are in a separate namespace, so they end with it, also after Ctrl-C.
    call(["unshare", "--mount", "debootstrap", *options, suite, root, "", "sid"])
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / folder)
    # Mount points must exist.
    (root / "etc/hosts").touch()
