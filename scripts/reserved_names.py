"""Write the names that a service cannot have into the last block of copier.yml.

Usage: uv run python -m scripts.reserved_names
"""

import json
import keyword
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

from quickset.locking import lock
from tests.questions import REPOSITORY, read_copier_yml, read_questions
from tests.rendering import copy_template, read_tree, render
from tests.template.releases import variants

FILE = REPOSITORY / "copier.yml"
PACKAGE_FORM = re.compile(r"[a-z][a-z0-9_]{0,19}")
HEADER = "# --- Reserved names, written by scripts/reserved_names.py ".ljust(119, "-")
# The versions that a service can run on.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
# Modules that the list of mypy leaves out, because it has no types for them.
UNTYPED = {"idlelib", "test", "turtledemo"}
# An example in C of how to write a module; not in `sys.stdlib_module_names`.
EXAMPLES = {"xxlimited"}
# A soft keyword since Python 3.12.
KEYWORDS = {*keyword.kwlist, *keyword.softkwlist, "type"}
# Folders that tools create in a service, and packages that services often add.
OFTEN_ADDED = {
    *("build", "dist", "docs", "env", "htmlcov", "node_modules", "venv"),
    *(
        "attr",
        "httpx",
        "jinja2",
        "just",
        "polyfactory",
        "py",
        "requests",
        "schemathesis",
        "sniffio",
        "time_machine",
        "uv",
    ),
}
LIST_MODULES = """
import json
from importlib.metadata import packages_distributions
print(json.dumps(sorted(packages_distributions())))
"""


def main() -> None:
    """Write the block."""
    with tempfile.TemporaryDirectory() as folder:
        names = reserved_names(Path(folder))
    FILE.write_text(with_block(FILE.read_text(encoding="utf-8"), names), encoding="utf-8")


def reserved_names(scratch: Path) -> dict[str, set[str]]:
    """Return the names that the block has to hold, by the hidden answer that lists them.

    Args:
        scratch: An empty folder.
    """
    questions = read_questions()
    template = copy_template(scratch / "template")
    services = [
        render(template, scratch / str(number), {**answers, "package_name": "a"})
        for number, answers in enumerate(variants(questions))
    ]
    distributions, modules = _dependencies(services, scratch / "union")
    top = {path.partition("/")[0].removesuffix(".py") for service in services for path in read_tree(service)} - {"a"}
    names = KEYWORDS | _standard_modules() | modules | top | OFTEN_ADDED
    return {
        "dependency_names": distributions,
        "reserved_names": {name for name in names if PACKAGE_FORM.fullmatch(name)},
    }


def written_names() -> dict[str, set[str]]:
    """Return the names that the block holds, by the hidden answer that lists them."""
    return {name: set(read_copier_yml()[name]["default"].split()) for name in ("dependency_names", "reserved_names")}


def with_block(text: str, names: Mapping[str, set[str]]) -> str:
    """Replace the block in the text of copier.yml.

    Args:
        text: The text.
        names: What the block lists, by the hidden answer that lists them.
    """
    lines = [
        HEADER,
        "",
        "# PyYAML puts merged keys first. Copier needs these answers before the questions that use them.",
        "<<:",
    ]
    for answer, values in names.items():
        listed = fill(
            " ".join(sorted(values)),
            width=120,
            initial_indent=" " * 6,
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
            break_long_words=False,
        )
        lines += [f"  {answer}:", "    type: str", "    when: false", "    default: >-", listed]
    return text.partition(HEADER)[0] + "\n".join(lines) + "\n"


def _dependencies(services: Sequence[Path], folder: Path) -> tuple[set[str], set[str]]:
    """Return the distributions that services depend on, on any system, and the modules that these install here."""
    projects = [tomllib.loads((service / "pyproject.toml").read_text(encoding="utf-8")) for service in services]
    requirements = {
        requirement
        for project in projects
        for requirement in (*project["project"]["dependencies"], *project["dependency-groups"]["dev"])
    }
    oldest = ".".join(map(str, OLDEST_PYTHON))
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "quickset-union"\nversion = "1"\nrequires-python = ">={oldest}"\n'
        f"dependencies = {json.dumps(sorted(requirements))}\n[tool.uv]\npackage = false\n",
        encoding="utf-8",
    )
    if reason := lock(folder):
        raise SystemExit(f"the dependencies cannot be locked: {reason}")
    locked = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))["package"]
    sync = ["uv", "sync", "--locked", "--quiet", "--project", str(folder), "--python", oldest]
    subprocess.run(sync, check=True, env=_clean_environment())
    python = folder / ".venv" / "bin" / "python"
    listed = subprocess.run([python, "-c", LIST_MODULES], capture_output=True, text=True, check=True).stdout
    return {package["name"] for package in locked} - {"quickset-union"}, set(json.loads(listed))


def _standard_modules() -> set[str]:
    """Return the modules of the standard library of every Python that a service can run on, from mypy's list."""
    spec = find_spec("mypy")
    if spec is None or spec.origin is None:
        raise SystemExit("mypy is not installed")
    listed = Path(spec.origin).with_name("typeshed").joinpath("stdlib", "VERSIONS").read_text(encoding="utf-8")
    found = re.findall(r"^(\w+): 3\.(\d+)-(?:3\.(\d+))?", listed, re.MULTILINE)
    oldest, newest = OLDEST_PYTHON[1], NEWEST_PYTHON[1]
    typed = {name for name, first, last in found if int(first) <= newest and int(last or newest) >= oldest}
    return UNTYPED | typed - EXAMPLES


def _clean_environment() -> dict[str, str]:
    """Return the environment without the virtual environment that this script runs in."""
    return {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}


if __name__ == "__main__":
    main()
