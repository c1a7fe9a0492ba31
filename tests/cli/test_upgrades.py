from typing import Any

import pytest

from quickset.errors import QuicksetError
from quickset.templates import upgrades
from tests.questions import REPOSITORY

TEXT = """\
absent: {auth: none, extras: []}
releases:
  "0.2.0":
    before_deploy:
      - text: Everyone is
          concerned.
        keep: Set OLD=true.
      - {text: Databases are concerned., when: "{{ database != 'none' }}", settings: [POOL], defaults: [database]}
    questions: {db: database, unused: null}
    choices: {database: {pg: postgresql}, extras: {stats: metrics, gone: null}}
  "0.10.0":
    before_deploy: [{text: Log-ins are concerned., when: "{{ auth == 'jwt' }}"}]
  "0.3.0":
    choices: {database: {postgresql: postgres}}
    files: {app/a.py: app/b.py, app/c.py: null}
    modules: {"{{ package_name }}.a": "{{ package_name }}.b", "{% if auth == 'jwt' %}x.y{% endif %}": null}
    commands: {"{{ package_name }} up": "  {{ package_name }}  go "}
    moved_lines: {"{{ package_name }}/a.py": {"use({name})": "put {name}"}, "{% if false %}b{% endif %}": {c: d}}
"""


def texts(old: str, new: str, **answers: Any) -> list[str]:
    return [entry.text for entry in upgrades.load(TEXT).before_deploy(old, new, answers)]


def test_entries_in_between() -> None:
    """The releases after the old one up to the new one are used, newest first, in any order of the file."""
    everything = {"database": "sqlite", "auth": "jwt"}
    first, second, third = "Everyone is concerned.", "Databases are concerned.", "Log-ins are concerned."

    assert texts("v0.1.0", "v0.10.0", **everything) == [third, first, second]
    assert texts("0.1.1", "0.2.0", **everything) == [first, second]
    assert texts("0.2.0", "0.10.0", **everything) == [third]
    assert texts("0.10.0", "0.10.0", **everything) == texts("0.10.0", "0.2.0", **everything) == []


def test_entries_of_versions_under_work() -> None:
    """A development version is before its release, and includes the notes of that release."""
    dev = "v0.2.0.dev0+gabcdef012345"

    assert texts("0.1.1", dev) == texts(dev, "0.2.0") == texts(dev, "v0.2.0.dev0+g0123456789ab") != []
    assert texts("0.2.0", dev) == texts(dev, dev) == []


@pytest.mark.parametrize("answers", [{}, {"database": "none", "auth": "none"}])
def test_conditions(answers: dict[str, str]) -> None:
    """A condition uses the service's answers, and an answer that is not recorded has its absent value."""
    assert "Log-ins are concerned." not in texts("0.1.0", "0.10.0", **answers)
    assert ("Databases are concerned." in texts("0.1.0", "0.10.0", **answers)) is not bool(answers)


def test_entry() -> None:
    """An entry contains all fields of the file, with each text on one line."""
    everyone, databases = upgrades.load(TEXT).before_deploy("0.1.0", "0.2.0", {})

    assert (everyone.version, everyone.keep) == ("0.2.0", "Set OLD=true.")
    assert (databases.keep, databases.settings, databases.defaults) == ("", ("POOL",), ("database",))


def test_absent_values() -> None:
    """A question's absent value comes from the file. Other questions have none."""
    assert upgrades.load(TEXT).absent("auth") == "none"
    assert upgrades.load(TEXT).absent("project_name") is None


def test_carry() -> None:
    """Questions and choices are renamed to those of the newer version, release by release."""
    recorded = {"_commit": "v0.1.0", "db": "pg", "unused": 1, "extras": ["stats", "gone", "metrics"]}
    found = upgrades.load(TEXT)

    once = {"_commit": "v0.1.0", "database": "postgresql", "extras": ["metrics"]}
    assert found.carry(recorded, "0.1.0", "0.2.0") == once
    assert found.carry(recorded, "0.1.0", "0.10.0") == once | {"database": "postgres"}
    assert found.carry(once, "0.2.0", "0.10.0") == once | {"database": "postgres"}
    assert found.carry(once, "v0.2.0.dev0+gabcdef0", "0.2.0") == once
    assert found.carry({"db": "pg", "database": "mysql"}, "0.1.0", "0.2.0") == {"database": "mysql"}
    assert recorded["db"] == "pg"


def test_names() -> None:
    """Moves are rendered with the service's answers, oldest release first, and an empty name is no move."""
    second, third, tenth = upgrades.load(TEXT).renames("0.1.0", "0.10.0", {"package_name": "shop", "auth": "none"})

    assert second == tenth == upgrades.Renames()
    assert third.files == {"app/a.py": "app/b.py", "app/c.py": None}
    assert third.modules == {"shop.a": "shop.b"}
    assert third.commands == {"shop up": "shop go"}
    assert third.moved_lines == {"shop/a.py": {"use({name})": "put {name}"}}


def test_adding_and_removing() -> None:
    """An answer that turns a feature on or off is reported with its note. Unchanged answers are not."""
    found = upgrades.load(
        """
        adding:
          auth:
          - {text: Users must sign in.}
          - {text: Orders have owners., keep: Make an admin., when: "{{ example }}"}
          extras: [{text: Extras cost.}]
        removing:
          auth: [{text: All routes are public.}, {text: Orders have no owner., when: "{{ example }}"}]
        """
    )

    def notes(old: dict[str, object], new: dict[str, object]) -> list[str]:
        return [entry.text for entry in found.on_change(old, new)]

    assert notes({}, {"auth": "jwt", "example": False}) == ["Users must sign in."]
    assert notes({"auth": "none"}, {"auth": "jwt", "example": True}) == ["Users must sign in.", "Orders have owners."]
    assert notes({"extras": []}, {"extras": ["a"], "auth": "none"}) == ["Extras cost."]
    assert notes({"auth": "jwt", "extras": ["a"]}, {"auth": "oidc", "extras": ["a", "b"]}) == []
    assert notes({"auth": "jwt", "example": False}, {"auth": "none"}) == ["All routes are public."]
    assert notes({"auth": "jwt", "example": False}, {"extras": ["a"]}) == ["Extras cost.", "All routes are public."]
    assert notes({"auth": "jwt", "example": True}, {"example": True}) == [
        "All routes are public.",
        "Orders have no owner.",
    ]
    assert notes({"auth": "jwt", "example": True}, {"example": False}) == ["All routes are public."]
    assert found.on_change({}, {"extras": ["a"]})[0].version == "extras"


@pytest.mark.parametrize("text", [None, "", "absent:\nreleases:\n", 'releases: {"0.1.0": }'])
def test_nothing_to_say(text: str | None) -> None:
    """A template without the file, or with an empty one, changes nothing."""
    assert upgrades.load(text).before_deploy("0.1.0", "9.0.0", {}) == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "the file needs names with values"),
        ("relases: {}", r"the file: there is no 'relases' \(known: absent, adding, releases, removing\)"),
        ("releases: {0.1: {}}", "'0.1' is not a release"),
        ('releases: {"0.2.0": {depoy: []}}', "0.2.0: there is no 'depoy'"),
        ('releases: {"0.2.0": {before_deploy: {}}}', None),
        ('releases: {"0.2.0": {before_deploy: {text: a}}}', "before_deploy needs a list"),
        ('releases: {"0.2.0": {before_deploy: [{keep: a}]}}', "text is missing"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, keep: }]}}', "keep is missing"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, if: b}]}}', "there is no 'if'"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, when: 1}]}}', "when needs a condition"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, when: docker}]}}', "'docker' needs braces"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, when: "{{ a == }}"}]}}', "is not valid Jinja"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, when: "{{ a | nonsense }}"}]}}', "is not valid Jinja"),
        ('releases: {"0.2.0": {before_deploy: [{text: a, settings: A}]}}', "settings needs a list"),
        ("adding: [auth]", "adding needs names with values"),
        ("adding: {auth: {text: a}}", "adding: auth needs a list"),
        ("adding: {auth: [{text: a, settings: [A]}]}", "adding: auth: there is no 'settings'"),
        ("removing: {auth: [{}]}", "removing: auth: text is missing"),
        ('releases: {"0.2.0": {questions: {a: 1}}}', "questions needs old names with new ones"),
        ('releases: {"0.2.0": {questions: {a: b, b: c}}}', "'b' is both an old name and a new one"),
        ('releases: {"0.2.0": {files: {a: 1}}}', "files needs old names with new ones"),
        ('releases: {"0.2.0": {modules: {"{{ a": b}}}', "modules: '{{ a' is not valid Jinja"),
        ('releases: {"0.2.0": {commands: {a b: "{{ a | nonsense }}"}}}', "is not valid Jinja"),
        ('releases: {"0.2.0": {moved_lines: {a: [b]}}}', "moved_lines of a needs names with values"),
        ('releases: {"0.2.0": {moved_lines: {1: {a: b}}}}', "moved_lines needs paths"),
        ('releases: {"0.2.0": {choices: {database: [a]}}}', "choices of database needs names with values"),
    ],
)
def test_faults(text: str, fault: str | None) -> None:
    """Invalid content is reported in one line."""
    if fault is None:
        assert upgrades.load(text).releases
        return
    with pytest.raises(QuicksetError, match=fault) as raised:
        upgrades.load(text)
    assert str(raised.value).startswith("the template's upgrades.yml cannot be used: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ("{{ 1 < database }}", "fails: "),
        ("{{ 1 // 0 }}", "fails: "),
        ("{{ ''.__class__.__mro__ }}", "fails: "),
        ("{{ database }}", "says 'mysql', neither true nor false"),
    ],
)
def test_conditions_that_fail(condition: str, fault: str) -> None:
    """A condition that cannot be evaluated is an error of the template, and none can leave the sandbox."""
    found = upgrades.load(f'releases: {{"0.2.0": {{before_deploy: [{{text: a, when: "{condition}"}}]}}}}')

    with pytest.raises(QuicksetError, match=fault):
        found.before_deploy("0.1.0", "0.2.0", {"database": "mysql"})


def test_texts_cannot_steer_a_terminal() -> None:
    """Control characters in a template's texts are removed."""
    found = upgrades.load(r'releases: {"0.2.0": {before_deploy: [{text: "a\e[31mb\nc"}]}}')

    assert [entry.text for entry in found.before_deploy("0.1.0", "0.2.0", {})] == ["a[31mb c"]


def test_odd_versions() -> None:
    """An invalid version is named in the error."""
    with pytest.raises(QuicksetError, match="'main' is not a version"):
        upgrades.load(TEXT).before_deploy("main", "0.2.0", {})


def test_own_file() -> None:
    """An update from the first release has more notes for a service with a database than for one without."""
    found = upgrades.load((REPOSITORY / upgrades.FILE).read_text(encoding="utf-8"))

    entries = {
        database: found.before_deploy("v0.1.0", "v0.1.1", {"database": database}) for database in ("none", "mysql")
    }
    assert len(entries["none"]) == 2
    assert len(entries["mysql"]) == 3
    assert found.absent("template_updates") == "none"
