"""Questions, presets and given answers.

All of it derives from `copier.yml`: a new question joins without an edit here. Copier itself ignores unknown
names, turns "maybe" into true and lets hidden answers be set; so what is given is checked before Copier sees it.
"""

import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from quickset import git
from quickset.errors import QuicksetError, UsageError, os_reason
from quickset.shell import join
from quickset.templates import remote

ANSWERS_FILE = ".copier-answers.yml"
# The first and the last line of a conflict, as git writes them.
_MARKER = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
# A template that is not the only one of a project records its answers under a name of its own.
_ANSWERS_NAME = re.compile(r"\.copier-answers.*\.ya?ml")

# What a preset answers besides the defaults. A name without a question is ignored.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "standard": {},
    "minimal": {"database": "none", "auth": "none", "example": False},
}

CUSTOM = "custom"

# Answers that cannot change in an existing service, and why.
FIXED: Mapping[str, str] = {
    "layout": "it decides the path of every file",
    "package_name": "every import uses it. Rename the package with your editor, and updates follow it",
}

# Ten times a usual file of answers.
_SHORT = 8192

_JINJA = {"block": "{%", "variable": "{{"}
_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Question:
    """One question of `copier.yml`."""

    name: str
    type: str
    choices: tuple[Any, ...]
    several: bool
    when: str
    validator: str
    default: Any
    computed: bool = False
    """Whether its choices are written in Jinja, so that only Copier knows them."""
    secret: bool = False
    """Whether its answer is never recorded."""

    @property
    def hidden(self) -> bool:
        """Whether it is a derived fact, never asked."""
        return self.when.strip().lower() in _FALSE

    @property
    def offers_choices(self) -> bool:
        """Whether it is answered by choosing, not by writing."""
        return bool(self.choices) or self.computed or self.type == "bool"

    @property
    def usage(self) -> str:
        """How an answer is given on the command line."""
        return f"{self.name}=VALUE,VALUE" if self.several else f"{self.name}=VALUE"

    def takes_the_same_as(self, other: "Question") -> bool:
        """Return whether every answer that is valid for another version of the question is valid for this one.

        Args:
            other: The other version.

        Returns:
            Whether it is.
        """
        rules = [(each.type, each.choices, each.several, each.validator) for each in (self, other)]
        return rules[0] == rules[1] and not self.computed

    def depends_on(self) -> list[str]:
        """Name the answers that decide whether it is asked.

        Returns:
            Their names, sorted.
        """
        import jinja2.meta
        from jinja2.sandbox import SandboxedEnvironment

        try:
            return sorted(jinja2.meta.find_undeclared_variables(SandboxedEnvironment().parse(self.when)))
        except jinja2.TemplateSyntaxError:
            # Copier reads it with the template's extensions, and says what is wrong with it.
            return []

    def is_ruled_out(self, known: Mapping[str, Any]) -> bool:
        """Return whether answers are certain to make its condition false.

        Args:
            known: The answers by name; the others take their defaults or are asked.

        Returns:
            Whether they are.
        """
        import jinja2
        from jinja2.sandbox import SandboxedEnvironment

        if not known.keys() >= set(self.depends_on()):
            return False
        try:
            return SandboxedEnvironment().from_string(self.when).render(known).strip().lower() in _FALSE
        except jinja2.TemplateError:
            return False

    def parse(self, value: Any) -> Any:
        """Check a given answer and bring it to its type.

        Args:
            value: Text from the command line, or a value from a file.

        Returns:
            What Copier is to be given.

        Raises:
            UsageError: It is none of the choices or of the wrong type.
        """
        if self.several:
            values = value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]
            try:
                return [self._one(part) for part in values if part != ""]
            except UsageError as error:
                raise UsageError(f"{str(error).rstrip('.')}. Give several as {self.usage}.") from error
        return self._one(value)

    def _one(self, value: Any) -> Any:
        if self.type in {"yaml", "json"}:
            return value
        if value is None or isinstance(value, (list, dict)):
            raise UsageError(f"{self.name}: one value is needed, not {_kind(value)}.")
        text = str(value)
        if not _is_utf8(text):
            raise UsageError(f"{self.name}: the value is not UTF-8 text.")
        if self.type == "bool":
            if text.lower() not in _TRUE | _FALSE:
                raise UsageError(f"{self.name}: '{text}' is neither true nor false.")
            return text.lower() in _TRUE
        if self.type in {"int", "float"}:
            try:
                return int(text) if self.type == "int" else float(text)
            except ValueError:
                raise UsageError(f"{self.name}: '{text}' is no number.") from None
        if isinstance(value, bool):
            raise UsageError(f"{self.name}: text is needed, not {text.lower()}; put it in quotes.")
        if self.choices and text not in map(str, self.choices):
            raise UsageError(f"{self.name}: {none_of(text, self.choices)}.")
        return text


def none_of(value: str, choices: Iterable[Any]) -> str:
    """Say that a value is no choice.

    Args:
        value: The value.
        choices: The choices that there are.

    Returns:
        A sentence without its period.
    """
    shown = ", ".join(f"'{choice}'" for choice in choices)
    return f"'{value}' is none of: {shown}"


def load_questions(config: str) -> dict[str, Question]:
    """Read the questions of a template.

    Args:
        config: The text of `copier.yml`.

    Returns:
        The questions by name, in their order.

    Raises:
        QuicksetError: It is not valid YAML.
    """
    try:
        loaded = yaml.safe_load(config)
    except yaml.YAMLError as error:
        raise QuicksetError(f"the template's copier.yml is not valid YAML: {_flat(error)}") from error
    if not isinstance(loaded, dict):
        raise QuicksetError("the template's copier.yml holds no questions by name.")
    for name in loaded:
        if not isinstance(name, str):
            raise QuicksetError(f"the template's copier.yml holds the name '{name}', which needs quotes.")
    operators = loaded.get("_envops") or {}
    starts = tuple(operators.get(f"{kind}_start_string", usual) for kind, usual in _JINJA.items())
    secrets = loaded.get("_secret_questions") or ()
    return {
        name: _question(name, details, starts, secret=name in secrets)
        for name, details in loaded.items()
        if not name.startswith("_")
    }


def _question(name: str, details: Any, starts: Iterable[str], *, secret: bool) -> Question:
    def is_jinja(value: Any) -> bool:
        return isinstance(value, str) and any(start in value for start in starts)

    if not isinstance(details, dict):
        details = {"default": details}
    default = details.get("default", "")
    choices = details.get("choices", ())
    values: Iterable[Any] = ()
    if isinstance(choices, dict):
        values = choices.values()
    elif isinstance(choices, list):
        values = (choice[1] if isinstance(choice, list) else choice for choice in choices)
    offered = tuple(value.get("value") if isinstance(value, dict) else value for value in values)
    computed = is_jinja(choices) or any(map(is_jinja, offered))
    kind = str(details.get("type") or _TYPES.get(type(default), "yaml"))
    return Question(
        name=name,
        # Of a type that is written in Jinja any value is left to Copier.
        type="yaml" if is_jinja(kind) else kind,
        choices=() if computed else offered,
        several=bool(details.get("multiselect", False)),
        when=str(details.get("when", True)),
        validator=str(details.get("validator", "")),
        default=default,
        computed=computed,
        secret=secret or bool(details.get("secret", False)),
    )


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Split `KEY=VALUE` pairs; the last of a name counts.

    Args:
        pairs: As given with `--data`.

    Returns:
        The values by name.

    Raises:
        UsageError: One has no `=` or no name.
    """
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--data: '{pair}' is not KEY=VALUE, as in database=postgresql.")
        found[name.strip()] = value
    return found


def load_file(path: Path) -> dict[str, Any]:
    """Read a file of answers, YAML or JSON.

    Args:
        path: The file.

    Returns:
        The values by name.

    Raises:
        UsageError: It cannot be read, or holds no mapping of names to values.
    """
    try:
        # JSON is YAML, too.
        loaded = load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--data-file: {os_reason(error)}") from error
    except _RepeatedKeyError as error:
        raise UsageError(f"--data-file: {path}: {error}; delete one of the two.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--data-file: {path} is not UTF-8 text.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"--data-file: {path} is neither YAML nor JSON: {_flat(error)}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise UsageError(f"--data-file: {path} needs names with values, such as 'database: postgresql'.")
    return loaded


def check(questions: Mapping[str, Question], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check given answers as far as that needs no rendering.

    Args:
        questions: The template's questions.
        given: The values by name.

    Returns:
        The values, each of its question's type.

    Raises:
        UsageError: A name is unknown or hidden, a value is none of the choices or of the wrong type.
    """
    return {name: _find(questions, name).parse(value) for name, value in given.items()}


def faults(questions: Mapping[str, Question], recorded: Mapping[str, Any]) -> dict[str, str]:
    """Find recorded answers that a template does not take.

    Args:
        questions: The template's questions.
        recorded: The answers by name.

    Returns:
        What is wrong by name, without the name.
    """
    found = {}
    for name, value in recorded.items():
        try:
            questions[name].parse(value)
        except UsageError as error:
            found[name] = str(error).removeprefix(f"{name}: ")
    return found


def is_component(question: Question) -> bool:
    """Return whether `add` or `remove` can change the answer to a question in an existing service.

    Args:
        question: The question.

    Returns:
        Whether it can.
    """
    if question.hidden or question.secret or question.name in FIXED:
        return False
    return question.several or question.computed or question.type == "bool" or len(question.choices) > 1


def _find(questions: Mapping[str, Question], name: str) -> Question:
    question = questions.get(name)
    if question is None:
        known = [each.name for each in questions.values() if not each.hidden]
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"the questions are {', '.join(known)}."
        raise UsageError(f"there is no question '{name}'; {hint}")
    if question.hidden:
        raise UsageError(f"'{name}' is derived from other answers and cannot be set.")
    return question


def check_asked(
    questions: Mapping[str, Question], given: Iterable[str], recorded: Mapping[str, Any], ruled_out: Collection[str]
) -> None:
    """Refuse given answers to questions that their conditions rule out.

    Args:
        questions: The template's questions.
        given: Names of given answers.
        recorded: All answers that Copier recorded.
        ruled_out: Names of the questions whose condition is false.

    Raises:
        UsageError: One was ruled out; the message names it and the answers that did it.
    """
    for name in given:
        if name in ruled_out:
            others = [other for other in questions[name].depends_on() if other in questions]
            if not others:
                raise UsageError(f"'{name}' is not asked here; leave it out.")
            because = " and ".join(
                f"{other}={_shown(recorded.get(other, questions[other].default))}" for other in others
            )
            raise UsageError(f"'{name}' means nothing with {because}; leave it out, or change {' or '.join(others)}.")


def preset(questions: Mapping[str, Question], name: str | None) -> dict[str, Any]:
    """Return what a preset answers.

    Args:
        questions: The template's questions.
        name: The preset's name; None and `custom` answer nothing.

    Returns:
        Its values by name, as far as their questions exist.

    Raises:
        UsageError: There is no such preset.
    """
    if name in (None, CUSTOM):
        return {}
    if name not in PRESETS:
        raise UsageError(f"--preset: {none_of(str(name), PRESETS)}.")
    return {key: value for key, value in PRESETS[name].items() if key in questions}


def ask_preset() -> str:
    """Ask for a preset at the terminal.

    Returns:
        Its name, or `custom`.

    Raises:
        UsageError: There is no terminal after all.
    """
    import questionary

    described = {
        "standard": "standard  - the defaults: SQLite, users who sign in, rate limits; no server needed",
        "minimal": "minimal   - no database, no users, no example",
        CUSTOM: "custom    - you answer every question",
    }
    choices = [questionary.Choice(text, name) for name, text in described.items()]
    try:
        return str(questionary.select("Preset", choices, qmark="🎤").unsafe_ask())
    except EOFError as error:
        raise UsageError("the terminal was closed before the questions were answered.") from error


def to_ask(questions: Mapping[str, Question], answered: Iterable[str], preset_name: str | None) -> list[str] | None:
    """List the questions that a preset leaves open: it makes the choices, and the user gives the names.

    Args:
        questions: The template's questions.
        answered: Names of answers that are there already.
        preset_name: The preset that was chosen.

    Returns:
        The questions to put; None for all that are not answered.
    """
    if preset_name == CUSTOM:
        return None
    done = set(answered)
    return [each.name for each in questions.values() if not (each.hidden or each.offers_choices or each.name in done)]


def proposals(questions: Mapping[str, Question], path: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """Propose answers that fit this machine better than the template's defaults.

    Args:
        questions: The template's questions.
        path: Where the service will be.
        settings: The user's settings of git.

    Returns:
        The values by name, only such as the template accepts.
    """
    words = re.split(r"[\s_-]+", path.name.strip())
    candidates = {
        "project_name": " ".join(word[:1].upper() + word[1:] for word in words),
        "author_name": settings.get("user.name", ""),
        "author_email": settings.get("user.email", ""),
        "python_version": "{}.{}".format(*sys.version_info),
    }
    return {
        name: value
        for name, value in candidates.items()
        if name in questions and value and _fits(questions[name], value)
    }


def _is_utf8(text: str) -> bool:
    """Return whether text from the system, such as a folder's name, can be written to a file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(question: Question, value: str) -> bool:
    if not _is_utf8(value):
        return False
    if question.choices:
        return value in question.choices
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    # Copier would end the command over a default that its validator refuses.
    env = SandboxedEnvironment(extensions=["jinja2_ansible_filters.AnsibleCoreFiltersExtension"])
    try:
        return not env.from_string(question.validator).render({question.name: value}).strip()
    except jinja2.TemplateError:
        return False


def is_answers_file(name: str) -> bool:
    """Return whether a file has a name that Copier uses for answers files.

    Args:
        name: The file's name, without its folder.

    Returns:
        Whether it is.
    """
    return _ANSWERS_NAME.fullmatch(name) is not None


def find(folder: Path, given: str = "") -> str:
    """Find the answers file of a service.

    Args:
        folder: The service.
        given: Its name as the user gave it; empty to look for it.

    Returns:
        Its name: the usual one, or the only other one that is there.

    Raises:
        UsageError: There is none, or there are several.
        QuicksetError: The folder cannot be read.
    """
    if given:
        name = PurePosixPath(given)
        if name.is_absolute() or ".." in name.parts:
            raise UsageError(f"--answers-file: '{given}' needs to be a path inside the service.")
        if not (folder / name).is_file():
            _require_checked_out(folder, str(name))
            raise UsageError(f"--answers-file: there is no file {folder / name}.")
        return str(name)
    try:
        if (folder / ANSWERS_FILE).exists():
            return ANSWERS_FILE
        found = sorted(file.name for file in folder.iterdir() if is_answers_file(file.name))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is no service: there is no such folder.") from None
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{folder} holds {' and '.join(found)}; choose one with --answers-file.")
    _require_checked_out(folder)
    raise UsageError(
        f"{folder} is no service: it holds no {ANSWERS_FILE}. If another file holds its answers, give that with "
        "--answers-file."
    )


def _require_checked_out(folder: Path, given: str = "") -> None:
    """Say how to get an answers file that is in the repository, and that a sparse checkout leaves out."""
    if not folder.is_dir() or shutil.which("git") is None:
        return
    for entry in git.attempt("ls-files", "-t", "-z", cwd=folder).stdout.split("\0"):
        tag, _, name = entry.partition(" ")
        if tag != "S" or not (name == given or (not given and is_answers_file(name))):
            continue
        top, prefix = (
            git.run("rev-parse", option, cwd=folder).removesuffix("/")
            for option in ("--show-toplevel", "--show-prefix")
        )
        cone = git.attempt("config", "--type=bool", "core.sparseCheckoutCone", cwd=folder).stdout.strip() == "true"
        wanted = prefix if cone else f"/{prefix}/{name}".replace("//", "/")
        command = join("git", "-C", top, "sparse-checkout", "add", wanted)
        raise UsageError(
            f"{folder / name} is in the repository, but the sparse checkout leaves it out. Run `{command}` first."
        )


def read(folder: Path, name: str = "") -> dict[str, Any]:
    """Read the answers that a service recorded.

    Args:
        folder: The service.
        name: Its answers file; empty to look for it.

    Returns:
        The answers, with `_commit` and `_src_path`; the latter is absolute where it is a folder here.

    Raises:
        UsageError: The folder holds no answers file.
        QuicksetError: The file cannot be read or understood.
    """
    file = folder / (name or find(folder))
    try:
        loaded = load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is no service: it holds no {name}.") from None
    except OSError as error:
        raise QuicksetError(os_reason(error)) from error
    except _RepeatedKeyError as error:
        raise QuicksetError(f"{file} is damaged: {error}. Delete the wrong one and commit that.") from error
    except UnicodeDecodeError as error:
        raise QuicksetError(f"{file} is damaged: it is not UTF-8 text. Restore it from git.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if _MARKER.search(file.read_text(encoding="utf-8", errors="replace")):
            raise QuicksetError(f"{file} is damaged: it holds conflict markers. Resolve them and commit.") from error
        raise QuicksetError(f"{file} is damaged: {_flat(error)}. Restore it from git.") from error
    if damage := _damage(loaded):
        raise QuicksetError(f"{file} is damaged: {damage}")
    recorded: dict[str, Any] = loaded
    return recorded | {"_src_path": remote.located(str(recorded["_src_path"]), folder)}


def _damage(loaded: Any) -> str:
    """Say what is wrong with the contents of an answers file, and what to do; empty when nothing is."""
    if loaded is None:
        return "it is empty. Restore it from git."
    if not isinstance(loaded, dict):
        return f"it holds {_kind(loaded)}, and not answers by name. Restore it from git."
    needed = ("_src_path", "_commit")
    for key in needed:
        if isinstance(loaded.get(key), (bool, dict, list)):
            return f"its {key} is {_kind(loaded[key])}, and not text. Restore it from git."
    if missing := [key for key in needed if not loaded.get(key)]:
        return (
            f"it holds no {' and no '.join(missing)}. Restore them from git, or write them: where the template is, and "
            "which release the service is made from. Outside of git, a template has none."
        )
    return ""


class _RepeatedKeyError(ValueError):
    """A mapping holds the same key twice; the message says which, and in which lines."""


class _UniqueKeys:
    """Refuse repeated keys, of which YAML's loaders take the last one; to be mixed into a loader."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise _RepeatedKeyError(f"'{key.value}' stands in lines {lines[name]} and {line}")
            lines[name] = line
        constructed: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return constructed


class _Loader(_UniqueKeys, yaml.SafeLoader):
    pass


class _FastLoader(_UniqueKeys, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


def load(text: str) -> Any:
    """Read YAML in which no key stands twice.

    Args:
        text: The YAML.

    Returns:
        What it holds.

    Raises:
        ValueError: A key stands twice.
        yaml.YAMLError: It is not valid.
    """
    # The fast loader comes with most builds of PyYAML. It crashes where a long text nests so deep that the other one
    # gives up, so it is given no such text.
    return yaml.load(text, Loader=_FastLoader if len(text) < _SHORT else _Loader)  # noqa: S506 -- both are safe


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())


def _kind(value: Any) -> str:
    kinds = {type(None): "nothing", list: "a list", dict: "a mapping", str: "text", bool: "true or false"}
    return kinds.get(type(value), "one value")


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
