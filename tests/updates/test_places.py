"""Locations of a service."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from quickset.errors import QuicksetError, RefusedError
from tests.updates.harness import NUMBERS, ORDERS, SERVICE_PY, Lab, Snapshot, copy, git, kinds, write

Another = Callable[..., list[Lab]]

FIXED = ORDERS.replace("return sum(prices)", "return sum(prices, start=0)")
THEIRS = {"numbers.txt": NUMBERS.replace("line 05", "theirs 5"), SERVICE_PY: ORDERS + "# theirs\n"}


@pytest.fixture
def monorepo(tmp_path: Path) -> Path:
    """A repository with other content."""
    top = tmp_path / "monorepo"
    top.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=top)
    write(top, {"README.md": "# All\n", "lib/numbers.txt": NUMBERS, "lib/service.py": ORDERS})
    git("add", "--all", cwd=top)
    git("commit", "--quiet", "--message", "Start", cwd=top)
    return top


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    return {name for name in before.files | after.files if before.files.get(name) != after.files.get(name)}


def test_sub_folder(another: Another, monorepo: Path) -> None:
    """An update of a service in a subfolder changes nothing outside it."""
    [lab] = another(monorepo, "services/orders")
    lab.commit()
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    write(monorepo, {"lib/numbers.txt": "dirty\n", "untracked": "x\n"})
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update()

    lab.assert_clean(result)
    assert lab.read("numbers.txt") == NUMBERS.replace("line 40", "mine 40").replace("line 05", "theirs 5")
    assert changed(before, lab.snapshot()) == {
        f"services/orders/{name}" for name in ("numbers.txt", "app/orders/service.py", ".copier-answers.yml")
    }
    assert kinds(result) == {"numbers.txt": "merged", "app/orders/service.py": "changed"}


def test_ignored_file_in_a_sub_folder(another: Another, monorepo: Path) -> None:
    """The command for an ignored file follows the attributes of the service."""
    [lab] = another(monorepo, "services/orders")
    lab.commit({".gitignore": "lib/\n", ".gitattributes": "*.txt text eol=crlf\n"})
    lab.release({"lib/new.txt": "theirs\n"})

    [note] = [note for note in lab.update().notes if "lib/new.txt" in note]

    [command] = re.findall(r"run `(.*)`", note)
    subprocess.run(["sh", "-ec", command], cwd=lab.path, check=True)
    assert lab.read_bytes("lib/new.txt") == b"theirs\r\n"


def test_sub_folder_in_conflict(another: Another, monorepo: Path) -> None:
    """A conflict in a subfolder has its stages at the full path, and is finished or undone there."""
    [lab] = another(monorepo, "services/orders")
    lab.commit()
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update()
    assert lab.stages() == {"services/orders/numbers.txt": {1, 2, 3}}
    assert [path.removeprefix("services/orders/") for path in result.conflicts] == ["numbers.txt"]
    lab.abort()
    assert lab.snapshot() == before
    lab.update()
    lab.write({"numbers.txt": NUMBERS})
    lab.git("add", "--all")
    lab.resume()

    assert lab.at() == "0.2.0"
    assert lab.stages() == {}


def test_called_from_elsewhere(another: Another, monorepo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path works from any folder."""
    [lab] = another(monorepo, "services/orders")
    lab.commit()
    lab.release(THEIRS)
    monkeypatch.chdir(monorepo / "lib")

    lab.assert_clean(lab.update(path=Path("..", "services", "orders")))

    assert lab.read("app/orders/service.py") == ORDERS + "# theirs\n"


def test_two_services(another: Another, monorepo: Path) -> None:
    """Of two services in one repository only the given one is updated, and the other receives none of its fixes."""
    orders, stock = another(monorepo, "orders", "stock")
    orders.commit()
    orders.commit({"app/orders/service.py": None})
    before = orders.snapshot()
    orders.release(THEIRS)

    result = orders.update()

    orders.assert_clean(result)
    assert changed(before, orders.snapshot()) == {"orders/numbers.txt", "orders/.copier-answers.yml"}
    assert stock.read("app/orders/service.py") == ORDERS
    assert stock.at() == "0.1.0"


def test_two_services_one_after_the_other(another: Another, monorepo: Path) -> None:
    """The second service can be updated while the update of the first one is staged."""
    orders, stock = another(monorepo, "orders", "stock")
    orders.commit()
    stock.version = orders.release(THEIRS)

    orders.assert_clean(orders.update())
    stock.assert_clean(stock.update())

    assert "theirs 5" in orders.read("numbers.txt")
    assert "theirs 5" in stock.read("numbers.txt")


def test_nested_service(another: Another, monorepo: Path) -> None:
    """A service inside another one is not part of it."""
    outer, inner = another(monorepo, "outer", "outer/services/inner")
    outer.commit()
    outer.commit({"app/orders/service.py": None})
    before = outer.snapshot()
    outer.release(THEIRS)

    outer.assert_clean(outer.update())

    assert changed(before, outer.snapshot()) == {"outer/numbers.txt", "outer/.copier-answers.yml"}
    assert inner.read("app/orders/service.py") == ORDERS
    assert inner.at() == "0.1.0"


def test_inner_service(another: Another, monorepo: Path) -> None:
    """A service inside another one can be updated separately."""
    outer, inner = another(monorepo, "outer", "outer/services/inner")
    outer.commit()
    inner.release(THEIRS)

    inner.assert_clean(inner.update())

    assert "theirs 5" in inner.read("numbers.txt")
    assert outer.at() == "0.1.0"


def test_linked_worktree(lab: Lab, tmp_path: Path) -> None:
    """In a linked work tree the update uses only the index and the journal of that work tree."""
    lab.git("worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    linked = Lab(lab.origin, tmp_path / "linked", tmp_path / "linked")
    linked.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    before, mine = lab.snapshot(), linked.snapshot()
    linked.release(THEIRS)

    linked.assert_conflict(linked.update(), "numbers.txt")
    assert lab.snapshot() == before
    assert not lab.journal.exists()
    lab.version = linked.version
    lab.assert_clean(lab.update())
    linked.abort()

    assert linked.snapshot() == mine
    assert lab.at() == "0.2.0"


def test_shallow_clone(lab: Lab, tmp_path: Path) -> None:
    """A shallow clone is sufficient."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    lab.git("clone", "--quiet", "--depth=1", lab.path.as_uri(), str(tmp_path / "clone"))
    clone = Lab(lab.origin, tmp_path / "clone", tmp_path / "clone")
    clone.release(THEIRS)

    clone.assert_clean(clone.update())

    assert clone.read("numbers.txt") == NUMBERS.replace("line 40", "mine 40").replace("line 05", "theirs 5")


def shallow(lab: Lab, folder: Path, depth: int) -> Lab:
    """Clone a service with only its last commits."""
    lab.git("clone", "--quiet", f"--depth={depth}", lab.path.as_uri(), str(folder))
    return Lab(lab.origin, folder, folder)


def test_shallow_clone_without_the_deletion(lab: Lab, tmp_path: Path) -> None:
    """In a shallow clone without the commit of a deletion no other file receives the fix."""
    similar = ORDERS.replace("Orders", "Mine")
    lab.commit({"app/mine.py": similar})
    lab.commit({"app/orders/service.py": None})
    lab.commit({"numbers.txt": NUMBERS.replace("line 40", "mine 40")})
    clone = shallow(lab, tmp_path / "clone", 1)
    clone.release({SERVICE_PY: FIXED})

    preview = clone.preview()
    result = clone.update()

    clone.assert_clean(result)
    assert clone.read("app/mine.py") == similar
    for [_, change] in (preview.changes, result.changes):
        assert (change.path, change.kind) == ("app/orders/service.py", "deleted")
        assert "`git fetch --unshallow`" in change.note
    clone.git("reset", "--quiet", "--hard")
    clone.git("fetch", "--quiet", "--unshallow")
    [_, change] = clone.update().changes
    assert (change.path, change.kind, change.note) == ("app/orders/service.py", "deleted", "")


def test_shallow_clone_without_the_move(lab: Lab, tmp_path: Path) -> None:
    """In a shallow clone without the commit of a move the folder is not followed. With full history it is."""
    lab.git("mv", "app/orders", "app/sales")
    lab.commit()
    lab.commit({"other.txt": "other\n"})
    clone = shallow(lab, tmp_path / "clone", 1)
    clone.release({SERVICE_PY: FIXED, "{{ package_name }}/orders/new.py": "NEW = 1\n"})

    preview = clone.preview()

    assert kinds(preview) == {"app/orders/new.py": "added", "app/orders/service.py": "deleted"}
    assert all("`git fetch --unshallow`" in change.note for change in preview.changes[1:])
    clone.git("fetch", "--quiet", "--unshallow")
    assert kinds(clone.preview()) == {"app/sales/new.py": "added", "app/sales/service.py": "changed"}


def test_shallow_clone_with_the_move(lab: Lab, tmp_path: Path) -> None:
    """A move that a shallow clone includes is followed, and a deletion without a similar file needs no note."""
    lab.git("mv", "app/orders/service.py", "app/sums.py")
    lab.commit({"numbers.txt": None})
    clone = shallow(lab, tmp_path / "clone", 2)
    clone.release({**THEIRS, SERVICE_PY: FIXED})

    result = clone.update()

    clone.assert_clean(result)
    assert clone.read("app/sums.py") == FIXED
    assert [change.note for change in result.changes[1:]] == ["you moved it from app/orders/service.py", ""]


def test_partial_clone(lab: Lab, tmp_path: Path) -> None:
    """A partial and sparse clone fetches the objects of the merge and adds no other files to disk."""
    lab.commit({"app/orders/service.py": ORDERS + "# mine\n"})
    for setting in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        lab.git("config", setting, "true")
    lab.git("clone", "--quiet", "--filter=blob:none", "--sparse", lab.path.as_uri(), str(tmp_path / "clone"))
    clone = Lab(lab.origin, tmp_path / "clone", tmp_path / "clone")
    clone.release({"numbers.txt": THEIRS["numbers.txt"], SERVICE_PY: f"# theirs\n{ORDERS}"})

    clone.assert_clean(clone.update())

    assert clone.staged("app/orders/service.py").decode() == f"# theirs\n{ORDERS}# mine\n"
    assert not clone.exists("app")
    clone.git("commit", "--quiet", "--message", "Update")
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.parametrize("cone", [True, False])
def test_sparse_checkout(lab: Lab, *, cone: bool) -> None:
    """In a sparse checkout an update loses no file and checks out no excluded file, or it is refused."""
    lab.commit({"mine/deep/file.txt": "mine\n"})
    patterns = ("--cone", "app/core") if cone else ("--no-cone", "/*", "!/app/orders/", "!/mine/")
    lab.git("sparse-checkout", "set", *patterns)
    assert not lab.exists("app/orders/service.py")
    before = lab.snapshot()
    lab.release(THEIRS)

    try:
        result = lab.update()
    except RefusedError:
        assert lab.snapshot() == before
        return

    lab.assert_clean(result)
    assert lab.staged("app/orders/service.py") == (ORDERS + "# theirs\n").encode()
    assert lab.staged("mine/deep/file.txt") == b"mine\n"
    assert "theirs 5" in lab.read("numbers.txt")
    assert not lab.exists("mine")
    lab.git("commit", "--quiet", "--message", "Update")
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("show", "HEAD:mine/deep/file.txt") == "mine\n"


@pytest.mark.parametrize("cone", [True, False])
@pytest.mark.parametrize("given", ["", ".copier-answers.yml"])
def test_answers_outside_a_sparse_checkout(another: Another, monorepo: Path, *, cone: bool, given: str) -> None:
    """An answers file outside the sparse checkout is reported with the command that checks it out."""
    [service] = another(monorepo, "services/my one")
    service.commit()
    service.git("sparse-checkout", "set", *(("--cone", "lib") if cone else ("--no-cone", "/*", "!.copier-answers.yml")))
    service.path.mkdir(parents=True, exist_ok=True)
    service.release(THEIRS)

    with pytest.raises(QuicksetError, match=r"\.copier-answers\.yml is in the repository, but") as error:
        service.update(answers_file=given)

    [command] = re.findall(r"`(git [^`]*)`", str(error.value))
    subprocess.run(["sh", "-ec", command], check=True, capture_output=True)
    service.assert_clean(service.update(answers_file=given))


def test_submodule(lab: Lab, tmp_path: Path) -> None:
    """A submodule stays at its commit, with its uncommitted changes."""
    library = tmp_path / "library"
    library.mkdir()
    git("init", "--quiet", cwd=library)
    write(library, {"lib.py": ORDERS})
    git("add", "--all", cwd=library)
    git("commit", "--quiet", "--message", "Start", cwd=library)
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor/lib")
    lab.commit()
    lab.write({"vendor/lib/lib.py": "dirty\n"})
    before = lab.snapshot()
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    after = lab.snapshot()
    assert changed(before, after) == {"numbers.txt", "app/orders/service.py", ".copier-answers.yml"}
    assert after.index["vendor/lib 0"] == before.index["vendor/lib 0"]


def test_inside_a_submodule(lab: Lab, tmp_path: Path) -> None:
    """A service that is a submodule is updated in its own repository."""
    outer = tmp_path / "outer"
    outer.mkdir()
    git("init", "--quiet", cwd=outer)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lab.path), "orders", cwd=outer)
    git("commit", "--quiet", "--message", "Start", cwd=outer)
    inner = Lab(lab.origin, outer / "orders", outer / "orders")
    inner.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    inner.release(THEIRS)

    inner.assert_conflict(inner.update(), "numbers.txt")
    inner.abort()

    assert inner.at() == "0.1.0"


def test_submodule_in_the_way(lab: Lab, tmp_path: Path) -> None:
    """Nothing is written into a submodule in the place of a template folder."""
    library = copy(lab.path, tmp_path / "library")
    lab.git("rm", "-r", "--quiet", "app/orders")
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "app/orders")
    lab.commit()
    lab.release(THEIRS)

    try:
        lab.update()
    except RefusedError:
        assert lab.at() == "0.1.0"

    assert not lab.exists("app/orders/service.py")
    assert git("status", "--porcelain", cwd=lab.path / "app" / "orders") == ""


def test_detached_head(lab: Lab) -> None:
    """A detached HEAD stays at its commit."""
    lab.git("checkout", "--quiet", "--detach")
    before = lab.snapshot().head
    lab.release(THEIRS)

    lab.assert_clean(lab.update())

    assert lab.snapshot().head == before


def test_unborn_head(lab: Lab) -> None:
    """A repository without a commit is refused with a solution."""
    lab.git("checkout", "--quiet", "--orphan", "fresh")
    lab.release(THEIRS)
    index, status = lab.git("ls-files", "-s"), lab.git("status", "--porcelain")

    with pytest.raises(RefusedError, match=r"no commit"):
        lab.update()

    assert (lab.git("ls-files", "-s"), lab.git("status", "--porcelain")) == (index, status)


def test_bare_repository(lab: Lab, tmp_path: Path) -> None:
    """A bare repository is refused."""
    bare = tmp_path / "bare.git"
    lab.git("clone", "--quiet", "--bare", str(lab.path), str(bare))
    lab.release(THEIRS)

    with pytest.raises(QuicksetError) as error:
        lab.update(path=bare)

    assert error.value.exit_code in {2, 4}
    assert sorted(path.name for path in bare.iterdir() if path.name == "quickset") == []


def test_no_repository(lab: Lab, tmp_path: Path) -> None:
    """A service outside a repository is refused with a solution."""
    plain = copy(lab.path, tmp_path / "plain")
    subprocess.run(["rm", "-rf", str(plain / ".git")], check=True)
    before = {path: path.read_bytes() for path in plain.rglob("*") if path.is_file()}
    lab.release(THEIRS)

    with pytest.raises(RefusedError, match=r"git"):
        lab.update(path=plain)

    assert {path: path.read_bytes() for path in plain.rglob("*") if path.is_file()} == before


def test_no_service(tmp_path: Path, lab: Lab) -> None:
    """A folder without a service is refused, and so is a missing folder."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(QuicksetError) as error:
            lab.update(path=path)
        assert error.value.exit_code in {2, 4}
        assert str(path) in str(error.value)


def test_service_that_is_not_committed(another: Another, monorepo: Path) -> None:
    """A service that was never committed is refused, because its files could not be restored."""
    [lab] = another(monorepo, "services/orders")
    before = lab.snapshot()
    lab.release(THEIRS)

    with pytest.raises(RefusedError, match=r"commit"):
        lab.update()

    assert lab.snapshot() == before


def test_ignored_service(another: Another, monorepo: Path) -> None:
    """A service in an ignored folder is refused."""
    write(monorepo, {".gitignore": "scratch/\n"})
    git("add", "--all", cwd=monorepo)
    git("commit", "--quiet", "--message", "Ignore", cwd=monorepo)
    [lab] = another(monorepo, "scratch/orders")
    before = lab.snapshot()
    lab.release(THEIRS)

    with pytest.raises(RefusedError):
        lab.update()

    assert lab.snapshot() == before


def test_service_with_spaces_in_its_path(another: Another, tmp_path: Path) -> None:
    """A path may contain spaces, quotes and any letters."""
    top = tmp_path / 'my "own" café\'s repository'
    top.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=top)
    [lab] = another(top, "the [service] 日本 *")
    lab.commit()
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    before = lab.snapshot()
    lab.release(THEIRS)

    result = lab.update()
    assert len(result.conflicts) == 1
    lab.abort()

    assert lab.snapshot() == before


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nbreak", b'"quo\\ted"'], ids=["bytes", "line", "quotes"])
def test_folder_with_an_odd_name(lab: Lab, tmp_path: Path, name: bytes) -> None:
    """A folder name may contain a line break, quotes or bytes that are not UTF-8."""
    lab.commit({"numbers.txt": NUMBERS.replace("line 05", "mine 5")})
    folder = lab.path.rename(tmp_path / os.fsdecode(name))
    moved = Lab(lab.origin, folder, folder)
    before = moved.snapshot()
    moved.release(THEIRS)
    moved.assert_conflict(moved.update(), "numbers.txt")

    moved.abort()

    assert moved.snapshot() == before
    moved.update()
    moved.commit({"numbers.txt": NUMBERS})
    moved.resume()
    assert moved.at() == "0.2.0"


def test_path_through_a_link(lab: Lab, tmp_path: Path) -> None:
    """A link to the service can be used as its path."""
    (tmp_path / "link").symlink_to(lab.path)
    lab.release(THEIRS)

    lab.assert_clean(lab.update(path=tmp_path / "link"))
