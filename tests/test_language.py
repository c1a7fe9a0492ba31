"""Tests the mechanical rules for texts. The other rules need a reader."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.questions import REPOSITORY, Answer
from tests.rendering import RenderService, read_tree

# Words with a plainer alternative.
WORDS = re.compile(
    r"\b(alone|anew|anybody|beside|everybody|licence|mend|mends|mended|nobody|somebody|tell|tells|told|whoever)\b"
    r"|\b(behaviour|colour|initialis|normalis|serialis|unauthoris)",
    re.IGNORECASE,
)
QUESTIONS = re.compile(r"(Which shape have|Under which|At which|In which|Where does|Who|How is|Which is)\b")
NO_VERBS = re.compile(
    r"(All?|An|And|Any|As|At|Both|By|Each|Every|For|From|How|If|In|Its?|Nothing|Of|On|One|Only|Some|Something|Th\w+|To"
    r"|Under|W(hat|hen|here|hether|hich|ho|hose|hy|ith|ithout)|You|Your)"
)
MOST_WORDS = 30
READ = (
    *("copier.yml", "upgrades.yml", "*.md", "*.py", ".ci/*", "docs/*.md", "benchmarks/**/*.md", "template/**/*"),
    *(f"{folder}/**/*.py" for folder in ("benchmarks", "scripts", "src", "tests")),
)
TEXT = {"", ".example", ".jinja", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}


def read_files() -> list[str]:
    """Return the paths of the files with texts."""
    found = {path for pattern in READ for path in REPOSITORY.glob(pattern) if path.is_file() and path.suffix in TEXT}
    return sorted(path.relative_to(REPOSITORY).as_posix() for path in found)


def faults_of(path: str) -> list[str]:
    """Return a line for each place of a file of this repository that breaks a rule."""
    return faults(path, (REPOSITORY / path).read_text(encoding="utf-8"))


def faults(path: str, text: str) -> list[str]:
    """Return a line for each place of a text that breaks a rule."""
    found = list(_faults_of_docstrings(text)) if path.endswith(".py") and not path.startswith("tests/") else []
    for paragraph in _paragraphs(path, text):
        found += [f"'{word[0]}' in: {paragraph[:80]}" for word in WORDS.finditer(paragraph)]
        for sentence in re.split(r"(?<=[.!?])[)\"'*`]*\s+(?=[^a-z])", paragraph):
            count = len(re.findall(r"\w\S*", sentence))
            if count > MOST_WORDS:
                found.append(f"{count} words: {sentence[:80]} …")
    if path == "copier.yml":
        questions = [
            each["help"] for each in yaml.safe_load(text).values() if isinstance(each, dict) and "help" in each
        ]
        found += [f"question: {each}" for each in questions if QUESTIONS.match(each)]
    return found


def _faults_of_docstrings(text: str) -> Iterator[str]:
    """Yield the docstrings of functions that do not start with a verb; a property is named as a noun."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any("property" in ast.unparse(each) for each in node.decorator_list):
            continue
        first = (ast.get_docstring(node) or "Do").split(maxsplit=1)[0].strip(",.:;'`")
        if NO_VERBS.fullmatch(first) or not first[:1].isupper():
            yield f"docstring of {node.name} starts with '{first}'"


def _paragraphs(path: str, text: str) -> Iterator[str]:
    """Yield the texts of a file in paragraphs, without code."""
    if path == "CHANGELOG.md":
        # Released sections never change.
        text = re.split(r"\n## (?=\d)", text)[0]
    if path.endswith(".md"):
        text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"^(?:    .*\n)+", "\n", text, flags=re.MULTILINE) if path.startswith("benchmarks") else text
        blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*#>]|\d+\.)\s)|\|", text)
    elif path.endswith(".py"):
        blocks = [*_docstrings(text), *_comments(text)]
    else:
        blocks = _comments_of_lines(text)
        if path == "copier.yml":
            blocks += _questions(text)
    for block in blocks:
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)|https?://\S+|<!--.*?-->", "CODE", block)
        yield " ".join(plain.split())


def _docstrings(text: str) -> list[str]:
    tree = ast.parse(text)
    # Docstrings, also those of attributes, and the help of options.
    whole = [
        inspect.cleandoc(node.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    helps = [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant)
    ]
    parts = [part for each in whole for part in re.split(r"\n\s*\n|\n(?=\s*\w+: )", each)]
    return [part for part in [*parts, *map(str, helps)] if not part.lstrip().startswith("\b")]


def _comments(text: str) -> list[str]:
    found: list[str] = []
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith(("# noqa", "# type:")):
            continue
        words = token.string.lstrip("# ").partition("# noqa")[0]
        if token.start[0] == last + 1 and token.line.lstrip().startswith("#"):
            found[-1] += f" {words}"
        else:
            found.append(words)
        last = token.start[0]
    return found


def _comments_of_lines(text: str) -> list[str]:
    lines = [match[1] if (match := re.match(r"\s*# ?(.*)", line)) else "" for line in text.splitlines()]
    return "\n".join(lines).split("\n\n")


def _questions(text: str) -> list[str]:
    found: list[str] = []
    for question in yaml.safe_load(text).values():
        if isinstance(question, dict) and question.get("when") is not False:
            found.append(str(question.get("help", "")))
            found += question["choices"] if isinstance(question.get("choices"), dict) else []
            found += re.split(r"\{%.*?%\}", str(question.get("validator", "")))
    return found


@pytest.mark.parametrize("path", read_files())
def test_texts_are_plain(path: str) -> None:
    """A text has no banned word, no sentence above 30 words, and docstrings of functions start with a verb."""
    assert faults_of(path) == []


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"database": "none", "rate_limit": "none", "example": False, "error_format": "problem"},
        {
            "database": "postgresql", "layout": "layered", "cache": "memory", "http_client": True, "websockets": True,
            "streaming": True, "template_updates": "gitlab",
        },
        {"database": "mysql", "auth": "none"},
    ],
    ids=["defaults", "minimal", "everything", "mysql"],
)  # fmt: skip
def test_texts_of_a_service_are_plain(render_service: RenderService, answers: Mapping[str, Answer]) -> None:
    """The rules hold for the rendered README, guides, settings, docstrings and comments."""
    tree = read_tree(render_service(answers))
    found = {path: faults(path, text) for path, text in tree.items() if Path(path).suffix in TEXT}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert {"README.md", "docs/extend.md", ".env.example", "app/main.py", "tests/conftest.py"} <= found.keys()


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("docs/a.md", "Nobody reads it.", "'Nobody' in: Nobody reads it."),
        ("docs/a.md", f"It is {'very ' * 29}long.", "32 words: It is very"),
        ("src/a.py", 'def a() -> None:\n    """What it does."""\n', "docstring of a starts with 'What'"),
        ("src/a.py", "a = 1  # beside it\n", "'beside' in: beside it"),
        ("src/a.py", "a(help='Lock anew.')\n", "'anew' in: Lock anew."),
        ("copier.yml", "a: {help: 'Which shape have its errors?'}", "question: Which shape have its errors?"),
        ("copier.yml", "a: {validator: '{% if a %}Tell it.{% endif %}'}", "'Tell' in: Tell it."),
        ("copier.yml", "# alone\na: {}", "'alone' in: alone"),
    ],
)
def test_each_rule_finds_its_fault(path: str, text: str, fault: str) -> None:
    """A text that breaks one rule has one fault."""
    [found] = faults(path, text)
    assert found.startswith(fault)


def test_code_and_long_tables_pass() -> None:
    """Code in a document is not checked, and each cell of a table is a separate sentence."""
    text = "\n".join(["```sh", "tell " * 40, "```", "", "| a | b |", "|---|---|", f"| {'a ' * 20}| {'b ' * 20}|"])
    assert faults("docs/a.md", f"{text}\nUse `anew`.\n") == []
