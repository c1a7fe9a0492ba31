"""Third-party templates: their URLs with credentials, and copies of their repositories."""

import atexit
import functools
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from quickset import git
from quickset.errors import QuicksetError, UsageError

# URLs that Copier accepts as those of git repositories, even without `.git` or `git+`.
_KNOWN = ("git@", "git://", "https://github.com/", "https://gitlab.com/")
_SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
_SCHEMES = ("file", "git", "http", "https", "ssh")
_SCP = re.compile(r"(?:[\w.-]+@)?[A-Za-z0-9][\w.-]*:(?!//|:)[^@]+", re.ASCII)
_CANONICAL = re.compile(
    r"(?:git\+)?(?:(?:https?|ssh|git)://(?:[^/]*@)?github\.com(?::\d+)?/|(?:\w+@)?github\.com:|gh:)/?"
    r"quickset/quickset(?:\.git)?/?",
    re.IGNORECASE | re.ASCII,
)

_USER, _PASSWORD = "QUICKSET_TEMPLATE_USER", "QUICKSET_TEMPLATE_PASSWORD"
# `printf` is built into the shell, so no process has the secret among its arguments.
_HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${_USER}" "${_PASSWORD}"; }}; f"""


@dataclass(frozen=True, slots=True)
class Remote:
    """The location of a repository, which may be shown and recorded, and the credentials."""

    url: str
    """The URL without credentials, in a form that Copier accepts as that of a git repository."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """The URL for git."""
        return self.url.removeprefix("git+")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.address.startswith("file://")

    def run(self, *args: str) -> str:
        """Run git on the repository.

        The credentials are passed in variables, because every user of the machine can read the arguments of a process.

        Args:
            *args: The arguments.

        Returns:
            The standard output.

        Raises:
            QuicksetError: git failed. The message has no credentials.
        """
        # Otherwise a dead connection blocks forever.
        config = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": "60", "protocol.ext.allow": "never"}
        env = {}
        if self.user or self.password:
            parts = urlsplit(self.address)
            # The user's helpers would store a given password. Without one, they may know the password.
            config |= {"credential.helper": ""} if self.password else {}
            config |= {f"credential.{parts.scheme}://{parts.netloc}.helper": _HELPER}
            config |= {f"credential.{parts.scheme}://{parts.netloc}.username": self.user}
            env = {_USER: self.user, _PASSWORD: self.password}
        done = git.attempt(*args, env=env, config=config)
        if done.returncode:
            reason = self._without_secrets(git.reason(done.stderr))
            raise QuicksetError(f"the template at {self.url} cannot be fetched: {reason}")
        return done.stdout

    def clone(self, folder: Path) -> None:
        """Clone the repository without hooks and settings.

        Args:
            folder: The folder of the bare repository to create.

        Raises:
            QuicksetError: The repository cannot be fetched.
        """
        self.run("clone", "--quiet", "--bare", "--no-local", "--", self.address, str(folder))

    def _without_secrets(self, text: str) -> str:
        """Remove credentials from a message, because servers may repeat them."""
        secrets = {self.user, self.password} - {""}
        for secret in sorted(secrets | {quote(secret, safe="") for secret in secrets}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def is_canonical(url: str) -> bool:
    """Return whether a URL is that of quickset's own template, in any form.

    Args:
        url: The recorded or given URL.

    Returns:
        Whether it is canonical.
    """
    return _CANONICAL.fullmatch(url) is not None


def parse(text: str) -> Remote:
    """Parse the location of a template.

    Args:
        text: A URL (https, ssh or file), `user@host:path`, `gh:` or `gl:`, or a path.

    Returns:
        The repository.

    Raises:
        UsageError: The text is none of these. The message repeats nothing that may be secret.
    """
    text = text.removeprefix("git+")
    for short, long in _SHORT.items():
        if text.startswith(short):
            text = long + text.removeprefix(short).lstrip("/")
    if text.startswith("file://"):
        # A name may have bytes that are not UTF-8.
        path = unquote_to_bytes(os.fsencode(text.removeprefix("file://").removeprefix("localhost")))
        return _local(Path(os.fsdecode(path)))
    if "://" in text:
        return _url(text)
    if _SCP.fullmatch(text) and not Path(text).exists():
        return Remote(_recorded(text))
    return _local(Path(text))


def resolve_location(recorded: str, service: Path) -> str:
    """Resolve a relative path to a template, which Copier records if it gets one.

    The path starts where Copier ran: in the service's folder, or in the folder above.

    Args:
        recorded: The recorded location.
        service: The service's folder.

    Returns:
        The absolute path if there is such a folder, otherwise the recorded location.
    """
    if "://" in recorded or recorded.startswith((*_SHORT, "~")):
        return recorded
    folder = service.resolve()
    places = (place / recorded for place in (folder, folder.parent))
    return next((str(place.resolve()) for place in places if place.is_dir()), recorded)


def _url(text: str) -> Remote:
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in _SCHEMES or parts.query or parts.fragment or not text.isprintable():
        raise UsageError(
            "--template: this is not the URL of a git repository; give https://host/path.git, "
            "ssh://user@host/path.git, user@host:path.git or a folder, without '?' and '#'."
        )
    login, _, place = parts.netloc.rpartition("@")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (user + password).isprintable():
        raise UsageError("--template: the user name or password in this URL has control characters.")
    if parts.scheme == "ssh":
        # The name is a part of the address. ssh has no use for the password.
        place = f"{login.partition(':')[0]}@{place}" if login else place
        user = password = ""
    return Remote(_recorded(f"{parts.scheme}://{place}{parts.path.rstrip('/')}"), user, password)


def _local(path: Path) -> Remote:
    try:
        folder = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        shown = re.sub(r"[^/]*@", "***@", str(path))
        raise UsageError(
            f"--template: there is no folder '{shown}', and it is not the URL of a git repository."
        ) from None
    return Remote(f"git+{folder.as_uri()}")


def _recorded(url: str) -> str:
    """Write a URL so that Copier accepts it as that of a git repository."""
    if url.endswith(".git"):
        return url
    if url.startswith(("https://github.com/", "https://gitlab.com/")):
        # Copier would append it, and git would look for another address than the prepared one.
        return f"{url}.git"
    return url if url.startswith(_KNOWN) else f"git+{url}"


@functools.cache
def process_folder() -> Path:
    """Create a folder that lasts as long as this process.

    Returns:
        The folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="quickset-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def tags(remote: Remote) -> frozenset[str]:
    """List the tags of a repository without a copy.

    Args:
        remote: The repository.

    Returns:
        The names of the tags.

    Raises:
        QuicksetError: The repository cannot be reached.
    """
    listed = remote.run("ls-remote", "--tags", "--refs", "--", remote.address)
    return frozenset(line.partition("\trefs/tags/")[2] for line in listed.splitlines())
