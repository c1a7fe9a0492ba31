"""`quickset info`: show the version, the answers and the components of a service."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickset import git
from quickset.errors import AnswerError, RefusedError
from quickset.signals import temporary_folder
from quickset.templates import source
from quickset.templates.answers_file import find_answers_file, read_answers
from quickset.templates.questions import Question, load_questions
from quickset.templates.render import Renderer, renderer

_OFF = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of a service that an answer turned on."""

    name: str
    value: str
    files: tuple[str, ...]
    """The files that only this component adds."""
    missing: tuple[str, ...]
    """The files among them that the service no longer has."""
    shared: tuple[str, ...]
    """Files with lines of this component."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The description of a service. The names are those of the JSON output."""

    path: Path
    template: str
    source: str
    released: bool
    answers: Mapping[str, Any]
    components: tuple[Component, ...]
    off: tuple[str, ...]
    """Components that are available, and turned off."""
    notes: tuple[str, ...]


def info(path: Path, *, answers_file: str = "", template_source: source.Source | None = None) -> Info:
    """Describe a service.

    The files of a component are found by rendering the service with it and without it. So no list is needed.

    Args:
        path: The service.
        answers_file: The answers file. If empty, it is searched for.
        template_source: The source of the template. By default, the recorded one.

    Returns:
        Its answers, version and components.

    Raises:
        UsageError: There is no service.
        QuicksetError: Its answers are damaged.
    """
    answers_file = find_answers_file(path, answers_file)
    recorded = read_answers(path, answers_file)
    git.require()
    origin = template_source or source.of(str(recorded["_src_path"]))
    version = str(recorded["_commit"])
    notes = []
    try:
        template = origin.recorded(version)
    except RefusedError:
        template = origin.template()
        notes.append(f"This quickset does not know {version}; the components are those of {template.ref}.")
    questions = load_questions(template.config())
    given = {name: value for name, value in recorded.items() if name in questions and not questions[name].hidden}
    components, off = [], []
    with renderer(template) as work, temporary_folder() as scratch:
        whole = Path(scratch, "whole", path.resolve().name)
        given = work.render(whole, given, answers_file=answers_file).answers
        given = {name: value for name, value in given.items() if name in questions}
        for number, (question, value, without) in enumerate(_switches(questions, given)):
            if value is None:
                off.append(question.name)
                continue
            rest = Path(scratch, str(number), path.resolve().name)
            # What is asked because of it goes with it.
            kept = {name: each for name, each in given.items() if question.name not in questions[name].depends_on()}
            try:
                _render_without(work, rest, kept, {question.name: without}, answers_file)
                files, shared = _difference(whole, rest, answers_file)
            except AnswerError as error:
                files, shared = (), ()
                notes.append(
                    f"The files of {question.name} are not known: the template does not render without it ({error})."
                )
            components.append(
                Component(
                    name=question.name,
                    value=value,
                    files=files,
                    missing=tuple(file for file in files if not (path / file).exists()),
                    shared=shared,
                )
            )
    return Info(
        path=path.resolve(),
        template=version,
        source=str(recorded["_src_path"]),
        released="+" not in version,
        answers={name: value for name, value in recorded.items() if not name.startswith("_")},
        components=tuple(components),
        off=tuple(off),
        notes=tuple(notes),
    )


def _render_without(
    work: Renderer, folder: Path, given: Mapping[str, Any], off: Mapping[str, Any], answers_file: str
) -> None:
    """Render with one answer off; another answer that is not valid without it takes its default."""
    try:
        work.render(folder, {**given, **off}, answers_file=answers_file)
    except AnswerError as error:
        if error.question in off or error.question not in given:
            raise
        # Only Copier knows choices in Jinja, and it stops at the first fault.
        left = {name: value for name, value in given.items() if name != error.question}
        _render_without(work, folder, left, off, answers_file)


def _switches(
    questions: Mapping[str, Question], given: Mapping[str, Any]
) -> Iterator[tuple[Question, str | None, Any]]:
    """Find the answers that turn something on: their question, their value (None when off), and what turns it off."""
    for name, question in questions.items():
        if name not in given:
            # It was not asked: the service could not have it.
            continue
        value = given[name]
        if question.multiselect:
            for one in value or ():
                yield question, str(one), [other for other in value or () if other != one]
        elif question.type == "bool" and question.settable:
            yield question, "true" if value else None, False
        elif _OFF in question.choices:
            yield question, None if value == _OFF else str(value), _OFF


def _difference(whole: Path, rest: Path, answers_file: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare two renders: the files that only the whole has, and those that both have and that differ."""
    only, differing = [], []
    for file in sorted(whole.rglob("*")):
        name = file.relative_to(whole).as_posix()
        if not file.is_file() or name == answers_file:
            continue
        if not (rest / name).exists():
            only.append(name)
        elif file.read_bytes() != (rest / name).read_bytes():
            differing.append(name)
    return tuple(only), tuple(differing)
