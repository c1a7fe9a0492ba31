"""Builds the image of a rendered service and runs it with restricted permissions.

It uses a Docker engine if one is available. Otherwise it uses buildah with separate storage and stand-ins for the base
images. The stand-ins have the real names. The Python image consists of Debian's packages and the running Python, and
the uv image consists of the installed uv.
"""

import fcntl
import hashlib
import inspect
import json
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.services.debian import call, install, missing_tools

PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# The packages of the official slim image besides Debian's essential ones.
PYTHON_NEEDS = (
    "ca-certificates",
    "libbz2-1.0",
    "libdb5.3",
    "libexpat1",
    "libffi8",
    "libgdbm6",
    "liblzma5",
    "libncursesw6",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libuuid1",
    "netbase",
    "tzdata",
    "zlib1g",
)
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
PYTHON_WITHOUT = ("__pycache__", "config-*", "idlelib", "site-packages", "test", "tkinter")

# Runs in mount and process namespaces of its own. The arguments are root, mounts ("-" ends them) and command.
ENTER = """
set -eu
root=$1
shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind -o ro /etc/hosts "$root/etc/hosts"
while [ "$1" != - ]; do
    mount --bind "$1" "$root/$2"
    shift 2
done
shift
exec chroot "$root" "$@"
"""


class MissingError(Exception):
    """This machine cannot build an image. The message names the missing programs."""


@dataclass(frozen=True)
class Image:
    """A built image and its recorded configuration."""

    reference: str
    user: str
    command: list[str]
    environment: dict[str, str]
    health: list[str]
    folder: str
    history: list[str]

    @classmethod
    def from_config(cls, reference: str, config: Mapping[str, Any], history: list[str]) -> Self:
        """Read the configuration in Docker's image format."""
        return cls(
            reference=reference,
            user=config.get("User", ""),
            command=[*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])],
            environment=dict(item.split("=", 1) for item in config.get("Env") or []),
            health=(config.get("Healthcheck") or {}).get("Test") or [],
            folder=config.get("WorkingDir") or "/",
            history=history,
        )


class Container(ABC):
    """A command that runs in an image, with a read-only root and without capabilities."""

    @abstractmethod
    def execute(self, command: Sequence[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run another command in the same container."""

    @abstractmethod
    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""

    @abstractmethod
    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code."""

    @abstractmethod
    def log(self) -> str:
        """Return the output so far."""

    @abstractmethod
    def close(self) -> None:
        """Stop the command in any state."""


class Engine(ABC):
    """Builds images and runs them."""

    name: str

    @abstractmethod
    def build(self, context: Path) -> Image:
        """Build the image of a folder."""

    @abstractmethod
    def remove(self, image: Image) -> None:
        """Remove an image."""

    @abstractmethod
    def export(self, image: Image, archive: Path) -> None:
        """Write the files of an image to a tar archive."""

    @abstractmethod
    def volume(self, image: Image, path: str) -> str:
        """Create a volume with a copy of a folder of the image, and return its name."""

    @abstractmethod
    def remove_volume(self, name: str) -> None:
        """Remove a volume."""

    @abstractmethod
    def start(
        self,
        image: Image,
        environment: Mapping[str, str],
        command: Sequence[str],
        volumes: Mapping[str, str],
    ) -> Container:
        """Start a command. Volumes are paths in the image with the names of volumes."""

    @contextmanager
    def run(
        self,
        image: Image,
        environment: Mapping[str, str],
        command: Sequence[str] = (),
        volumes: Mapping[str, str] | None = None,
    ) -> Iterator[Container]:
        """Run a command of an image, by default its own, in the network of this machine."""
        container = self.start(image, environment, command or image.command, volumes or {})
        try:
            yield container
        finally:
            container.close()


def find_engine() -> Engine:
    """Return the engine of this machine.

    Raises:
        MissingError: There is no engine.
    """
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "version"], check=False, capture_output=True, timeout=60).returncode
    ):
        return Docker()
    if missing := missing_tools("buildah", "nsenter", "setpriv", "uv"):
        raise MissingError(f"no Docker engine responds, and buildah cannot replace it without {', '.join(missing)}")
    return Buildah()


class Docker(Engine):
    """A Docker engine with the real base images."""

    name = "docker"

    def build(self, context: Path) -> Image:
        """Build the image of a folder."""
        reference = f"quickset-tests:{secrets.token_hex(6)}"
        call(["docker", "build", "--tag", reference, context], timeout=1200)
        [found] = json.loads(call(["docker", "image", "inspect", reference]).stdout)
        history = call(["docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", reference]).stdout.splitlines()
        return Image.from_config(reference, found["Config"], history)

    def remove(self, image: Image) -> None:
        """Remove an image."""
        call(["docker", "image", "rm", "--force", image.reference])

    def export(self, image: Image, archive: Path) -> None:
        """Write the files of an image to a tar archive."""
        name = call(["docker", "create", image.reference]).stdout.strip()
        try:
            call(["docker", "export", "--output", archive, name])
        finally:
            call(["docker", "rm", name])

    def volume(self, image: Image, path: str) -> str:  # noqa: ARG002 - Docker fills it at its first use
        """Create a volume."""
        return call(["docker", "volume", "create"]).stdout.strip()

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        call(["docker", "volume", "rm", "--force", name])

    def start(
        self,
        image: Image,
        environment: Mapping[str, str],
        command: Sequence[str],
        volumes: Mapping[str, str],
    ) -> Container:
        """Start a command."""
        options = ["--detach", "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
        options += ["--security-opt=no-new-privileges:true", "--entrypoint", command[0]]
        for key, value in environment.items():
            options += ["--env", f"{key}={value}"]
        for path, volume in volumes.items():
            options += ["--volume", f"{volume}:{path}"]
        name = call(["docker", "run", *options, image.reference, *command[1:]]).stdout.strip()
        return DockerContainer(name)


class DockerContainer(Container):
    """A container of a Docker engine."""

    def __init__(self, name: str) -> None:
        self._name = name

    def execute(self, command: Sequence[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run another command in the same container."""
        return subprocess.run(
            ["docker", "exec", self._name, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        call(["docker", "kill", f"--signal={number.name}", self._name])

    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code."""
        return int(call(["docker", "wait", self._name], timeout=timeout).stdout)

    def log(self) -> str:
        """Return the output so far."""
        done = call(["docker", "logs", self._name])
        return done.stdout + done.stderr

    def close(self) -> None:
        """Stop the command in any state."""
        call(["docker", "rm", "--force", "--volumes", self._name])


class Buildah(Engine):
    """Debian's buildah with stand-ins for the base images."""

    name = "buildah"

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        # Separate storage, so that no other program finds stand-ins under the names of real images.
        self._folder = cache / "quickset-tests" / "images"
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._containers: dict[str, tuple[str, Path]] = {}

    def build(self, context: Path) -> Image:
        """Build the image of a folder."""
        names = set(re.findall(r"^FROM (\S+)|--from=(\S+/\S+)", (context / "Dockerfile").read_text(), re.MULTILINE))
        with self._lock():
            for name in sorted(image or tool for image, tool in names):
                if "/python:" in name:
                    self._provide_python(name)
                else:
                    self._provide_uv(name)
        reference = f"localhost/quickset-tests:{secrets.token_hex(6)}"
        options = ["--isolation=chroot", "--format=docker", "--pull-never", "--layers=false"]
        self._buildah("bud", *options, "--tag", reference, context, timeout=1200)
        found = json.loads(self._buildah("inspect", "--type=image", reference))
        container = self._buildah("from", "--pull-never", reference)
        self._containers[reference] = container, Path(self._buildah("mount", container))
        history = [layer.get("created_by", "") for layer in found["Docker"]["history"]]
        return Image.from_config(reference, found["Docker"]["config"], history)

    def remove(self, image: Image) -> None:
        """Remove an image."""
        container, _ = self._containers.pop(image.reference)
        self._buildah("rm", container)
        self._buildah("rmi", "--force", image.reference)

    def export(self, image: Image, archive: Path) -> None:
        """Write the files of an image to a tar archive."""
        with tarfile.open(archive, "w") as tar:
            tar.add(self._root(image), arcname=".")

    def volume(self, image: Image, path: str) -> str:
        """Create a volume with a copy of a folder of the image, and return its name."""
        volume = Path(tempfile.mkdtemp(prefix="quickset-volume-"))
        source = self._root(image) / path.lstrip("/")
        call(["cp", "--archive", "--no-target-directory", source, volume])
        return str(volume)

    def remove_volume(self, name: str) -> None:
        """Remove a volume."""
        shutil.rmtree(name)

    def start(
        self,
        image: Image,
        environment: Mapping[str, str],
        command: Sequence[str],
        volumes: Mapping[str, str],
    ) -> Container:
        """Start a command."""
        user, _, group = image.user.partition(":")
        inside = [
            "setpriv",
            f"--reuid={user or 0}",
            f"--regid={group or user or 0}",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
            "env",
            "--ignore-environment",
            f"--chdir={image.folder}",
            "HOME=/",
            *(f"{key}={value}" for key, value in {**image.environment, **environment}.items()),
        ]
        mounts = [item for path, volume in volumes.items() for item in (volume, path)]
        return Sandbox(self._root(image), mounts, inside, command)

    def _root(self, image: Image) -> Path:
        return self._containers[image.reference][1]

    def _buildah(self, action: str, *arguments: str | Path, timeout: float = 600) -> str:
        storage = ["--storage-driver=vfs", f"--root={self._folder / 'storage'}", f"--runroot={self._folder / 'run'}"]
        # Its cache mounts are below the folder for temporary files.
        environment = {**os.environ, "TMPDIR": str(self._folder / "tmp")}
        done = call(["buildah", *storage, action, *arguments], timeout=timeout, env=environment)
        return done.stdout.strip()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _stand_in(self, name: str, key: str) -> Iterator[tuple[str, Path] | None]:
        """Yield a container to fill and commit under the name, or None if the image exists."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = json.loads(self._buildah("images", "--json", "--filter", f"label=key={digest}"))
        if any(name in (image["names"] or []) for image in found or []):
            yield None
            return
        container = self._buildah("from", "scratch")
        try:
            yield container, Path(self._buildah("mount", container))
            self._buildah("config", f"--label=key={digest}", container)
            if name in self._buildah("images", "--format={{.Name}}:{{.Tag}}").splitlines():
                self._buildah("rmi", "--force", name)
            self._buildah("commit", "--format=docker", container, name)
        finally:
            self._buildah("rm", container)

    def _provide_uv(self, name: str) -> None:
        uv = Path(shutil.which("uv") or "")
        with self._stand_in(name, call([uv, "--version"]).stdout) as stand_in:
            if stand_in:
                shutil.copy(uv.resolve(), stand_in[1] / "uv")

    def _provide_python(self, name: str) -> None:
        certificates = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "")
        # The real image trusts only public authorities. This one trusts those of the machine.
        environment = {
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SSL_CERT_FILE": f"/{CERTIFICATES}",
            "UV_SYSTEM_CERTS": "1",
        }
        for key in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL"):
            if value := os.environ.get(key):
                environment[key] = value
        trusted = certificates.read_text() if certificates.is_file() else ""
        recipe = inspect.getsource(_copy_python) + inspect.getsource(Buildah._provide_python)
        parts = [recipe, *PYTHON_NEEDS, sys.version, sys.base_prefix, str(environment), trusted]
        with self._stand_in(name, "\n".join(parts)) as stand_in:
            if not stand_in:
                return
            container, root = stand_in
            install("bookworm", PYTHON_NEEDS, root)
            _copy_python(root)
            if trusted:
                (root / CERTIFICATES).write_text(trusted)
            options = [f"--env={key}={value}" for key, value in environment.items()]
            self._buildah("config", *options, "--cmd=python3", container)


def _copy_python(root: Path) -> None:
    name = f"python{PYTHON_VERSION}"
    source, target = Path(sys.base_prefix), root / "usr/local"
    shutil.copy(source / "bin" / name, target / "bin" / name)
    for link in ("python3", "python"):
        (target / "bin" / link).symlink_to(name)
    shutil.copytree(
        source / "lib" / name,
        target / "lib" / name,
        ignore=shutil.ignore_patterns(*PYTHON_WITHOUT),
        dirs_exist_ok=True,
    )
    for library in (source / "lib").glob("libpython*.so*"):
        shutil.copy(library, target / "lib" / library.name, follow_symlinks=False)
    (target / "lib" / name / "site-packages").mkdir(exist_ok=True)
    call(["chmod", "--recursive", "u=rwX,go=rX", target])
    call(["chroot", root, "ldconfig"])
    inside = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    call(["chroot", root, "python", "-m", "ensurepip", "--default-pip"], env=inside)
    call(["chroot", root, "python", "-c", "import ctypes, sqlite3, ssl, zlib"], env=inside)


class Sandbox(Container):
    """A command in the root of an image, in namespaces that do not include the network's."""

    def __init__(self, root: Path, mounts: Sequence[str], inside: Sequence[str], command: Sequence[str]) -> None:
        self._inside = inside
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        namespaces = ["--mount", "--pid", "--ipc", "--uts", "--propagation=private"]
        script = ["sh", "-c", ENTER, "sh", str(root), *mounts, "-", *inside, *command]
        self._process = subprocess.Popen(
            ["unshare", *namespaces, "--fork", "--kill-child", *script],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def _first(self) -> int | None:
        """The process ID of the command on this machine. In its own namespace it is 1, as in a container."""
        parent = self._process.pid
        while self._process.poll() is None:
            try:
                [child] = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
                # Before it enters the sandbox, it is a shell with this machine's root.
                if Path(f"/proc/{child}/root").readlink() != Path("/"):
                    return int(child)
            except (OSError, ValueError):
                pass
            time.sleep(0.01)
        return None

    def execute(self, command: Sequence[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run another command in the same container."""
        first = self._first
        if first is None:
            return subprocess.CompletedProcess(command, 1, "", "it has ended")
        enter = ["nsenter", f"--target={first}", "--mount", "--pid", "--root", "--wd"]
        return subprocess.run(
            [*enter, *self._inside, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        if first := self._first:
            os.kill(first, number)

    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code."""
        code = self._process.wait(timeout)
        return 128 - code if code < 0 else code

    def log(self) -> str:
        """Return the output so far."""
        # The command shares the position in the file, so reading must not move it.
        return os.pread(self._output.fileno(), 1_000_000, 0).decode(errors="replace")

    def close(self) -> None:
        """Stop the command in any state."""
        # The end of a namespace's first process ends all others. `--kill-child` is not sufficient: the kernel resets it
        # when `setpriv` changes the user.
        if first := self._first:
            os.kill(first, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._output.close()
