"""Read the questions of a template from its `copier.yml`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from quickset.errors import QuicksetError, UsageError
from quickset.templates.strict_yaml import kind_of, one_line

# Answers that cannot change in an existing service, with the reason.
FIXED: Mapping[str, str] = {
    "layout": "it decides the path of every file",
    "package_name": "every import uses it. Rename the package with your editor, and updates follow it",
}

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
    multiselect: bool
    when: str
    validator: str
    default: Any
    computed: bool = False
    """Whether the choices are written in Jinja, so that only Copier knows them."""
    secret: bool = False
    """Whether the answer is never recorded."""
    internal: bool = False
    """Whether the template records the answer and never asks. Such a question has `ask: false`, and no help text."""

    @property
    def hidden(self) -> bool:
        """Whether the answer is derived from others, and never asked."""
        return self.when.strip().lower() in _FALSE

    @property
    def settable(self) -> bool:
        """Whether the user can give the answer."""
        return not self.hidden and not self.internal

    @property
    def offers_choices(self) -> bool:
        """Whether the answer is chosen, not typed."""
        return bool(self.choices) or self.computed or self.type == "bool"

    @property
    def usage(self) -> str:
        """The form of an answer on the command line."""
        return f"{self.name}=VALUE,VALUE" if self.multiselect else f"{self.name}=VALUE"

    def accepts_same_as(self, other: "Question") -> bool:
        """Return whether every valid answer to another version of the question is valid for this version.

        Args:
            other: The other version.

        Returns:
            Whether the rules are the same.
        """
        rules = [(each.type, each.choices, each.multiselect, each.validator) for each in (self, other)]
        return rules[0] == rules[1] and not self.computed

    def depends_on(self) -> list[str]:
        """List the answers that decide whether the question is asked.

        Returns:
            The names, sorted.
        """
        import jinja2.meta
        from jinja2.sandbox import SandboxedEnvironment

        try:
            return sorted(jinja2.meta.find_undeclared_variables(SandboxedEnvironment().parse(self.when)))
        except jinja2.TemplateSyntaxError:
            # Copier parses the condition with the template's extensions, and reports the error.
            return []

    def is_ruled_out(self, known: Mapping[str, Any]) -> bool:
        """Return whether some answers make the condition of the question false.

        Args:
            known: The answers by name. The others take their defaults, or are asked.

        Returns:
            Whether the condition is false for certain.
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
        """Check a given answer, and convert it to the type of the question.

        Args:
            value: Text from the command line, or a value from a file.

        Returns:
            The value for Copier.

        Raises:
            UsageError: The value is none of the choices, or of the wrong type.
        """
        if self.multiselect:
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
            raise UsageError(f"{self.name}: one value is needed, not {kind_of(value)}.")
        text = str(value)
        if not is_utf8(text):
            raise UsageError(f"{self.name}: the value is not UTF-8 text.")
        if self.type == "bool":
            if text.lower() not in _TRUE | _FALSE:
                raise UsageError(f"{self.name}: '{text}' is neither true nor false.")
            return text.lower() in _TRUE
        if self.type in {"int", "float"}:
            try:
                return int(text) if self.type == "int" else float(text)
            except ValueError:
                raise UsageError(f"{self.name}: '{text}' is not a number.") from None
        if isinstance(value, bool):
            raise UsageError(f"{self.name}: text is needed, not {text.lower()}; put it in quotes.")
        if self.choices and text not in map(str, self.choices):
            raise UsageError(f"{self.name}: {none_of(text, self.choices)}.")
        return text


def none_of(value: str, choices: Iterable[Any]) -> str:
    """Describe a value that is not among the choices.

    Args:
        value: The value.
        choices: The choices.

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
        QuicksetError: The text is not valid YAML.
    """
    try:
        loaded = yaml.safe_load(config)
    except yaml.YAMLError as error:
        raise QuicksetError(f"the template's copier.yml is not valid YAML: {one_line(error)}") from error
    if not isinstance(loaded, dict):
        raise QuicksetError("the template's copier.yml has no questions by name.")
    for name in loaded:
        if not isinstance(name, str):
            raise QuicksetError(f"the template's copier.yml has the name '{name}', which needs quotes.")
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
        # If the type is written in Jinja, Copier checks the value.
        type="yaml" if is_jinja(kind) else kind,
        choices=() if computed else offered,
        multiselect=bool(details.get("multiselect", False)),
        when=str(details.get("when", True)),
        validator=str(details.get("validator", "")),
        default=default,
        computed=computed,
        secret=secret or bool(details.get("secret", False)),
        internal=str(details.get("ask", True)).strip().lower() in _FALSE and "help" not in details,
    )


def is_component(question: Question) -> bool:
    """Return whether `add` or `remove` can change the answer to a question in an existing service.

    Args:
        question: The question.

    Returns:
        Whether they can change it.
    """
    if not question.settable or question.secret or question.name in FIXED:
        return False
    return question.multiselect or question.computed or question.type == "bool" or len(question.choices) > 1


def is_utf8(text: str) -> bool:
    """Return whether a text, such as the name of a folder, can be written to a file.

    Args:
        text: The text.

    Returns:
        Whether it can be encoded.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
