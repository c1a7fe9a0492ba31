"""Installs Debian into folders: what the stand-ins for base images are made of, and Python versions not found here."""

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
        RuntimeError: It failed; the message has the end of what it printed.
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
    """Return what this machine lacks to install and enter a Debian system, and of these further programs."""
    missing = [program for program in sorted({*TOOLS, *programs}) if not shutil.which(program)]
    if sys.platform != "linux":
        missing.append("Linux")
    elif os.geteuid() != 0:
        missing.append("root")
    return missing


def install(suite: str, packages: Sequence[str], root: Path) -> None:
    """Install Debian's essential packages and some more into a folder.

    Args:
        suite: The release, such as "bookworm".
        packages: What to install besides the essential packages.
        root: The folder, empty or missing.

    Raises:
        RuntimeError: debootstrap failed.
    """
    options = ["--variant=minbase", f"--include={','.join(packages)}"]
    # The mirror is debootstrap's default. It has no script for suites that are newer than itself; Debian's are all
    # alike. What it mounts in the folder is in a namespace of its own, and so ends with it, also after Ctrl-C.
    call(["unshare", "--mount", "debootstrap", *options, suite, root, "", "sid"])
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / folder)
    # Mount points must be there.
    (root / "etc/hosts").touch()
