"""Python 3.14 from Debian, for machines without it. Its interpreter runs in the root folder of a Debian system.

Everything is kept in the cache of the environments and is built once per machine.
"""

import hashlib
import platform
import shutil
from pathlib import Path

from filelock import FileLock

from tests.services.debian import call, install, missing_tools
from tests.services.environments import Environment, cache_folder, requirements_of

VERSION = "3.14"
SUITE = "forky"
PACKAGES = ("ca-certificates", "python3.14")

# Replaces the interpreter and keeps its process, so signals and exit codes are those of Python. The current folder has
# the same path inside, and the network is shared. Every mount ends with the last process of the namespace.
PYTHON = """\
#!/bin/sh
exec unshare --mount sh -euc '
root=$1 packages=$2
shift 2
here=$(pwd -P)
new=$root/mnt
mount -t tmpfs -o mode=755 tmpfs "$new"
for path in "$root"/*; do
    name=${path##*/}
    if [ -L "$path" ]; then
        cp -P "$path" "$new/$name"
    elif [ "$name" != mnt ]; then
        mkdir "$new/$name"
        mount --bind "$path" "$new/$name"
        mount -o remount,bind,ro "$new/$name"
    fi
done
mount --bind "$packages" "$new/usr/local/lib/python3.14/dist-packages"
mount --bind /etc/hosts "$new/etc/hosts"
mount --rbind /proc "$new/proc"
mount --rbind /dev "$new/dev"
mount -t tmpfs -o mode=1777 tmpfs "$new/tmp"
mkdir -p "$new$here"
mount --bind "$here" "$new$here"
# The certificates have another path inside.
exec chroot "$new" /usr/bin/env --chdir="$here" --unset=SSL_CERT_FILE /usr/bin/python3.14 "$@"
' sh '{root}' '{packages}' "$@"
"""


class MissingPythonError(Exception):
    """This machine cannot run Python 3.14. The message names the missing programs."""


def debian_environment_of(service: Path) -> Environment:
    """Return an environment in which a rendered service runs on Python 3.14, and create it if it is missing.

    Its only program is `python`. It runs in any folder and has access only to that folder and the network.

    Args:
        service: The folder of the service.

    Raises:
        MissingPythonError: A required program or permission is missing.
        RuntimeError: Debian or the packages could not be installed.
    """
    if missing := missing_tools("uv"):
        raise MissingPythonError(
            f"Python {VERSION} is not installed, and Debian's cannot be installed without {', '.join(missing)}"
        )
    root = _debian()
    requirements = requirements_of(service)
    key = hashlib.sha256("\n".join([str(root), PYTHON, *requirements]).encode()).hexdigest()[:16]
    environment = Environment(cache_folder() / key, VERSION)
    with environment.lock("install"):
        if not (environment.folder / "complete").exists():
            shutil.rmtree(environment.folder, ignore_errors=True)
            packages = environment.folder / "packages"
            call(["uv", "pip", "install", *_target(), "--target", packages, *requirements])
            environment.python.parent.mkdir()
            text = PYTHON.replace("{root}", str(root)).replace("{packages}", str(packages))
            environment.python.write_text(text)
            environment.python.chmod(0o755)
            (environment.folder / "complete").touch()
    return environment


def _debian() -> Path:
    """Return the folder of a Debian with Python 3.14, and install it if it is missing."""
    key = hashlib.sha256("\n".join([SUITE, *PACKAGES]).encode()).hexdigest()[:16]
    root = cache_folder() / f"{SUITE}-{key}"
    with FileLock(root.with_name(f"{root.name}.lock")):
        complete = root.with_name(f"{root.name}.complete")
        if not complete.exists():
            shutil.rmtree(root, ignore_errors=True)
            install(SUITE, PACKAGES, root)
            complete.touch()
    return root


def _target() -> list[str]:
    """Return uv's options for the target platform. Debian has no compiler, so only wheels are used."""
    system = f"{platform.machine()}-manylinux_2_38"
    chosen = ["--quiet", "--python-version", VERSION, "--python-platform", system, "--only-binary", ":all:"]
    # Pure Python, published only as source.
    return [*chosen, "--no-binary", "forbiddenfruit"]
