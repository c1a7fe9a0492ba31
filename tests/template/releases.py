"""Compares two states of the template and finds changes that `upgrades.yml` must describe."""

import ast
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence, Set
from io import BytesIO
from pathlib import Path
from subprocess import run

from quickset.updating.imports import renaming
from quickset.updating.matching import moved as moved_to
from quickset.templates.upgrades import Upgrades
from tests.questions import REPOSITORY, Answer, Question, only_asked, read_questions, read_recorded
from tests.rendering import read_tree, render

PARTS = ("copier.yml", "template")
CONSTANTS = {"app/core/database_url.py", "app/core/db/settings.py", "app/core/setting_types.py", "app/core/settings.py"}
CLASSES = re.compile(r"^class \w+Settings\(\w+\):\n(?:(?:    .*)?\n)+", re.MULTILINE)
EXAMPLE = ".env.example"
BOUNDS_OF_TYPES = {"allow_inf_nan", "ge", "gt", "le", "lt"}


def checkout(commit: str, folder: Path) -> Path:
    """Write the template of a commit to a folder."""
    archive = run(["git", "archive", commit, *PARTS], cwd=REPOSITORY, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def variants(questions: list[Question]) -> list[dict[str, Answer]]:
    """Return sets of answers that include every choice once, starting with the defaults."""
    choices = {
        question.name: [question.default, *(choice for choice in question.choices if choice != question.default)]
        for question in questions
        if question.choices
    }
    most = max((len(values) for values in choices.values()), default=1)
    return [{name: values[number % len(values)] for name, values in choices.items()} for number in range(most)]


def unexplained(
    old: Path,
    new: Path,
    upgrades: Upgrades,
    versions: tuple[str, str],
    scratch: Path,
    services: Sequence[Mapping[str, Answer]] | None = None,
) -> list[str]:
    """Find changes between two states of the template that `upgrades.yml` does not describe.

    Args:
        old: The older state, as `copier.yml` and `template/`.
        new: The newer state.
        upgrades: The entries for the releases.
        versions: The versions of the two states.
        scratch: An empty folder.
        services: The answers of the services to compare. By default every choice is in one of them.

    Returns:
        A line for each undescribed change of a default, setting, file, question or choice.
    """
    faults = list(_question_faults(read_questions(old), read_questions(new), upgrades, versions))
    rows = variants(read_questions(old))
    asked = [question for question in read_questions(old) if question.choices]
    for number, row in enumerate(rows if services is None else services):
        answers = only_asked(asked, {**rows[0], **row})
        carried = upgrades.carry(answers, *versions)
        names = [*(question.name for question in read_questions(new)), *read_recorded(new)]
        absent = {name: upgrades.absent(name) for name in names if name not in carried and name in upgrades.absents}
        try:
            trees = [
                read_tree(render(source, scratch / f"{number}-{name}", given))
                for name, source, given in (("old", old, answers), ("new", new, carried | absent))
            ]
        except Exception as error:  # noqa: BLE001 -- whatever Copier raises over answers that no longer fit
            faults.append(f"{answers}: cannot be rendered again: {error}")
            continue
        announced = upgrades.before_deploy(*versions, carried | absent)
        known = {name for entry in announced for name in entry.settings}
        renames = upgrades.renames(*versions, {"package_name": "app"} | carried | absent)
        moved: dict[str, str | None] = {}
        for release in renames:
            moved |= release.files
        before, after = map(settings, trees)
        faults += [f"setting {fault}" for fault in _setting_faults(before, after, known)]
        faults += _file_faults(trees[0].keys(), trees[1].keys(), moved)
        faults += _module_faults(trees[0], trees[1], [*(names.modules for names in renames), _modules(moved, *trees)])
    return sorted(set(faults))


def settings(tree: Mapping[str, str]) -> dict[str, str]:
    """Return every setting of a rendered service with its default and its bounds, and the content of `.env.example`."""
    modules = {
        path: _parsed(text if path in CONSTANTS else "".join(CLASSES.findall(text)))
        for path, text in tree.items()
        if path.startswith("app/") and path.endswith(".py")
    }
    constants = {
        target.id: ast.unparse(node.value)
        for path, module in modules.items()
        if path in CONSTANTS
        for node in module
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    nodes = [node for module in modules.values() for node in module if isinstance(node, ast.ClassDef)]
    body = [node for each in nodes if each.name.endswith("Settings") for node in each.body]
    examples = dict(re.findall(r"^([A-Z_]+)=(.*)$", tree[EXAMPLE], re.MULTILINE))
    return {
        name: f"{_default_and_bounds(node, constants)} ({examples.get(name, '')})"
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        for name in [node.target.id.upper()]
    }


def _default_and_bounds(setting: ast.AnnAssign, constants: Mapping[str, str]) -> str:
    default = _resolved(ast.unparse(setting.value), constants) if setting.value else ""
    bounds = _words_of_fields(_resolved(ast.unparse(setting.annotation), constants))
    # Bounds of other types were not compared for the first releases.
    bounds = {name: bounds[name] for name in bounds.keys() & BOUNDS_OF_TYPES} | _words_of_fields(default)
    return " ".join([bounds.pop("default", default), *(f"{name}={bounds[name]}" for name in sorted(bounds))])


def _words_of_fields(text: str) -> dict[str, str]:
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    fields = [call for call in calls if ast.unparse(call.func) == "Field"]
    return {word.arg or "": ast.unparse(word.value) for field in fields for word in field.keywords}


def _resolved(text: str, constants: Mapping[str, str]) -> str:
    """Return an expression with the names of constants and types replaced by their definitions."""
    while text != (text := re.sub(r"\b[A-Z]\w*", lambda word: constants.get(word[0], word[0]), text)):
        pass
    return text


def _question_faults(
    old: list[Question], new: list[Question], upgrades: Upgrades, versions: tuple[str, str]
) -> Iterator[str]:
    now = {question.name: question for question in new}
    between = upgrades.between(*versions).values()
    announced = {name for release in between for entry in release.before_deploy for name in entry.defaults}
    dropped = {name for release in between for name, successor in release.questions.items() if successor is None}
    for question in old:
        if question.name in dropped:
            continue
        [(name, default)] = upgrades.carry({question.name: question.default}, *versions).items()
        if name not in now:
            yield f"question {question.name}: is gone without a mapping"
            continue
        if now[name].default != default and name not in announced:
            yield f"question {name}: has another default"
        for choice in question.choices:
            if upgrades.carry({question.name: choice}, *versions)[name] not in now[name].choices:
                yield f"question {question.name}: its choice {choice} is gone without a mapping"
    asked = {name for question in old for name in upgrades.carry({question.name: question.default}, *versions)}
    for question in new:
        if question.name in asked:
            continue
        if question.name not in upgrades.absents:
            yield f"question {question.name}: is new and has no absent value"
        elif question.choices and upgrades.absent(question.name) not in question.choices:
            yield f"question {question.name}: its absent value is none of its choices"


def _setting_faults(old: Mapping[str, str], new: Mapping[str, str], announced: set[str]) -> Iterator[str]:
    for name in old.keys() - announced:
        if name not in new:
            yield f"{name}: is gone"
        elif new[name] != old[name]:
            yield f"{name}: has another default or other bounds: {old[name]}, now {new[name]}"


def _file_faults(old: Set[str], new: Set[str], moved: Mapping[str, str | None]) -> Iterator[str]:
    for path in sorted(old - new):
        goal = moved_to(path, moved)
        if goal == path:
            yield f"file {path}: moved or is gone"
        elif goal is not None and goal not in new:
            yield f"file {path}: is not where upgrades.yml says, at {goal}"


def _modules(moved: Mapping[str, str | None], old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    """Return the modules of moved files, as an update derives them."""
    goals = {path: goal for path in old.keys() - new.keys() if (goal := moved_to(path, moved)) in new}
    return {_module(path): _module(goal) for path, goal in goals.items() if goal}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _module_faults(
    old: Mapping[str, str], new: Mapping[str, str], releases: Sequence[Mapping[str, str | None]]
) -> Iterator[str]:
    rename = renaming(releases)
    gone = {_module(path) for path in old.keys() - new.keys() if path.startswith("app/") and path.endswith(".py")}
    for name in sorted(gone.union(*releases)):
        now = rename(name)
        if now == name and name in gone:
            yield f"module {name}: moved or is gone"
        elif now and _defines(old, name) and not _defines(new, now):
            yield f"module {name}: is not where upgrades.yml says, at {now}"


def _defines(tree: Mapping[str, str], name: str) -> bool:
    """Return whether a dotted name is a module or a top-level name in one."""
    path, _, last = name.replace(".", "/").rpartition("/")
    if {f"{path}/{last}.py", f"{path}/{last}/__init__.py"} & tree.keys():
        return True
    text = tree.get(f"{path}.py", tree.get(f"{path}/__init__.py", ""))
    return any(last in _bound(node) for node in _parsed(text))


def _parsed(text: str) -> list[ast.stmt]:
    """Parse a module without its type parameters, which Python 3.11 cannot parse."""
    text = re.sub(r"((?:def|class) \w+)\[.*?\](?=\()", r"\1", text)
    return ast.parse(re.sub(r"^type (\w+)(?:\[.*?\])? =", r"\1 =", text, flags=re.MULTILINE)).body


def _bound(node: ast.stmt) -> set[str]:
    """Return the names that a top-level statement of a module binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
