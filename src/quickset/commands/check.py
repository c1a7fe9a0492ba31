"""`quickset check`: check whether services are behind their template. Only versions are compared, which is fast."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quickset.commands.drift import Drift, differences
from quickset.errors import QuicksetError, os_reason
from quickset.templates import remote, source
from quickset.templates.answers_file import find_answers_file, read_answers
from quickset.templates.template import Template

if TYPE_CHECKING:
    from quickset.templates.render import Renderer

Progress = Callable[[str], AbstractContextManager[object]]

_NUMBERS = re.compile(r"(\d+)\.(\d+)\.(\d+)(\.dev\d+)?(\+g[0-9a-f]+)?")
_UNRELEASED = re.compile(r"\.dev|\+")
_URL = re.compile(r"\w+://[^\s'\"]+")
_AT_ONCE = 8


class Status(StrEnum):
    """The state of a service compared with its template."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    """The service records a version that is newer than every known release."""
    UNKNOWN = "unknown"
    """The recorded version, or the template, is not known."""
    CONFLICTED = "conflicted"
    """An update is not finished."""
    FAILED = "failed"
    """The folder is not a service, or its answers are damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result for one path. The names are those of the JSON output."""

    path: Path
    """The path as given."""
    status: Status
    version: str | None = None
    """The recorded version, without the `v` of the tag."""
    newest: str | None = None
    """The newest known release."""
    behind: int = 0
    """The number of releases after the recorded one."""
    source: str | None = None
    """The location of the template, without credentials."""
    reason: str = ""
    """The reason for the status, and what to do."""
    drift: tuple[Drift, ...] | None = None
    """The differences from a fresh render; None if they were not compared."""
    error: str = ""
    """The error for this path."""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class _Service:
    path: Path
    answers_file: str
    answers: Mapping[str, Any]
    unfinished: str

    @property
    def ref(self) -> str:
        return str(self.answers["_commit"])

    @property
    def src_path(self) -> str:
        return str(self.answers["_src_path"])


@dataclass(frozen=True, slots=True)
class _KnownReleases:
    """The releases of one source, which is asked once."""

    origin: source.Source | None = None
    versions: list[str] = field(default_factory=list)
    fault: str = ""

    def at(self, ref: str) -> Template:
        if self.origin is None:
            raise QuicksetError(self.fault)
        return self.origin.recorded(ref)


def check(
    paths: Sequence[Path] = (Path(),),
    *,
    drift: bool = False,
    answers_file: str = "",
    template_source: source.Source | None = None,
    progress: Progress = lambda _: nullcontext(),
) -> tuple[CheckResult, ...]:
    """Compare each service with its template. An error of one service does not stop the others.

    Args:
        paths: The services.
        drift: Also list the files that differ from a fresh render.
        answers_file: The answers file. If empty, it is searched for.
        template_source: The source of quickset's own template. By default, the installed one.
        progress: Opens a context in which a long step is shown.

    Returns:
        The results, in the order of the paths.
    """
    read = [_read(path, answers_file) for path in paths]
    services = [each for each in read if isinstance(each, _Service)]
    releases = _find_all_releases({each.src_path for each in services}, template_source, progress)
    found = [each if isinstance(each, CheckResult) else _compare(each, releases[each.src_path]) for each in read]
    if drift:
        _add_drift(found, read, releases, progress)
    return tuple(found)


def exit_code(found: Sequence[CheckResult], *, strict: bool = False) -> int:
    """Choose the exit code of the command.

    Args:
        found: The results.
        strict: Count drift as something to do.

    Returns:
        The first of 5, 2, 3 and 1 that a result has, otherwise 0.
    """
    codes = {each.exit_code for each in found}
    if strict and any(each.drift for each in found):
        codes.add(1)
    return next(code for code in (5, 2, 3, 1, 0) if code in codes | {0})


def as_json(found: Sequence[CheckResult]) -> str:
    """Convert results to JSON.

    Args:
        found: The results.

    Returns:
        One JSON document.
    """
    counts = Counter(each.status for each in found)
    document = {
        "services": [asdict(each) for each in found],
        "counts": {status: counts[status] for status in Status},
    }
    return json.dumps(document, indent=2, default=str)


def _read(path: Path, answers_file: str) -> _Service | CheckResult:
    """Read the recorded answers of a service, and whether an update of it is unfinished."""
    try:
        unfinished = _unfinished(path)
        try:
            name = find_answers_file(path, answers_file)
            return _Service(path, name, read_answers(path, name), unfinished)
        except QuicksetError:
            if not unfinished:
                raise
        # The conflicts of the update may be in the answers file.
        return CheckResult(path=path, status=Status.CONFLICTED, reason=unfinished, exit_code=3)
    except QuicksetError as error:
        return _failed(path, error)
    except (OSError, RuntimeError) as error:  # raised by pathlib for a loop of links before Python 3.13
        return _failed(path, QuicksetError(os_reason(error) if isinstance(error, OSError) else str(error)))


def _failed(path: Path, error: QuicksetError) -> CheckResult:
    return CheckResult(path=path, status=Status.FAILED, error=str(error), exit_code=error.exit_code)


def _unfinished(path: Path) -> str:
    """Describe an unfinished update of this service. Return an empty text if there is none."""
    folder = path.resolve()
    top, git_dir = _repository(folder)
    if git_dir is None:
        return ""
    try:
        text = (git_dir / "quickset" / "journal.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        journal = json.loads(text)
        mine, phase = (top / journal["service"]).resolve() == folder, journal["phase"]
    except (ValueError, KeyError, TypeError):
        mine, phase = True, "damaged"
    if not mine:
        return ""
    if phase == "conflicts":
        if _has_vanished(path):
            return ""
        return "an update left conflicts: resolve them, then `quickset update --continue`; or `quickset update --abort`"
    return "an update was interrupted: `quickset update --continue` finishes it, `quickset update --abort` undoes it"


def _has_vanished(path: Path) -> bool:
    """Return whether nothing of an update with conflicts is left, as after `git reset --hard`."""
    from quickset.updating.conflicts import has_vanished
    from quickset.updating.journal import Journal
    from quickset.updating.repository import Repository

    try:
        repository = Repository.around(path)
        record = Journal.load(repository.state)
        return record is None or has_vanished(repository, record)
    except QuicksetError:
        return False


def _repository(folder: Path) -> tuple[Path, Path | None]:
    """Find the work tree around a folder, and its git directory, without the time to start git."""
    for top in (folder, *folder.parents):
        git_dir = top / ".git"
        if git_dir.is_file():
            # The folder is a linked work tree, or a submodule.
            pointer = git_dir.read_text(encoding="utf-8", errors="surrogateescape")
            return top, top / pointer.removeprefix("gitdir:").strip()
        if (git_dir / "HEAD").exists():
            return top, git_dir
    return folder, None


def _find_all_releases(
    src_paths: set[str], mine: source.Source | None, progress: Progress
) -> dict[str, _KnownReleases]:
    """Ask every source for its releases once. Remote sources are asked at the same time."""
    if all(remote.is_canonical(each) for each in src_paths):
        return {each: _find_releases(each, mine) for each in src_paths}
    from concurrent.futures import ThreadPoolExecutor

    with progress("Asking for releases"), ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(src_paths, pool.map(lambda each: _find_releases(each, mine), src_paths), strict=True))


def _find_releases(src_path: str, mine: source.Source | None) -> _KnownReleases:
    try:
        origin = _origin(src_path, mine)
        return _KnownReleases(origin, origin.versions())
    except QuicksetError as error:
        # The message of git contains the address in another form.
        return _KnownReleases(
            fault=_URL.sub(lambda found: shown(found[0]), str(error).replace(src_path, shown(src_path)))
        )


def shown(src_path: str) -> str:
    """Remove the credentials from a URL.

    Args:
        src_path: The location of a template.

    Returns:
        The location without user, password and query.
    """
    return re.sub(r"(?<=://)[^/]*@|[?#].*", "", src_path) if "://" in src_path else src_path


def _compare(service: _Service, known: _KnownReleases) -> CheckResult:
    """Compare the recorded version of a service with the releases of its source."""
    version = service.ref.removeprefix("v")
    checked = CheckResult(
        path=service.path,
        status=Status.UNKNOWN,
        version=version,
        newest=next(iter(known.versions), None),
        source=shown(service.src_path),
        exit_code=5,
    )
    behind, reason = _behind(service, version, known)
    if behind is None:
        checked = replace(checked, reason=reason)
    elif behind > 0:
        checked = replace(checked, status=Status.BEHIND, behind=behind, exit_code=1)
    else:
        checked = replace(checked, status=Status.AHEAD if reason else Status.CURRENT, reason=reason, exit_code=0)
    if service.unfinished:
        return replace(checked, status=Status.CONFLICTED, reason=service.unfinished, exit_code=3)
    return checked


def _behind(service: _Service, version: str, known: _KnownReleases) -> tuple[int | None, str]:
    """Count the releases after a version, or return None if it is unknown. A reason and no releases mean ahead."""
    if known.origin is None:
        return None, known.fault
    if version in known.versions:
        return known.versions.index(version), ""
    mine = remote.is_canonical(service.src_path)
    who = "this quickset" if mine else shown(service.src_path)
    numbers = _numbers(version)
    later = sum(1 for each in known.versions if numbers and (_numbers(each) or ()) >= numbers)
    reason = ""
    if numbers is None:
        reason = f"{service.ref} is not a release that {who} knows"
    elif _UNRELEASED.search(version):
        if _holds(known.origin, service.ref):
            return later, "" if later else "an unreleased state, after every release"
        reason = f"{service.ref} is an unreleased state that {who} does not have"
    elif not known.versions:
        reason = f"{who} knows no release"
    elif later:
        reason = f"{service.ref} is none of the releases that {who} knows: {', '.join(known.versions)}"
    else:
        return 0, "made by a newer quickset: `uvx quickset@latest check`" if mine else f"newer than what {who} has"
    return None, reason


def _holds(origin: source.Source, ref: str) -> bool:
    try:
        origin.recorded(ref)
    except QuicksetError:
        return False
    return True


def _numbers(version: str) -> tuple[int, ...] | None:
    found = _NUMBERS.fullmatch(version)
    return tuple(int(number) for number in found.group(1, 2, 3)) if found else None


def _add_drift(
    found: list[CheckResult],
    read: Sequence[_Service | CheckResult],
    releases: Mapping[str, _KnownReleases],
    progress: Progress,
) -> None:
    """Compare the services with fresh renders, one at a time, because Copier changes the environment variables."""
    states: dict[tuple[str, str], list[tuple[int, _Service]]] = defaultdict(list)
    for number, service in enumerate(read):
        # An unfinished update matters more, and an unknown version cannot be rendered.
        if isinstance(service, _Service) and found[number].status in (Status.CURRENT, Status.BEHIND, Status.AHEAD):
            states[service.src_path, service.ref].append((number, service))
    if not states:
        return
    from quickset.templates.render import renderer

    with progress("Comparing with fresh renders"):
        for (src_path, ref), members in states.items():
            try:
                template = releases[src_path].at(ref)
            except QuicksetError as error:
                for number, service in members:
                    found[number] = _not_compared(found[number], service, str(error))
                continue
            with renderer(template) as work:
                for number, service in members:
                    found[number] = _with_drift(found[number], service, work)


def _with_drift(checked: CheckResult, service: _Service, work: "Renderer") -> CheckResult:
    try:
        return replace(checked, drift=differences(service.path, service.answers, work, service.answers_file))
    except OSError as error:
        return _not_compared(checked, service, os_reason(error))
    except QuicksetError as error:
        return _not_compared(checked, service, str(error))


def _not_compared(checked: CheckResult, service: _Service, fault: str) -> CheckResult:
    if checked.status is Status.AHEAD:
        # This version of quickset has no such release to compare with.
        return checked
    return replace(checked, error=f"{service.path} cannot be compared: {fault}", exit_code=QuicksetError.exit_code)


def _origin(src_path: str, mine: source.Source | None) -> source.Source:
    return mine if mine and remote.is_canonical(src_path) else source.of(src_path)
