"""Read `upgrades.yml`, which describes what the releases of a template change in a service.

Third-party templates have this file, too. So conditions run in the sandbox of Jinja, and each text becomes one
printable line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jinja2
import jinja2.meta
import yaml
from jinja2.sandbox import SandboxedEnvironment

from quickset.errors import QuicksetError

FILE = "upgrades.yml"

_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(\S*)")
_TRUTH = {"true": True, "false": False}

_TOP = frozenset({"absent", "adding", "releases", "removing"})
_SECTIONS = frozenset({"before_deploy", "choices", "commands", "files", "modules", "moved_lines", "questions"})
_DETAILS = frozenset({"defaults", "keep", "settings", "text", "when"})
_CHANGE_DETAILS = frozenset({"keep", "text", "when"})


@dataclass(frozen=True, slots=True)
class DeployNote:
    """One change of a running service, to know before a deploy."""

    version: str
    """The release with the change, or the question whose answer causes it."""
    text: str
    keep: str = ""
    """How to keep the old behavior. It may be empty."""
    when: str = "true"
    settings: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renames:
    """The moves and renames of one release: new names by old names. None means that a name is gone."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    """By path. A folder ends in a slash."""
    modules: Mapping[str, str | None] = field(default_factory=dict)
    """By module, or by a name in a module."""
    commands: Mapping[str, str | None] = field(default_factory=dict)
    moved_lines: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """By file: the lines to write elsewhere, by patterns of the owner's lines."""


@dataclass(frozen=True, slots=True)
class Release:
    """The changes of one release."""

    before_deploy: tuple[DeployNote, ...] = ()
    questions: Mapping[str, str | None] = field(default_factory=dict)
    choices: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    renames: Renames = field(default_factory=Renames)
    """The renames with their Jinja."""


@dataclass(frozen=True, slots=True)
class Upgrades:
    """The changes of all releases, and the answers of services that were not asked a question."""

    absents: Mapping[str, Any] = field(default_factory=dict)
    releases: Mapping[str, Release] = field(default_factory=dict)
    """By version, the newest first."""
    adding: Mapping[str, tuple[DeployNote, ...]] = field(default_factory=dict)
    """By question: the changes of a running service when an answer turns something on."""
    removing: Mapping[str, tuple[DeployNote, ...]] = field(default_factory=dict)
    """By question: the changes of a running service when an answer turns something off."""

    def absent(self, question: str) -> Any:
        """Return the answer of a service that was created before a question was asked.

        Args:
            question: The name of the question.

        Returns:
            The answer under which nothing changes; None if it is not known.
        """
        return self.absents.get(question)

    def between(self, old: str, new: str) -> dict[str, Release]:
        """Find the releases between two versions.

        Args:
            old: The recorded version. A development version comes before its release.
            new: The new version. A development version counts as its release.

        Returns:
            The releases after the old version up to the new one, the newest first.

        Raises:
            QuicksetError: A version is not valid.
        """
        if not self.releases or _version(old) == _version(new):
            return {}
        numbers, unreleased = _version(old)
        first, last = (*numbers, 0 if unreleased else 1), (*_version(new)[0], 1)
        return {
            version: release for version, release in self.releases.items() if first < (*_version(version)[0], 1) <= last
        }

    def before_deploy(self, old: str, new: str, answers: Mapping[str, Any]) -> tuple[DeployNote, ...]:
        """Return the changes of a running service by an update.

        Args:
            old: The recorded version.
            new: The new version.
            answers: The answers of the service in the new version.

        Returns:
            The changes that concern the service, those of the newest release first.

        Raises:
            QuicksetError: A condition cannot be evaluated, or a version is not valid.
        """
        entries = (entry for release in self.between(old, new).values() for entry in release.before_deploy)
        return tuple(entry for entry in entries if self._concerns(entry, answers))

    def on_change(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[DeployNote, ...]:
        """Return the changes of a running service by answers that turn something on or off.

        Args:
            old: The recorded answers.
            new: The new answers.

        Returns:
            The changes that concern the service, in the order of the file.

        Raises:
            QuicksetError: A condition cannot be evaluated.
        """
        turned = {
            name: is_off(new.get(name)) for name in {*old, *new} if is_off(old.get(name)) != is_off(new.get(name))
        }
        added = (
            entry
            for name, entries in self.adding.items()
            if turned.get(name) is False
            for entry in entries
            if self._concerns(entry, new)
        )
        # A change by turning something off must concern the service before, and with this answer kept.
        removed = (
            entry
            for name, entries in self.removing.items()
            if turned.get(name) is True
            for entry in entries
            if self._concerns(entry, old) and self._concerns(entry, {**old, **new, name: old[name]})
        )
        return (*added, *removed)

    def carry(self, answers: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
        """Rename recorded answers for a newer version.

        Args:
            answers: The recorded answers.
            old: The recorded version.
            new: The new version.

        Returns:
            The answers with the new names of questions and choices.

        Raises:
            QuicksetError: A version is not valid.
        """
        carried = dict(answers)
        for release in reversed(self.between(old, new).values()):
            carried = _rename_questions(carried, release.questions)
            for question, choices in release.choices.items():
                if question in carried:
                    carried[question] = _rename_choice(carried[question], choices)
        return carried

    def renames(self, old: str, new: str, answers: Mapping[str, Any]) -> tuple[Renames, ...]:
        """Return the moves and renames in a service.

        Args:
            old: The recorded version.
            new: The new version.
            answers: The answers of the service in the new version.

        Returns:
            The renames of each release in between, the oldest first.

        Raises:
            QuicksetError: A name cannot be rendered, or a version is not valid.
        """
        found = []
        for version, release in reversed(self.between(old, new).items()):
            names, of = release.renames, partial(self._rendered, version, answers)
            lines = {path: of(lines) for text, lines in names.moved_lines.items() for path in of({text: None})}
            found.append(
                Renames(
                    files=of(names.files), modules=of(names.modules), commands=of(names.commands), moved_lines=lines
                )
            )
            for path, goal in found[-1].files.items():
                if goal and path.endswith("/") != goal.endswith("/"):
                    raise _fault(f"{version}: files: '{_line(path)}' and '{_line(goal)}': a folder needs a slash each")
        return tuple(found)

    def _rendered(
        self, version: str, answers: Mapping[str, Any], names: Mapping[str, str | None]
    ) -> dict[str, str | None]:
        """Render names with answers. An old name that renders to nothing does not concern the service."""
        env = _environment(finalize=_present)
        found: dict[str, str | None] = {}
        for pair in names.items():
            known = {
                name: answers.get(name, self.absent(name))
                for text in pair
                for name in jinja2.meta.find_undeclared_variables(env.parse(text or ""))
            }
            try:
                old, new = (env.from_string(text or "").render(known).strip() for text in pair)
            except Exception as error:
                # An operator of an expression may raise any error.
                raise _fault(f"{version}: the name '{_line(pair[0])}' cannot be rendered: {_line(error)}") from error
            if old:
                found[_line(old)] = _line(new) or None
        return found

    def _concerns(self, entry: DeployNote, answers: Mapping[str, Any]) -> bool:
        env = _environment()
        # A question whose condition is false has no recorded answer.
        names = jinja2.meta.find_undeclared_variables(env.parse(entry.when))
        known = {name: answers.get(name, self.absent(name)) for name in names}
        try:
            said = env.from_string(entry.when).render(known).strip().lower()
        except Exception as error:
            # An operator of an expression may raise any error.
            raise _fault(f"{entry.version}: the condition '{entry.when}' fails: {_line(error)}") from error
        if said not in _TRUTH:
            raise _fault(f"{entry.version}: the condition '{entry.when}' says '{said}', neither true nor false")
        return _TRUTH[said]


def load(text: str | None) -> Upgrades:
    """Read `upgrades.yml`.

    Args:
        text: The text of the file; None if the template has no such file.

    Returns:
        The content.

    Raises:
        QuicksetError: The file is not valid. The message says where.
    """
    try:
        loaded = yaml.safe_load(text or "")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _fault(f"it is not valid YAML: {_line(error)}") from error
    top = _mapping(loaded, "the file", _TOP)
    absents = _mapping(top.get("absent"), "absent")
    found = _mapping(top.get("releases"), "releases")
    for version in found:
        if not isinstance(version, str) or not _RELEASE.fullmatch(version):
            raise _fault(f"'{_line(version)}' is not a release; one looks like \"0.2.0\", in quotes")
    newest_first = sorted(found.items(), key=lambda item: _version(item[0]), reverse=True)
    return Upgrades(
        absents,
        {version: _release(version, details) for version, details in newest_first},
        _changes(top, "adding"),
        _changes(top, "removing"),
    )


def is_off(value: Any) -> bool:
    """Return whether an answer turns a component off.

    Args:
        value: The answer; None if there is none.

    Returns:
        Whether the component is off.
    """
    return value in (None, False, "none", [])


def _release(version: str, details: Any) -> Release:
    sections = _mapping(details, version, _SECTIONS)
    choices = _mapping(sections.get("choices"), f"{version}: choices")
    return Release(
        before_deploy=_notes(version, sections.get("before_deploy"), f"{version}: before_deploy", _DETAILS),
        questions=_names(sections.get("questions"), f"{version}: questions"),
        choices={name: _renames(renames, f"{version}: choices of {name}") for name, renames in choices.items()},
        renames=Renames(
            files=_templates(sections.get("files"), f"{version}: files"),
            modules=_templates(sections.get("modules"), f"{version}: modules"),
            commands=_templates(sections.get("commands"), f"{version}: commands"),
            moved_lines=_lines(sections.get("moved_lines"), f"{version}: moved_lines"),
        ),
    )


def _changes(top: Mapping[Any, Any], section: str) -> dict[str, tuple[DeployNote, ...]]:
    found = _mapping(top.get(section), section)
    return {name: _notes(name, details, f"{section}: {name}", _CHANGE_DETAILS) for name, details in found.items()}


def _notes(label: str, details: Any, where: str, known: frozenset[str]) -> tuple[DeployNote, ...]:
    if not isinstance(details or [], list):
        raise _fault(f"{where} needs a list")
    return tuple(_note(label, entry, where, known) for entry in details or ())


def _note(label: str, details: Any, where: str, known: frozenset[str]) -> DeployNote:
    found = _mapping(details, where, known)
    return DeployNote(
        version=label,
        text=_text(found.get("text"), f"{where}: text"),
        keep=_text(found["keep"], f"{where}: keep") if "keep" in found else "",
        when=_condition(found.get("when", True), where),
        settings=_list(found.get("settings"), f"{where}: settings"),
        defaults=_list(found.get("defaults"), f"{where}: defaults"),
    )


def _condition(value: Any, where: str) -> str:
    if not isinstance(value, (bool, str)):
        raise _fault(f"{where}: when needs a condition such as \"{{{{ database != 'none' }}}}\", not {_line(value)}")
    condition = str(value).strip()
    try:
        _environment().from_string(condition)
    except (jinja2.TemplateError, RecursionError) as error:
        raise _fault(f"{where}: the condition '{_line(condition)}' is not valid Jinja: {_line(error)}") from error
    if condition.lower() not in _TRUTH and "{" not in condition:
        raise _fault(f"{where}: the condition '{_line(condition)}' needs braces, as in copier.yml")
    return condition


def _mapping(value: Any, where: str, known: frozenset[str] | None = None) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _fault(f"{where} needs names with values")
    unknown = sorted(_line(name) for name in value if known is not None and name not in known)
    if unknown:
        raise _fault(f"{where}: there is no '{unknown[0]}' (known: {', '.join(sorted(known or ()))})")
    return value


def _names(value: Any, where: str) -> dict[str, str | None]:
    """Read new names by old names. None means that a name is gone."""
    renames = _renames(value, where)
    if not all(isinstance(old, str) and (new is None or isinstance(new, str)) for old, new in renames.items()):
        raise _fault(f"{where} needs old names with new ones, or with null")
    return renames


def _lines(value: Any, where: str) -> dict[str, dict[str, str | None]]:
    """Read patterns of lines by file."""
    files = _mapping(value, where)
    if not all(isinstance(file, str) for file in files):
        raise _fault(f"{where} needs paths with patterns of lines")
    _templates(dict.fromkeys(files), where)
    return {file: _templates(patterns, f"{where} of {_line(file)}") for file, patterns in files.items()}


def _templates(value: Any, where: str) -> dict[str, str | None]:
    """Read names that may contain Jinja."""
    names = _names(value, where)
    for text in (*names, *names.values()):
        try:
            _environment().from_string(text or "")
        except (jinja2.TemplateError, RecursionError) as error:
            raise _fault(f"{where}: '{_line(text)}' is not valid Jinja: {_line(error)}") from error
    return names


def _renames(value: Any, where: str) -> dict[Any, Any]:
    renames = _mapping(value, where)
    # A rename may be applied twice: by an update to a development version, and by one to its release.
    if again := [new for old, new in renames.items() if isinstance(new, (str, bool)) and new in renames and new != old]:
        raise _fault(f"{where}: '{_line(again[0])}' is both an old name and a new one")
    return renames


def _list(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _fault(f"{where} needs a list of names")
    return tuple(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _fault(f"{where} is missing or no text")
    return _line(value)


def _rename_questions(answers: Mapping[str, Any], renames: Mapping[str, str | None]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in answers.items():
        new = renames.get(name, name)
        # An answer under the new name counts for more than one that was left under the old.
        if new is not None and (new == name or new not in answers):
            renamed[new] = value
    return renamed


def _rename_choice(value: Any, renames: Mapping[Any, Any]) -> Any:
    if isinstance(value, list):
        chosen = [_rename_choice(one, renames) for one in value]
        return [one for number, one in enumerate(chosen) if one is not None and one not in chosen[:number]]
    return renames.get(value, value) if isinstance(value, (bool, float, int, str)) else value


def _environment(**options: Any) -> SandboxedEnvironment:
    return SandboxedEnvironment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"], **options)


def _present(value: Any) -> Any:
    """Refuse to render an answer that does not exist."""
    if value is None:
        raise ValueError("it uses an answer that the service does not have")
    return value


def _version(text: str) -> tuple[tuple[int, ...], str]:
    """Split a version into its numbers and the mark of an unreleased version."""
    found = _VERSION.fullmatch(text)
    if not found:
        raise QuicksetError(f"'{_line(text)}' is not a version of a template.")
    return tuple(int(number) for number in found.groups()[:3]), found[4]


def _line(value: object) -> str:
    """Convert a text of the template to one line without control characters."""
    return "".join(character for character in " ".join(str(value).split()) if character.isprintable())


def _fault(reason: str) -> QuicksetError:
    return QuicksetError(f"the template's {FILE} cannot be used: {reason}.")
