"""`quickset check`: is a service behind its template? It compares versions only, so that it is fast."""

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
    """How a service stands to its template."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    """It records something newer than every release that is known here."""
    UNKNOWN = "unknown"
    """It is unknown."""
    CONFLICTED = "conflicted"
    """An update of it is not finished."""
    FAILED = "failed"
    """It is no service, or its answers are damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found out about one path."""

    path: Path
    """As it was given."""
    status: Status
    version: str | None = None
    """What it records, without the `v` of the tag."""
    newest: str | None = None
    """The newest release that is known."""
    behind: int = 0
    """How many releases there are after its own."""
    source: str | None = None
    """Where its template comes from, without credentials."""
    reason: str = ""
    """Why, where the status does not say it all, and what to do."""
    drift: tuple[Drift, ...] | None = None
    """The differences from a fresh render; None without a comparison."""
    error: str = ""
    """What went wrong with this path."""
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
class _Place:
    """One source, asked once."""

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
) -> tuple[Checked, ...]:
    """Say for each service how it stands to its template. What is wrong with one stops none of the others.

    Args:
        paths: The services.
        drift: Render what they record, too, and list the files that differ.
        answers_file: Where their answers are; empty to look for them.
        template_source: Where the template of this quickset comes from; by default what belongs to it.
        progress: Opens a context in which the user sees what takes long.

    Returns:
        What was found out, in the order of the paths.
    """
    read = [_read(path, answers_file) for path in paths]
    services = [each for each in read if isinstance(each, _Service)]
    places = _ask({each.src_path for each in services}, template_source, progress)
    found = [each if isinstance(each, Checked) else _compare(each, places[each.src_path]) for each in read]
    if drift:
        _add_drift(found, read, places, progress)
    return tuple(found)


def exit_code(found: Sequence[Checked], *, strict: bool = False) -> int:
    """Pick the exit code: that of the service that is worst off.

    Args:
        found: What was found out.
        strict: Drift is something to do.

    Returns:
        5, 2, 3, 1 or 0, whichever of them comes first.
    """
    codes = {each.exit_code for each in found}
    if strict and any(each.drift for each in found):
        codes.add(1)
    return next(code for code in (5, 2, 3, 1, 0) if code in codes | {0})


def as_json(found: Sequence[Checked]) -> str:
    """Write what was found out for scripts.

    Args:
        found: What was found out.

    Returns:
        One JSON document.
    """
    counts = Counter(each.status for each in found)
    document = {
        "services": [asdict(each) for each in found],
        "counts": {status: counts[status] for status in Status},
    }
    return json.dumps(document, indent=2, default=str)


def _read(path: Path, answers_file: str) -> _Service | Checked:
    """Read what a service records, and whether an update of it is unfinished."""
    try:
        unfinished = _unfinished(path)
        try:
            name = find_answers_file(path, answers_file)
            return _Service(path, name, read_answers(path, name), unfinished)
        except QuicksetError:
            if not unfinished:
                raise
        # The update may be what left the answers as they are.
        return Checked(path=path, status=Status.CONFLICTED, reason=unfinished, exit_code=3)
    except QuicksetError as error:
        return _failed(path, error)
    except (OSError, RuntimeError) as error:  # pathlib's word for a loop of links was RuntimeError before Python 3.13
        return _failed(path, QuicksetError(os_reason(error) if isinstance(error, OSError) else str(error)))


def _failed(path: Path, error: QuicksetError) -> Checked:
    return Checked(path=path, status=Status.FAILED, error=str(error), exit_code=error.exit_code)


def _unfinished(path: Path) -> str:
    """Say what is left of an update of this service; empty when nothing is."""
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
        if _taken_back(path):
            return ""
        return "an update left conflicts: resolve them, then `quickset update --continue`; or `quickset update --abort`"
    return "an update was interrupted: `quickset update --continue` finishes it, `quickset update --abort` undoes it"


def _taken_back(path: Path) -> bool:
    """Return whether nothing of an update with conflicts is left, as after `git reset --hard`."""
    from quickset.updating.conflicts import vanished
    from quickset.updating.journal import Journal
    from quickset.updating.repository import Repository

    try:
        repository = Repository.around(path)
        record = Journal.load(repository.state)
        return record is None or vanished(repository, record)
    except QuicksetError:
        return False


def _repository(folder: Path) -> tuple[Path, Path | None]:
    """Find the work tree around a folder and its git directory as git does, without starting it."""
    for top in (folder, *folder.parents):
        git_dir = top / ".git"
        if git_dir.is_file():
            # A linked worktree, or a submodule.
            pointer = git_dir.read_text(encoding="utf-8", errors="surrogateescape")
            return top, top / pointer.removeprefix("gitdir:").strip()
        if (git_dir / "HEAD").exists():
            return top, git_dir
    return folder, None


def _ask(src_paths: set[str], mine: source.Source | None, progress: Progress) -> dict[str, _Place]:
    """Ask every source for its releases, once, and those elsewhere at the same time."""
    if all(remote.is_canonical(each) for each in src_paths):
        return {each: _place(each, mine) for each in src_paths}
    from concurrent.futures import ThreadPoolExecutor

    with progress("Asking for releases"), ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(src_paths, pool.map(lambda each: _place(each, mine), src_paths), strict=True))


def _place(src_path: str, mine: source.Source | None) -> _Place:
    try:
        origin = _origin(src_path, mine)
        return _Place(origin, origin.versions())
    except QuicksetError as error:
        # Git's words hold the address in a form of its own.
        return _Place(fault=_URL.sub(lambda found: shown(found[0]), str(error).replace(src_path, shown(src_path))))


def shown(src_path: str) -> str:
    """Remove the credentials from a URL.

    Args:
        src_path: Where a template comes from.

    Returns:
        The same without user, password and query.
    """
    return re.sub(r"(?<=://)[^/]*@|[?#].*", "", src_path) if "://" in src_path else src_path


def _compare(service: _Service, place: _Place) -> Checked:
    """Compare what a service records with the releases of its source."""
    version = service.ref.removeprefix("v")
    checked = Checked(
        path=service.path,
        status=Status.UNKNOWN,
        version=version,
        newest=next(iter(place.versions), None),
        source=shown(service.src_path),
        exit_code=5,
    )
    behind, reason = _behind(service, version, place)
    if behind is None:
        checked = replace(checked, reason=reason)
    elif behind > 0:
        checked = replace(checked, status=Status.BEHIND, behind=behind, exit_code=1)
    else:
        checked = replace(checked, status=Status.AHEAD if reason else Status.CURRENT, reason=reason, exit_code=0)
    if service.unfinished:
        return replace(checked, status=Status.CONFLICTED, reason=service.unfinished, exit_code=3)
    return checked


def _behind(service: _Service, version: str, place: _Place) -> tuple[int | None, str]:
    """Count the releases after a version; None when it is unknown. With a reason and none of them, it is ahead."""
    if place.origin is None:
        return None, place.fault
    if version in place.versions:
        return place.versions.index(version), ""
    mine = remote.is_canonical(service.src_path)
    who = "this quickset" if mine else shown(service.src_path)
    numbers = _numbers(version)
    later = sum(1 for each in place.versions if numbers and (_numbers(each) or ()) >= numbers)
    reason = ""
    if numbers is None:
        reason = f"{service.ref} is no release that {who} knows"
    elif _UNRELEASED.search(version):
        if _holds(place.origin, service.ref):
            return later, "" if later else "an unreleased state, after every release"
        reason = f"{service.ref} is an unreleased state that {who} does not hold"
    elif not place.versions:
        reason = f"{who} knows no release"
    elif later:
        reason = f"{service.ref} is none of the releases that {who} knows: {', '.join(place.versions)}"
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
    found: list[Checked], read: Sequence[_Service | Checked], places: Mapping[str, _Place], progress: Progress
) -> None:
    """Compare the services with fresh renders, one after the other: Copier works on the process's environment."""
    states: dict[tuple[str, str], list[tuple[int, _Service]]] = defaultdict(list)
    for number, service in enumerate(read):
        # An unfinished update says more, and what is not known cannot be rendered.
        if isinstance(service, _Service) and found[number].status in (Status.CURRENT, Status.BEHIND, Status.AHEAD):
            states[service.src_path, service.ref].append((number, service))
    if not states:
        return
    from quickset.templates.render import renderer

    with progress("Comparing with fresh renders"):
        for (src_path, ref), members in states.items():
            try:
                template = places[src_path].at(ref)
            except QuicksetError as error:
                for number, service in members:
                    found[number] = _not_compared(found[number], service, str(error))
                continue
            with renderer(template) as work:
                for number, service in members:
                    found[number] = _with_drift(found[number], service, work)


def _with_drift(checked: Checked, service: _Service, work: "Renderer") -> Checked:
    try:
        return replace(checked, drift=differences(service.path, service.answers, work, service.answers_file))
    except OSError as error:
        return _not_compared(checked, service, os_reason(error))
    except QuicksetError as error:
        return _not_compared(checked, service, str(error))


def _not_compared(checked: Checked, service: _Service, fault: str) -> Checked:
    if checked.status is Status.AHEAD:
        # This quickset has no such release to compare with.
        return checked
    return replace(checked, error=f"{service.path} cannot be compared: {fault}", exit_code=QuicksetError.exit_code)


def _origin(src_path: str, mine: source.Source | None) -> source.Source:
    return mine if mine and remote.is_canonical(src_path) else source.of(src_path)
