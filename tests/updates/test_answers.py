"""The recorded answers and their changes."""

from pathlib import Path

import pytest
import yaml

from quickset.commands import components
from quickset.commands.new import Request, new
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.templates.answers_file import ANSWERS_FILE
from quickset.updating import adapt
from tests.updates.harness import COPIER_YML, NUMBERS, Lab, kinds

THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5")}

LIMIT = COPIER_YML + "limit: {type: str, choices: [memory, redis, none], default: memory}\n"
LIMIT_FILE = "{% if limit != 'none' %}limit.txt{% endif %}.jinja"
ABSENT = "absent:\n  limit: none\nreleases: {}\n"
# An answer that is recorded without a question.
UNIT = COPIER_YML + "unit: {type: str, ask: false, choices: [euro, cent], default: euro}\n"
UNIT_FILES = {"unit.txt.jinja": "{{ unit }}\n"}


def refused(lab: Lab, *words: str) -> QuicksetError:
    """Require that an update fails with these words in the error and changes nothing."""
    before = lab.snapshot()
    with pytest.raises(QuicksetError) as error:
        lab.update()
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert lab.snapshot() == before
    return error.value


def rewrite(lab: Lab, **values: object) -> None:
    """Change recorded answers by hand. None removes an answer."""
    recorded = lab.recorded() | values
    lab.write({ANSWERS_FILE: yaml.safe_dump({name: value for name, value in recorded.items() if value is not None})})


def test_hand_edited(lab: Lab) -> None:
    """An answer that was changed by hand is used, and the user's comments cause no conflict."""
    rewrite(lab, docker=True)
    lab.write({ANSWERS_FILE: "# mine\n" + lab.read(ANSWERS_FILE)})
    lab.commit()
    lab.release(THEIRS)

    result = lab.update()

    lab.assert_clean(result)
    assert lab.recorded()["docker"] is True
    assert "theirs 5" in lab.read("numbers.txt")


def test_hand_edited_and_not_committed(lab: Lab) -> None:
    """An update is refused if the answers file has uncommitted edits, because the update writes that file."""
    rewrite(lab, docker=True)
    lab.release(THEIRS)

    assert refused(lab, ANSWERS_FILE).exit_code == 4


def test_order_and_quotes(lab: Lab) -> None:
    """The order and the quotes of the answers have no effect."""
    recorded = lab.recorded()
    lines = [f'"{name}": "{value}"' for name, value in reversed(recorded.items()) if isinstance(value, str)]
    lab.commit({ANSWERS_FILE: "\n".join([*lines, "docker: no"]) + "\n"})
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert lab.recorded() == recorded | {"_commit": "v0.2.0"}
    assert lab.read(ANSWERS_FILE).count("_commit") == 1


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("? _commit\n: v0.1.0\n", ""),
        ("? '_commit' # mine\n: v0.1.0\n", " # mine"),
        ("? _commit\n: v0.1.0 # mine\n", " # mine"),
        ("? !!str _commit\n: v0.1.0\n", None),
    ],
    ids=["plain", "comment", "comment on the value", "tag"],
)
def test_complex_key(lab: Lab, written: str, kept: str | None) -> None:
    """A key on two lines is replaced or is a conflict, and `_commit` is never there twice."""
    lab.commit({ANSWERS_FILE: lab.read(ANSWERS_FILE).replace("_commit: v0.1.0\n", written)})
    lab.release(THEIRS)

    result = lab.update()

    if kept is None:
        assert result.conflicts == (ANSWERS_FILE,)
        return
    lab.assert_clean(result)
    assert f"_commit: v0.2.0{kept}\n" in lab.read(ANSWERS_FILE)
    assert lab.read(ANSWERS_FILE).count("_commit") == 1


def test_repeated_key(lab: Lab) -> None:
    """A repeated key, as after a bad merge, is refused with both lines."""
    lab.commit({ANSWERS_FILE: lab.read(ANSWERS_FILE) + "'_commit': v0.1.9\n"})
    lab.release(THEIRS)
    last = len(lab.read(ANSWERS_FILE).splitlines())

    refused(lab, ANSWERS_FILE, f"'_commit' is in lines 2 and {last}")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing\n",
        "a: [\n",
        "- one\n",
        "just text\n",
        b"\xff\xfe\x00",
        "_commit: v0.1.0\n",
        "_src_path: https://example.com/template.git\n",
        "_commit: [1]\n_src_path: {}\n",
        "<<<<<<< yours\n_commit: v0.1.0\n=======\n_commit: v0.2.0\n>>>>>>> theirs\n",
    ],
    ids=["empty", "comment", "broken", "list", "text", "bytes", "no source", "no version", "types", "conflict"],
)
def test_damaged(lab: Lab, content: str | bytes) -> None:
    """A damaged answers file is refused with its name, and nothing changes."""
    lab.commit({ANSWERS_FILE: content})
    lab.release(THEIRS)

    refused(lab, ANSWERS_FILE)


def test_missing(lab: Lab) -> None:
    """A folder without an answers file is refused: it is not a service."""
    lab.commit({ANSWERS_FILE: None})
    lab.release(THEIRS)

    assert refused(lab, ANSWERS_FILE).exit_code == 2


def test_not_committed(lab: Lab) -> None:
    """Answers that are not committed are refused or merged, and never lost."""
    lab.git("rm", "--quiet", "--cached", ANSWERS_FILE)
    lab.git("commit", "--quiet", "--message", "Forget the answers")
    lab.release(THEIRS)

    refused(lab)


@pytest.mark.parametrize("version", ["v0.1.9", "v9.0.0", "v0.1.1.dev0+g0123456789ab", "main", "v1"])
def test_unknown_version(lab: Lab, version: str) -> None:
    """An unknown recorded version is refused, and the error names the version and a solution."""
    rewrite(lab, _commit=version)
    lab.commit()
    lab.release(THEIRS)

    assert version.removeprefix("v") in str(refused(lab))


def test_newer_version(lab: Lab) -> None:
    """A service that is newer than this quickset is refused, and the error names the version to install."""
    rewrite(lab, _commit="v9.0.0")
    lab.commit()
    lab.release(THEIRS)

    error = refused(lab, "9.0.0")

    assert isinstance(error, RefusedError)
    assert "quickset@" in str(error)


def test_unreleased(lab: Lab) -> None:
    """A service from an unreleased state of the template is updated from that state."""
    (lab.origin / "template" / "numbers.txt").write_text(NUMBERS.replace("line 40", "between 40"))
    lab.version = "0.1.1"
    lab.release()
    service = lab.path.parent / "other"
    new(Request(path=service, ref="HEAD", lock=False), template_source=lab.source)
    other = Lab(lab.origin, service, service, version=lab.version)
    other.release({"numbers.txt": NUMBERS.replace("line 40", "between 40").replace("line 05", "theirs 5")})

    result = other.update()

    other.assert_clean(result)
    assert kinds(result) == {"numbers.txt": "changed"}


def test_new_question(lab: Lab) -> None:
    """A new question takes its absent value, not its default, and is listed with it."""
    lab.release({LIMIT_FILE: "{{ limit }}\n"}, root={"copier.yml": LIMIT, "upgrades.yml": ABSENT})

    result = lab.update()

    lab.assert_clean(result)
    assert result.absent == {"limit": "none"}
    assert lab.recorded()["limit"] == "none"
    assert not lab.exists("limit.txt")


def test_new_question_answered(lab: Lab) -> None:
    """A given answer to a new question is used."""
    lab.release({LIMIT_FILE: "{{ limit }}\n"}, root={"copier.yml": LIMIT, "upgrades.yml": ABSENT})

    result = lab.update(data={"limit": "redis"})

    lab.assert_clean(result)
    assert result.absent == {}
    assert lab.read("limit.txt") == "redis\n"


def test_new_question_of_which_nothing_is_known(lab: Lab) -> None:
    """A new question without an absent value is listed with the value that it took."""
    lab.release({LIMIT_FILE: "{{ limit }}\n"}, root={"copier.yml": LIMIT})

    result = lab.update()

    lab.assert_clean(result)
    assert result.absent == {"limit": lab.recorded()["limit"]}


def test_new_question_in_the_middle(lab: Lab) -> None:
    """A question that was added and removed between the two versions is not asked."""
    lab.release({LIMIT_FILE: "{{ limit }}\n"}, root={"copier.yml": LIMIT, "upgrades.yml": ABSENT})
    lab.release({LIMIT_FILE: None}, root={"copier.yml": COPIER_YML})

    result = lab.update()

    lab.assert_clean(result)
    assert result.absent == {}
    assert "limit" not in lab.recorded()


def test_new_recorded_answer(lab: Lab, tmp_path: Path) -> None:
    """An answer that is recorded without a question has its absent value after an update and keeps it."""
    lab.release(UNIT_FILES, root={"copier.yml": UNIT, "upgrades.yml": "absent: {unit: cent}\n"})

    result = lab.update(ask=True)

    lab.assert_clean(result)
    assert result.absent == {}
    assert lab.recorded()["unit"] == "cent"
    assert lab.read("unit.txt") == "cent\n"
    lab.commit()
    lab.release(THEIRS)
    lab.assert_clean(lab.update())
    lab.commit()
    components.add(lab.path, ["docker"], lock=False, template_source=lab.source)
    assert lab.recorded()["unit"] == "cent"
    fresh = tmp_path / "fresh"
    new(Request(path=fresh, lock=False), template_source=lab.source)
    assert (fresh / "unit.txt").read_text() == "euro\n"


@pytest.mark.parametrize("choice", ["unit", "unit=euro"])
def test_recorded_answer_cannot_be_given(lab: Lab, tmp_path: Path, choice: str) -> None:
    """No command accepts an answer that is recorded without a question."""
    lab.release(UNIT_FILES, root={"copier.yml": UNIT, "upgrades.yml": "absent: {unit: cent}\n"})
    request = Request(path=tmp_path / "fresh", data={"unit": "cent"}, lock=False)
    with pytest.raises(UsageError, match="'unit' is recorded by the template and cannot be set"):
        new(request, template_source=lab.source)
    with pytest.raises(UsageError, match="'unit' is recorded by the template and cannot be set"):
        lab.update(data={"unit": "euro"})
    lab.assert_clean(lab.update())
    lab.commit()
    for change in (components.add, components.remove):
        with pytest.raises(UsageError, match="unit"):
            change(lab.path, [choice], lock=False, template_source=lab.source)


@pytest.mark.parametrize(
    ("data", "word"),
    [({"cache": "redis"}, "cache"), ({"limt": "none"}, "limt"), ({"limit": "disk"}, "disk"), ({"slug": "x"}, "slug")],
)
def test_wrong_data(lab: Lab, data: dict[str, str], word: str) -> None:
    """An answer that is already given, unknown, derived or impossible is a usage error."""
    lab.release({LIMIT_FILE: "{{ limit }}\n"}, root={"copier.yml": LIMIT, "upgrades.yml": ABSENT})
    before = lab.snapshot()

    with pytest.raises(UsageError, match=word):
        lab.update(data=data)

    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("name", "value"), [("cache", "disk"), ("docker", "maybe"), ("layout", ["feature"]), ("project_name", "9 lives")]
)
def test_invalid_answer(lab: Lab, name: str, value: object) -> None:
    """An invalid recorded answer is refused with its name and not replaced by a default."""
    rewrite(lab, **{name: value})
    lab.commit()
    lab.release(THEIRS)

    refused(lab, name)


def test_choice_is_gone(lab: Lab) -> None:
    """A recorded choice that no longer exists is refused with a solution, and another choice is accepted."""
    rewrite(lab, cache="redis")
    lab.commit()
    lab.release(THEIRS, root={"copier.yml": COPIER_YML.replace("[none, memory, redis]", "[none, memory]")})

    error = refused(
        lab, "cache: the service has 'redis'", "v0.2.0", "'redis' is none of: 'none', 'memory'", "--data cache="
    )
    assert error.exit_code == 2
    with pytest.raises(UsageError, match="'disk' is none of: 'none', 'memory'"):
        lab.update(data={"cache": "disk"})

    assert "theirs" in lab.preview(data={"cache": "memory"}).patch
    lab.update(data={"cache": "memory"})

    assert lab.recorded()["cache"] == "memory"


def test_question_is_gone(lab: Lab) -> None:
    """An answer is removed together with its question."""
    config = "".join(line for line in COPIER_YML.splitlines(keepends=True) if not line.startswith("layout"))
    lab.release(root={"copier.yml": config})

    lab.assert_clean(lab.update())

    assert "layout" not in lab.recorded()


def test_order_of_new_answers() -> None:
    """New answers are added to an edited file in the template's order, the same in each process."""
    new = "".join(f"question_{number}: {number}\n" for number in range(12))
    sides = adapt.MergeInputs(
        old={ANSWERS_FILE: b"_commit: v0.1.0\n"},
        new={ANSWERS_FILE: f"_commit: v0.2.0\n{new}".encode()},
        user={ANSWERS_FILE: b"# mine\n_commit: v0.1.0\n"},
    )

    adapt.answers_file(sides, ANSWERS_FILE)

    assert sides.new[ANSWERS_FILE].decode() == f"# mine\n_commit: v0.2.0\n{new}"


def test_renamed_question_and_choice(lab: Lab) -> None:
    """Answers follow renamed questions and choices."""
    rewrite(lab, cache="redis")
    lab.commit()
    config = COPIER_YML.replace("cache:", "store:").replace("[none, memory, redis]", "[none, memory, valkey]")
    upgrades = "absent: {}\nreleases:\n  0.2.0:\n    questions: {cache: store}\n    choices: {store: {redis: valkey}}\n"
    cache = "{{ package_name }}/core/{% if cache != 'none' %}cache.py{% endif %}.jinja"
    lab.release(
        {
            cache: None,
            cache.replace("cache !=", "store !="): 'CACHE = "{{ store }}"\n',
            "pyproject.toml.jinja": (lab.origin / "template" / "pyproject.toml.jinja")
            .read_text()
            .replace('cache == "redis"', 'store == "valkey"'),
        },
        root={"copier.yml": config, "upgrades.yml": upgrades},
    )

    result = lab.update()

    assert result.conflicts == ()
    assert lab.recorded()["store"] == "valkey"
    assert "cache" not in lab.recorded()


def test_derived_answer_in_the_file(lab: Lab) -> None:
    """A derived answer that a user wrote into the file has no effect."""
    rewrite(lab, slug="mine")
    lab.commit()
    lab.release(THEIRS)

    lab.update()

    assert 'name = "service"' in lab.read("pyproject.toml")


def test_to_a_version(lab: Lab) -> None:
    """An update goes to the requested version."""
    lab.release(THEIRS)
    lab.release({"numbers.txt": NUMBERS.replace("line 05", "later 5")})

    result = lab.update(to="0.2.0")

    assert result.conflicts == ()
    assert lab.at() == "0.2.0"
    assert "theirs 5" in lab.read("numbers.txt")


@pytest.mark.parametrize("version", ["0.1.0", "0.9.0", "nonsense"])
def test_to_a_wrong_version(lab: Lab, version: str) -> None:
    """An older version and an unknown version are usage errors."""
    lab.release(THEIRS)
    lab.update()
    lab.commit(message="Update")
    before = lab.snapshot()

    with pytest.raises(UsageError):
        lab.update(to=version)

    assert lab.snapshot() == before


def test_deploy(lab: Lab) -> None:
    """Notes for a deployment are listed for the releases in between and for the answers of the service."""
    upgrades = """\
absent: {}
releases:
  0.3.0:
    before_deploy:
      - {text: The port is another., keep: "Set PORT=8000."}
      - {text: The image is smaller., when: "{{ docker }}"}
  0.2.0:
    before_deploy:
      - {text: Sessions end., when: "{{ cache == 'none' }}"}
"""
    lab.release(THEIRS)
    lab.release({"run.sh": "#!/bin/sh\n"}, root={"upgrades.yml": upgrades})

    result = lab.update()

    assert [(entry.version, entry.text) for entry in result.deploy] == [
        ("0.3.0", "The port is another."),
        ("0.2.0", "Sessions end."),
    ]
