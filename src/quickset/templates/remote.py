"""Templates of other people: their URLs, the credentials in those, and copies of their repositories."""

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

# URLs that Copier takes for those of git repositories, without `.git` or `git+`.
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
# What a shell builds in is no process, so that none shows the secret among its arguments.
_HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${_USER}" "${_PASSWORD}"; }}; f"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository somewhere, as it may be shown and recorded, and what opens it."""

    url: str
    """Without credentials, in a form that Copier takes for a git repository's."""
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """What git is given, here and by Copier."""
        return self.url.removeprefix("git+")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.address.startswith("file://")

    def run(self, *args: str) -> str:
        """Run git on it.

        The credentials travel in the environment: arguments are there for everyone on the machine to read, and git's
        own programs pass the URL on among theirs.

        Args:
            *args: The arguments.

        Returns:
            What git printed.

        Raises:
            QuicksetError: git failed; the message holds no credentials.
        """
        # A dead connection would else hang for good.
        config = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": "60", "protocol.ext.allow": "never"}
        env = {}
        if self.user or self.password:
            parts = urlsplit(self.address)
            # The user's own helpers would keep a password that they are not asked for; without one they may know it.
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
        """Copy the repository: everything in it, and nothing that could run.

        Args:
            folder: The bare repository to make; it must not exist.

        Raises:
            QuicksetError: It cannot be fetched.
        """
        self.run("clone", "--quiet", "--bare", "--no-local", "--", self.address, str(folder))

    def _without_secrets(self, text: str) -> str:
        """Servers may repeat what they were sent."""
        secrets = {self.user, self.password} - {""}
        for secret in sorted(secrets | {quote(secret, safe="") for secret in secrets}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def is_canonical(url: str) -> bool:
    """Return whether a URL is that of quickset's own template, in any of its forms.

    Args:
        url: As recorded or given.

    Returns:
        Whether it is.
    """
    return _CANONICAL.fullmatch(url) is not None


def parse(text: str) -> Remote:
    """Read a template's URL.

    Args:
        text: As given or recorded: https, ssh, file, `user@host:path`, `gh:` or `gl:`, or a path.

    Returns:
        The repository.

    Raises:
        UsageError: It is none of these; the message repeats nothing that may be secret.
    """
    text = text.removeprefix("git+")
    for short, long in _SHORT.items():
        if text.startswith(short):
            text = long + text.removeprefix(short).lstrip("/")
    if text.startswith("file://"):
        # A name may hold bytes that are not UTF-8.
        path = unquote_to_bytes(os.fsencode(text.removeprefix("file://").removeprefix("localhost")))
        return _local(Path(os.fsdecode(path)))
    if "://" in text:
        return _url(text)
    if _SCP.fullmatch(text) and not Path(text).exists():
        return Remote(_recorded(text))
    return _local(Path(text))


def located(recorded: str, service: Path) -> str:
    """Find a template that a service records by a relative path, as Copier does when it is given one.

    Copier records it relative to where it ran: in the service, or in the folder that holds it.

    Args:
        recorded: Where the template is, as recorded.
        service: The service's folder.

    Returns:
        The absolute path where there is such a folder, else what is recorded.
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
            "--template: this is no URL of a git repository; give https://host/path.git, ssh://user@host/path.git, "
            "user@host:path.git or a folder, without '?' and '#'."
        )
    login, _, place = parts.netloc.rpartition("@")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (user + password).isprintable():
        raise UsageError("--template: the user name or password in this URL holds control characters.")
    if parts.scheme == "ssh":
        # The name belongs to the address, and the password is of no use to ssh.
        place = f"{login.partition(':')[0]}@{place}" if login else place
        user = password = ""
    return Remote(_recorded(f"{parts.scheme}://{place}{parts.path.rstrip('/')}"), user, password)


def _local(path: Path) -> Remote:
    try:
        folder = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        shown = re.sub(r"[^/]*@", "***@", str(path))
        raise UsageError(f"--template: there is no folder '{shown}', and it is no URL of a git repository.") from None
    return Remote(f"git+{folder.as_uri()}")


def _recorded(url: str) -> str:
    """Write an address so that Copier sees that it is a git repository's."""
    if url.endswith(".git"):
        return url
    if url.startswith(("https://github.com/", "https://gitlab.com/")):
        # Copier would append it, and git then look for another address than the one that was prepared.
        return f"{url}.git"
    return url if url.startswith(_KNOWN) else f"git+{url}"


@functools.cache
def scratch() -> Path:
    """Make a folder that lasts as long as this process.

    Returns:
        The folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="quickset-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def tags(remote: Remote) -> frozenset[str]:
    """List a repository's tags without copying it.

    Args:
        remote: Which one.

    Returns:
        Their names.

    Raises:
        QuicksetError: It cannot be reached.
    """
    listed = remote.run("ls-remote", "--tags", "--refs", "--", remote.address)
    return frozenset(line.partition("\trefs/tags/")[2] for line in listed.splitlines())
