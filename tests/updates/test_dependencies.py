"""The dependencies in pyproject.toml: lines that the user did not touch follow the template, others stay."""

from itertools import pairwise

import pytest

from tests.updates.harness import PYPROJECT, Lab, has_markers

FASTAPI = "fastapi>=0.165,<0.166"


def bump(*pairs: tuple[str, str]) -> dict[str, str | bytes | None]:
    """Change the template's dependencies."""
    text = PYPROJECT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return {"pyproject.toml.jinja": text}


def is_reported(lab: Lab, notes: tuple[str, ...], changes: str, word: str) -> bool:
    return any(word in text for text in (*notes, changes))


def test_untouched_line_follows(lab: Lab) -> None:
    """An untouched line follows the template, even next to lines of the user."""
    lab.replace("pyproject.toml", ("orjson>=3.13,<4", "orjson>=3.15,<4"))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    result = lab.update()

    lab.assert_clean(result)
    assert "fastapi>=0.170,<0.171" in lab.dependencies()
    assert "orjson>=3.15,<4" in lab.dependencies()


@pytest.mark.parametrize(
    "mine", ["fastapi==0.200.0", "fastapi>=0.165.3,<0.166", "fastapi[standard]>=0.165,<0.166", "fastapi"]
)
def test_touched_line_is_kept(lab: Lab, mine: str) -> None:
    """A changed line stays, is reported and causes no conflict."""
    lab.replace("pyproject.toml", (FASTAPI, mine))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    result = lab.update()

    lab.assert_clean(result)
    assert [line for line in lab.dependencies() if line.startswith("fastapi")] == [mine]
    assert is_reported(lab, result.notes, " ".join(change.note for change in result.changes), "fastapi")


def test_never_lowered(lab: Lab) -> None:
    """A version that the user raised is not lowered when the template raises it less."""
    lab.replace("pyproject.toml", (FASTAPI, "fastapi>=0.180,<0.181"), ("uvicorn>=0.54,<0.55", "uvicorn>=0.60,<0.61"))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171"), ("uvicorn>=0.54,<0.55", "uvicorn>=0.55,<0.56")))

    result = lab.update()

    lab.assert_clean(result)
    assert {"fastapi>=0.180,<0.181", "uvicorn>=0.60,<0.61"} <= set(lab.dependencies())


def test_template_lowers(lab: Lab) -> None:
    """A version that the template lowers is lowered only in an untouched line."""
    lab.replace("pyproject.toml", ("orjson>=3.13,<4", "orjson>=3.15,<4"))
    lab.commit()
    lab.release(bump(("orjson>=3.13,<4", "orjson>=3.11,<4")))

    lab.assert_clean(lab.update())

    assert "orjson>=3.15,<4" in lab.dependencies()


def test_both_took_the_same(lab: Lab) -> None:
    """A version that both sides chose is not a conflict."""
    lab.replace("pyproject.toml", (FASTAPI, "fastapi>=0.170,<0.171"))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    lab.assert_clean(lab.update())

    assert "fastapi>=0.170,<0.171" in lab.dependencies()


def test_added_beside_each_other(lab: Lab) -> None:
    """Lines that both sides added in the same place are all kept."""
    lab.replace("pyproject.toml", ('  "orjson>=3.13,<4",\n', '  "nh3>=0.3",\n  "orjson>=3.13,<4",\n'))
    lab.commit()
    lab.release(bump(('  "orjson>=3.13,<4",\n', '  "openai>=3",\n  "orjson>=3.13,<4",\n')))

    result = lab.update()

    lab.assert_clean(result)
    assert {"nh3>=0.3", "openai>=3", "orjson>=3.13,<4"} <= set(lab.dependencies())
    assert not has_markers(lab.read_bytes("pyproject.toml"))


def test_added_beside_a_changed_line(lab: Lab) -> None:
    """A line that the user added next to one that the template raises is not a conflict."""
    lab.replace("pyproject.toml", (f'  "{FASTAPI}",\n', f'  "{FASTAPI}",\n  "nh3>=0.3",\n'))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    lab.assert_clean(lab.update())

    assert {"fastapi>=0.170,<0.171", "nh3>=0.3"} <= set(lab.dependencies())


def test_raised_beside_each_other(lab: Lab) -> None:
    """A line that the user raised next to one that the template raises is not a conflict."""
    lab.replace("pyproject.toml", ("orjson>=3.13,<4", "orjson>=3.15,<4"))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171"), ("structlog>=26.1,<27", "structlog>=26.2,<27")))

    lab.assert_clean(lab.update())

    assert {"fastapi>=0.170,<0.171", "orjson>=3.15,<4", "structlog>=26.2,<27"} <= set(lab.dependencies())


def test_removed_stays_removed(lab: Lab) -> None:
    """A dependency that the user removed stays removed when the template raises it."""
    lab.replace("pyproject.toml", ('  "orjson>=3.13,<4",\n', ""))
    lab.commit()
    lab.release(bump(("orjson>=3.13,<4", "orjson>=3.15,<4")))

    result = lab.update()

    lab.assert_clean(result)
    assert not any(line.startswith("orjson") for line in lab.dependencies())


def test_removed_by_the_template(lab: Lab) -> None:
    """A dependency that the template drops is removed from an untouched line and stays in a changed one."""
    lab.replace("pyproject.toml", ("orjson>=3.13,<4", "orjson>=3.15,<4"))
    lab.commit()
    lab.release(bump(('  "orjson>=3.13,<4",\n', ""), ('  "structlog>=26.1,<27",\n', "")))

    result = lab.update()

    lab.assert_clean(result)
    assert "orjson>=3.15,<4" in lab.dependencies()
    assert not any(line.startswith("structlog") for line in lab.dependencies())


def test_both_added_the_same_package(lab: Lab) -> None:
    """A package that both sides added is listed once, in the user's version."""
    lab.replace("pyproject.toml", ('  "orjson>=3.13,<4",\n', '  "httpx>=1.0",\n  "orjson>=3.13,<4",\n'))
    lab.commit()
    lab.release(bump(('  "orjson>=3.13,<4",\n', '  "httpx>=0.28",\n  "orjson>=3.13,<4",\n')))

    result = lab.update()

    lab.assert_clean(result)
    assert [line for line in lab.dependencies() if line.startswith("httpx")] == ["httpx>=1.0"]


def test_groups(lab: Lab) -> None:
    """Development groups follow the same rules."""
    lab.replace("pyproject.toml", ('  "ruff>=0.17.5,<0.18",\n', '  "ruff>=0.20",\n  "ty>=1",\n'))
    lab.commit()
    lab.release(bump(("pytest>=9.2,<10", "pytest>=9.4,<10"), ("ruff>=0.17.5,<0.18", "ruff>=0.18,<0.19")))

    lab.assert_clean(lab.update())

    text = lab.read("pyproject.toml")
    assert '"pytest>=9.4,<10"' in text
    assert '"ruff>=0.20"' in text
    assert '"ty>=1"' in text


def test_comments_and_order_stay(lab: Lab) -> None:
    """The user's comments in a list, and the user's order, are kept."""
    lab.replace(
        "pyproject.toml",
        ('  "orjson>=3.13,<4",\n', '  # ours, see the wiki\n  "orjson>=3.13,<4", # pinned with care\n'),
    )
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    lab.assert_clean(lab.update())

    text = lab.read("pyproject.toml")
    assert '  # ours, see the wiki\n  "orjson>=3.13,<4", # pinned with care\n' in text
    assert "fastapi>=0.170,<0.171" in lab.dependencies()


LINES = ["alembic>=1.20,<2", FASTAPI, "orjson>=3.13,<4"]


def listed(*lines: str, layout: str = "lines") -> str:
    """Return a list of dependencies in one of the usual layouts."""
    shown = {
        "lines": "".join(f'\n  "{line}",' for line in lines) + "\n",
        "one line": ", ".join(f'"{line}"' for line in lines),
        "first line": ",\n    ".join(f"'{line}'" for line in lines),
        "two a line": "\n    " + ", ".join(f'"{line}"' + "\n" * (at % 2) for at, line in enumerate(lines)),
    }
    return f"dependencies = [{shown[layout]}]\n"


def project(dependencies: str) -> str:
    start, end = PYPROJECT.index("dependencies = ["), PYPROJECT.index("\n[dependency-groups]")
    return PYPROJECT[:start] + dependencies + PYPROJECT[end:]


@pytest.mark.parametrize("theirs", ["lines", "one line"])
@pytest.mark.parametrize("mine", ["lines", "one line", "first line", "two a line"])
def test_layouts(lab: Lab, mine: str, theirs: str) -> None:
    """A list is merged requirement by requirement and keeps the user's layout."""
    lab.release({"pyproject.toml.jinja": project(listed(*LINES, layout=theirs))})
    lab.update()
    lab.replace("pyproject.toml", (listed(*LINES, layout=theirs), listed(*LINES, "nh3>=0.3", layout=mine)))
    lab.commit()
    newer = ["alembic>=1.20,<2", "fastapi>=0.170,<0.171", "httpx>=1,<2"]
    lab.release({"pyproject.toml.jinja": project(listed(*newer, layout=theirs))})

    lab.assert_clean(lab.update())

    assert sorted(lab.dependencies()) == sorted([*newer, "nh3>=0.3"])
    assert ("dependencies = [\n" in lab.read("pyproject.toml")) == (mine != "one line")


def test_one_line_that_the_template_comments(lab: Lab) -> None:
    """A list on one line is split if the template adds a comment, and is not split for an old comment."""
    commented = project(listed(*LINES)).replace('  "alembic', '  # tables\n  "alembic')
    lab.release({"pyproject.toml.jinja": commented})
    lab.update()
    text = lab.read("pyproject.toml")
    mine = listed(*LINES, "nh3>=0.3", layout="one line")
    lab.commit({"pyproject.toml": text.replace(text[text.index("dependencies") : text.index("\n[dep")], mine)})
    commented = commented.replace(FASTAPI, "fastapi>=0.170,<0.171")
    lab.release({"pyproject.toml.jinja": commented})

    lab.assert_clean(lab.update())

    assert mine.replace(FASTAPI, "fastapi>=0.170,<0.171") in lab.read("pyproject.toml")
    lab.commit()
    lab.release({"pyproject.toml.jinja": commented.replace('orjson>=3.13,<4",', 'orjson>=3.13,<4", # fast')})
    lab.assert_clean(lab.update())
    assert '\n  "orjson>=3.13,<4", # fast\n  "nh3>=0.3",\n]' in lab.read("pyproject.toml")
    assert "# tables" not in lab.read("pyproject.toml")


@pytest.mark.parametrize("item", ['{include-group = "lint"}', '"x; python_version < \\"3.12\\""'])
def test_list_that_is_not_understood(lab: Lab, item: str) -> None:
    """A list with anything but plain strings is merged as text."""
    lab.replace("pyproject.toml", ('"ruff>=0.17.5,<0.18",\n', f'"ruff>=0.17.5,<0.18",\n  {item},\n'))
    lab.commit()
    before = lab.read("pyproject.toml")
    lab.release(bump(("pytest>=9.2", "pytest>=9.3")))

    lab.assert_clean(lab.update())

    assert lab.read("pyproject.toml") == before.replace("pytest>=9.2", "pytest>=9.3")


def test_the_rest_of_the_file(lab: Lab) -> None:
    """The rest of the file is merged as text: two edits of one line are a conflict."""
    lab.replace("pyproject.toml", ("A service.", "My service."), (FASTAPI, "fastapi==0.200.0"))
    lab.commit()
    lab.release(bump(("A service.", "Their service."), (FASTAPI, "fastapi>=0.170,<0.171")))

    result = lab.update()

    lab.assert_conflict(result, "pyproject.toml")
    text = lab.read("pyproject.toml")
    assert "My service." in text
    assert "Their service." in text
    assert "fastapi==0.200.0" in text


def test_yours_of_a_conflict_is_as_committed(lab: Lab) -> None:
    """The stages of a conflict contain the user's side byte for byte, and another merge has the same result."""
    lab.replace(
        "pyproject.toml", ("A service.", "My service."), (FASTAPI, "fastapi==0.200.0"), ("pytest>=9.2,<10", "pytest>=9")
    )
    lab.commit()
    committed = lab.read("pyproject.toml")
    lab.release(
        bump(
            ("A service.", "Their service."),
            (FASTAPI, "fastapi>=0.170,<0.171"),
            ("orjson>=3.13,<4", "orjson>=3.15,<4"),
            ("pytest>=9.2,<10", "pytest>=9.4,<10"),
        )
    )

    lab.assert_conflict(lab.update(), "pyproject.toml")

    written = lab.read("pyproject.toml")
    assert '"orjson>=3.15,<4"' in written
    lab.git("checkout", "--merge", "--", "pyproject.toml")
    again = lab.read("pyproject.toml")
    lab.git("checkout", "--ours", "--", "pyproject.toml")
    assert lab.read("pyproject.toml") == committed
    labels = ("<<<<<<< ", ">>>>>>> ")
    assert [line for line in again.splitlines() if not line.startswith(labels)] == [
        line for line in written.splitlines() if not line.startswith(labels)
    ]


def test_version_of_the_service(lab: Lab) -> None:
    """The service's own version belongs to the user."""
    lab.replace("pyproject.toml", ('version = "0.1.0"', 'version = "3.4.0"'))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    lab.assert_clean(lab.update())

    assert 'version = "3.4.0"' in lab.read("pyproject.toml")


def test_broken_toml(lab: Lab) -> None:
    """A pyproject.toml that is not valid TOML is merged as text, and nothing in it is lost."""
    lab.replace("pyproject.toml", ("[tool.ruff]", "[tool.ruff"))
    lab.commit()
    lab.release(bump((FASTAPI, "fastapi>=0.170,<0.171")))

    lab.update()

    assert "[tool.ruff\n" in lab.read("pyproject.toml")


def comments(lab: Lab) -> list[str]:
    """Return the comment lines of the dependencies, each with the line below it."""
    lines = [line.strip() for line in lab.read("pyproject.toml").splitlines()]
    return [f"{line} {below}" for line, below in pairwise(lines) if line.startswith("#")]


def test_comments_of_the_template(lab: Lab) -> None:
    """Comments that the template adds are merged at new and old items, at the end and next to the user's items."""
    lab.replace("pyproject.toml", (f'  "{FASTAPI}",', f'  # mine\n  "httpx>=1,<2",\n  "{FASTAPI}",'))
    lab.commit()
    lab.release(
        bump(
            ('  "orjson', '  # fast JSON\n  "orjson'),
            ('  "structlog', '  # for forms\n  "python-multipart>=1,<2",\n  "structlog'),
            ('  "uvicorn>=0.54,<0.55",\n', '  "uvicorn>=0.54,<0.55", # the server\n  # end\n'),
        )
    )

    lab.assert_clean(lab.update())

    assert comments(lab) == [
        '# mine "httpx>=1,<2",',
        '# fast JSON "orjson>=3.13,<4",',
        '# for forms "python-multipart>=1,<2",',
        "# end ]",
    ]
    assert '"uvicorn>=0.54,<0.55", # the server' in lab.read("pyproject.toml")


def test_comments_that_the_template_changes(lab: Lab) -> None:
    """A changed comment follows the template, a user's comment stays, and a removed item takes its comment with it."""
    before = bump(('  "alembic', '  # migrations\n  "alembic'), ('  "orjson', '  # fast\n  "orjson'))
    lab.release(before)
    lab.update()
    lab.replace(
        "pyproject.toml", ("  # migrations\n", "  # migrations\n  # mine\n"), ("uvicorn>=0.54", "uvicorn>=0.53")
    )
    lab.commit()
    text = str(before["pyproject.toml.jinja"]).replace("# migrations", "# tables").replace("  # fast\n", "")
    lab.release({"pyproject.toml.jinja": text.replace('  "orjson>=3.13,<4",\n', "")})

    lab.assert_clean(lab.update())

    assert comments(lab) == ["# mine # tables", '# tables "alembic>=1.20,<2",']
    assert "orjson" not in lab.read("pyproject.toml")


@pytest.mark.parametrize(
    ("mine", "theirs", "result", "note"),
    [
        ("# mine", "# theirs", "# mine", "kept your comment '# mine'; the template has '# theirs'."),
        ("# mine", "", "# mine", "kept your comment '# mine'; the template removed it."),
        ("", "# theirs", "", "you removed the comment '# before', so '# theirs' was left out."),
        ("# same", "# same", "# same", ""),
        ("", "", "", ""),
        ("# before", "# theirs", "# theirs", ""),
    ],
)
@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("edited", [True, False])
def test_comment_that_both_changed(
    lab: Lab, mine: str, theirs: str, result: str, note: str, *, above: bool, edited: bool
) -> None:
    """A comment that both sides changed keeps the user's text, and the change is reported."""

    def commented(comment: str, requirement: str = "orjson>=3.13,<4") -> str:
        line = f'  "{requirement}",'
        return f"  {comment}\n{line}".removeprefix("  \n") if above else f"{line} {comment}".rstrip()

    before = bump((commented("") + "\n", commented("# before") + "\n"))
    lab.release(before)
    lab.update()
    own = "orjson>=3.14,<4" if edited else "orjson>=3.13,<4"
    lab.replace("pyproject.toml", (commented("# before"), commented(mine, own)), ("uvicorn>=0.54", "uvicorn>=0.53"))
    lab.commit()
    text = str(before["pyproject.toml.jinja"]).replace(commented("# before"), commented(theirs))
    lab.release({"pyproject.toml.jinja": text, "numbers.txt": "theirs\n"})

    outcome = lab.update()

    lab.assert_clean(outcome)
    assert commented(result, own) + "\n" in lab.read("pyproject.toml")
    assert lab.read("pyproject.toml").count("#") == bool(result)
    assert list(outcome.notes) == [f"pyproject.toml: {note}"] * bool(note)
