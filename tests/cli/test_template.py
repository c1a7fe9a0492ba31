"""Other templates: `--template`, its credentials, and the limits for a hostile template."""

import base64
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import copier
import pytest

from quickset import git
from quickset.commands.check import check
from quickset.commands.info import info
from quickset.commands.new import Created, Request, new
from quickset.commands.update import Request as Update
from quickset.commands.update import update
from quickset.errors import QuicksetError, RefusedError, UsageError
from quickset.templates import remote
from quickset.templates.source import Clone, here, of
from quickset.templates.template import CANONICAL_URL
from tests.cli.conftest import Run, commit_all, leftovers, write_template

USER, PASSWORD = "jane", "s3cr/et@pass"
QUOTED = "s3cr%2Fet%40pass"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Another template with releases, a release candidate and a branch."""
    folder = write_template(tmp_path / "foreign")
    git.run("init", "--quiet", "--initial-branch=trunk", cwd=folder)
    for tag in ("v1.9.0", "v1.10.0", "v2.0.0rc1", "nightly"):
        (folder / "template" / "VERSION").write_text(tag)
        commit_all(folder, tag)
        git.run("tag", tag, cwd=folder)
    git.run("switch", "--quiet", "--create", "next", cwd=folder)
    (folder / "template" / "VERSION").write_text("next")
    commit_all(folder, "Next")
    git.run("switch", "--quiet", "trunk", cwd=folder)
    return folder


def make(path: Path, template: Path | str, ref: str | None = None) -> Created:
    return new(Request(path=path, template=str(template), ref=ref, lock=False))


def answers_of(service: Path) -> str:
    return (service / ".copier-answers.yml").read_text()


def test_states(foreign: Path, work: Path) -> None:
    """Releases are tags in the order of PEP 440, and any version, tag, branch or commit can be selected."""
    trunk = git.run("rev-parse", "trunk", cwd=foreign)
    refs = {
        None: "v1.10.0",
        "1.9.0": "v1.9.0",
        "v1.9.0": "v1.9.0",
        "v2.0.0rc1": "v2.0.0rc1",
        "nightly": "nightly",
        "next": "next",
        "HEAD": "nightly",
        trunk[:10]: "nightly",
    }

    made = {ref: make(work / str(ref), foreign, ref) for ref in refs}

    assert {ref: (each.path / "VERSION").read_text() for ref, each in made.items()} == refs
    assert {ref: each.template for ref, each in made.items() if each.released} == {
        None: "v1.10.0",
        "1.9.0": "v1.9.0",
        "v1.9.0": "v1.9.0",
    }
    assert made["HEAD"].template == f"v2.0.0rc1-1-g{trunk[:12]}"
    source = of(str(foreign))
    assert source.versions() == list(source.releases()) == ["1.10.0", "1.9.0"]
    for each in made.values():
        assert f"_commit: {each.template}\n" in answers_of(each.path)
        assert source.recorded(each.template).ref == each.template


def test_without_releases(foreign: Path, work: Path) -> None:
    """A template without tags is used in its current state and recorded by its commit."""
    for tag in git.run("tag", cwd=foreign).split():
        git.run("tag", "--delete", tag, cwd=foreign)

    created = make(work / "a", foreign)

    assert created.template == git.run("rev-parse", "HEAD", cwd=foreign)[:12]
    assert not created.released
    assert of(str(foreign)).recorded(created.template).read("template/VERSION") == "nightly"


def test_unknown_states(foreign: Path, work: Path) -> None:
    """An unknown version is refused by name, and nothing that looks like an option is passed to git."""
    for ref in ("9.9.9", "--all", "v1.9.0^{tree}"):
        with pytest.raises(UsageError, match=r"known: 1\.10\.0, 1\.9\.0; or HEAD, a branch, a tag or a commit"):
            make(work / "a", foreign, ref)
    with pytest.raises(RefusedError, match=r"does not have .*give its new location with --template"):
        of(str(foreign)).recorded("v3.0.0")


def test_plain_copier_understands_what_is_recorded(foreign: Path, work: Path) -> None:
    """A service of a fork can also be updated by plain Copier."""
    service = make(work / "a", foreign, "1.9.0").path

    copier.run_update(service, defaults=True, overwrite=True, quiet=True)

    assert (service / "VERSION").read_text() == "v1.10.0"


def test_command(foreign: Path, quickset: Run, work: Path) -> None:
    """The command accepts a folder and a ref, and `info` reads the service from its template."""
    done = quickset("new", "a", "--defaults", "--no-lock", "--template", str(foreign), "--ref", "1.9.0")

    assert done.returncode == 0, done.stderr
    assert (work / "a" / "VERSION").read_text() == "v1.9.0"
    assert "v1.9.0" in git.run("log", "--format=%s", cwd=work / "a")
    assert quickset("info", "a").returncode == 0


def test_folder_that_is_not_utf8(foreign: Path, work: Path) -> None:
    """A template in a folder whose name is not UTF-8 is found again from the recorded source."""
    folder = foreign.rename(os.fsdecode(os.fsencode(foreign.parent) + b"/caf\xe9"))
    service = make(work / "a", folder, "1.9.0").path

    update(Update(path=service, lock=False))

    assert (service / "VERSION").read_text() == "v1.10.0"


def test_service_that_is_not_utf8(foreign: Path, work: Path) -> None:
    """A service in a folder whose name is not UTF-8 has the template's default name, and such an answer is refused."""
    folder = work / os.fsdecode(b"z\xe9z")

    make(folder, foreign, "1.9.0")

    update(Update(path=folder, lock=False))
    assert (folder / "VERSION").read_text() == "v1.10.0"
    with pytest.raises(UsageError, match="project_name: the value is not UTF-8 text"):
        new(Request(path=work / "b", template=str(foreign), data={"project_name": folder.name}, lock=False))


@pytest.mark.parametrize("inside", [False, True], ids=["next to it", "inside"])
@pytest.mark.parametrize("plain", [False, True], ids=["quickset", "copier"])
def test_relative_path(
    foreign: Path,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    plain: bool,
    inside: bool,
) -> None:
    """A template with a relative path is found from any working directory."""
    service = work / "a"
    service.mkdir()
    monkeypatch.chdir(service if inside else work)
    given = os.path.relpath(foreign)
    if plain:
        copier.run_copy(given, service, vcs_ref="v1.9.0", defaults=True, quiet=True)
        assert f"_src_path: {given}\n" in answers_of(service)
        git.run("init", "--quiet", cwd=service)
        commit_all(service, "Start")
    else:
        make(service, given, "1.9.0")
    (work / "other" / "deep").mkdir(parents=True)

    for folder in (service, work, tmp_path, work / "other" / "deep"):
        monkeypatch.chdir(folder)
        assert check([service])[0].status == "behind"
    assert info(service).notes == ()
    update(Update(path=service, lock=False))

    assert (service / "VERSION").read_text() == "v1.10.0"


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("https://github.com/team/template", "https://github.com/team/template.git"),
        ("https://tok:x@github.com/team/template/", "https://github.com/team/template.git"),
        ("https://tok@example.com:8443/team/template.git", "https://example.com:8443/team/template.git"),
        ("https://tok:x@example.com/team/template", "git+https://example.com/team/template"),
        ("git+https://example.com/team/template", "git+https://example.com/team/template"),
        ("ssh://git:x@example.com:22/team/template", "git+ssh://git@example.com:22/team/template"),
        ("git@example.com:team/template", "git@example.com:team/template"),
        ("me@example.com:team/template", "git+me@example.com:team/template"),
        ("example.com:team/template.git", "example.com:team/template.git"),
        ("gh:team/template", "https://github.com/team/template.git"),
        ("gl:team/template.git", "https://gitlab.com/team/template.git"),
        ("file:///", "git+file:///"),
    ],
)
def test_recorded_urls(given: str, recorded: str) -> None:
    """The recorded URL has no credentials, is a git URL for Copier, and gives the same result when used again."""
    from copier._vcs import get_repo

    found = remote.parse(given)

    assert found.url == recorded
    assert get_repo(found.url) == found.address
    assert remote.parse(found.url).url == recorded
    assert "tok" not in repr(found)


@pytest.mark.parametrize(
    "given",
    [
        "ext::sh -c touch% pwned",
        "https://example.com/x.git?private_token=tok",
        "https://a%0ab:tok@example.com/x.git",
        "https://",
        "https://[tok",
        "javascript://tok@example.com/x",
        "user:tok@example.com:team/x.git",
        "missing/tok@folder",
        "-uevil",
    ],
)
def test_what_is_no_url(given: str) -> None:
    """Other values are refused before git reads them, and the message contains no secret."""
    with pytest.raises(UsageError, match=r"^--template: ") as caught:
        remote.parse(given)

    assert "tok@" not in str(caught.value)
    assert "=tok" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        CANONICAL_URL,
        "https://github.com/quickset/quickset",
        "https://tok:x@github.com/quickset/quickset/",
        "git@github.com:quickset/quickset.git",
        "ssh://git@github.com/quickset/quickset",
        "git+https://github.com/quickset/quickset",
        "gh:quickset/quickset",
    ],
)
def test_own_template(url: str) -> None:
    """Every form of quickset's own URL refers to the built-in template, and `template` overrides it."""
    assert of(url) == here()
    assert of("https://example.com/x.git", template=url) == here()
    assert isinstance(of(url, template="https://github.com/quickset/other"), Clone)
    assert isinstance(of("https://github.com.example.com/quickset/quickset"), Clone)


class Handler(SimpleHTTPRequestHandler):
    """Serves a repository to requests with the password, and records what each process exposes."""

    shown: set[str]

    def do_GET(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if process.stat().st_uid == os.geteuid():
                    self.shown.add((process / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        given = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic ")).decode()
        if given in (f"{USER}:{PASSWORD}", "token:"):
            super().do_GET()
        else:
            self.send_response(401, f"no entry for {given}")
            self.send_header("WWW-Authenticate", 'Basic realm="templates"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def private(foreign: Path, tmp_path: Path) -> Iterator[tuple[str, set[str]]]:
    """A server with a password: its host and port, and what it saw of the processes here."""
    served = tmp_path / "served" / "template.git"
    git.run("clone", "--quiet", "--bare", str(foreign), str(served))
    git.run("update-server-info", cwd=served)
    shown: set[str] = set()
    handler = type("Noting", (Handler,), {"shown": shown})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(served.parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", shown
        server.shutdown()
        thread.join()


def test_credentials_stay_secret(private: tuple[str, set[str]], work: Path, tmp_path: Path, home: Path) -> None:
    """A password gives access to a private template, and is in no file, process argument or key ring."""
    place, shown = private
    with (home / ".gitconfig").open("a") as settings:
        settings.write("[credential]\nhelper = store\n")

    created = make(work / "a", f"http://{USER}:{QUOTED}@{place}/template.git")

    assert created.template == "v1.10.0"
    assert f"_src_path: http://{place}/template.git\n" in answers_of(created.path)
    assert shown
    for text in (repr(created), *shown):
        assert PASSWORD not in text
        assert QUOTED not in text
    for folder in (work, home, remote.process_folder()):
        for file in filter(Path.is_file, folder.rglob("*")):
            assert PASSWORD.encode() not in file.read_bytes()
            assert QUOTED.encode() not in file.read_bytes()


def test_token_without_a_password(private: tuple[str, set[str]], work: Path) -> None:
    """A token in the place of the user name is sufficient and stays equally secret."""
    place, _ = private

    created = make(work / "a", f"http://token@{place}/template.git", "1.9.0")

    assert "token" not in answers_of(created.path)


@pytest.mark.parametrize("password", ["wr0ng", "wr%2F0ng"])
def test_refused_credentials(private: tuple[str, set[str]], quickset: Run, work: Path, password: str) -> None:
    """Wrong credentials are reported in one line without them, and no prompt appears in the terminal."""
    place, _ = private

    done = quickset("new", "a", "--defaults", "--template", f"http://{USER}:{password}@{place}/template.git")

    assert done.returncode == 5
    assert f"quickset: the template at http://{place}/template.git cannot be fetched: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "0ng" not in done.stdout + done.stderr
    assert f"{USER}:" not in done.stderr
    assert not (work / "a").exists()


def test_what_a_server_repeats() -> None:
    """Any form of a secret that a server sends back is removed from the message."""
    found = remote.Remote("https://example.com/x.git", user=USER, password=PASSWORD)

    assert found._without_secrets(f"denied {USER} {PASSWORD} {QUOTED}") == "denied *** *** ***"


def add(name: str, text: str = "x") -> Callable[[Path], None]:
    """Add a file to a template. The name may contain Jinja."""

    def change(folder: Path) -> None:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return change


def link(name: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).symlink_to(target)

    return change


def setting(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / "copier.yml").open("a") as config:
            config.write(text + "\n")

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change


KEEP_LINKS = setting("_preserve_symlinks: true")
UP = "{{ '..' }}"
HOSTILE = {
    "task": (setting("_tasks: ['touch ../../pwned']"), r"\(_tasks in copier.yml\), and quickset runs none"),
    "extension": (setting("_jinja_extensions: [os.path]"), r"\(_jinja_extensions in copier.yml\), and quickset runs"),
    "both": (
        both(setting("_tasks: [x]\n_jinja_extensions: [y]"), lambda folder: _rename(folder / "copier.yml")),
        r"_tasks and _jinja_extensions in copier.yaml\), .* Use a release or a fork .* or run `copier` with --trust",
    ),
    "included": (
        both(
            setting("---\n!include shared/*.yml\n---\nz: 1"),
            add("shared/a.yml", "---\n!include more.yml\n"),
            add("more.yml", "_tasks: [x]\n"),
        ),
        r"\(_tasks in more.yml\), and quickset runs none",
    ),
    "included and not": (
        both(
            setting("_jinja_extensions: [a]\n---\n!include shared/*.yml"),
            add("shared/a.yml", "_tasks: [x]\n_jinja_extensions: [b]\n"),
        ),
        r"\(_tasks in shared/a.yml, _jinja_extensions in copier.yml and shared/a.yml\), and quickset runs none",
    ),
    "parent": (add(f"template/{UP}/pwned"), "outside"),
    "parent in a name": (add("template/{{ '..\\x2fpwned' }}"), "outside"),
    "absolute": (add("template/{{ '\\x2ftmp\\x2fquickset-pwned' }}"), "outside"),
    "link to read": (link("template/secret", "/etc/hostname"), "leads out of it"),
    "link to include": (
        both(link("secret", "/etc/hostname"), add("template/a.jinja", "{% include 'secret' %}")),
        "leads out of it",
    ),
    "link by links": (both(link("template/a", "tests"), link("template/b", "a/../../..")), "leads out of it"),
    "link of the template's making": (both(KEEP_LINKS, link("template/a.jinja", "{{ '/etc' }}")), "a link out of the"),
    "link up of the template's making": (both(KEEP_LINKS, link("template/a.jinja", f"{UP}/x")), "a link out of the"),
    "below a link": (
        both(KEEP_LINKS, link("template/a.jinja", f"{UP}"), add("template/{{ 'a' }}/pwned")),
        "outside|link out",
    ),
    "hook": (add("template/{{ '.git' }}/hooks/post-commit", "#!/bin/sh\ntouch ../pwned\n"), "only git may make"),
    "settings": (add("template/{{ '.GIT' }}/config", "[core]\nfsmonitor=touch ../pwned\n"), "only git may make"),
    "file of git": (add("template/{{ '.git' }}", "gitdir: /tmp\n"), "only git may make"),
    "nested": (add("template/sub/{{ '.git' }}/config"), "only git may make"),
    "external data": (setting("_external_data: {x: ../../secret.yml}\ny: '{{ _external_data.x }}'"), "outside|render"),
    "subdirectory": (lambda folder: _replace(folder, "_subdirectory: template", "_subdirectory: ../.."), "outside"),
}


def _rename(config: Path) -> None:
    config.rename(config.with_suffix(".yaml"))


def _replace(folder: Path, old: str, new_text: str) -> None:
    config = next(folder.glob("copier.y*ml"))
    config.write_text(config.read_text().replace(old, new_text))


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_templates(attack: str, foreign: Path, work: Path, tmp_path: Path) -> None:
    """A hostile template runs, reads and writes nothing outside the service.

    It is refused in one line, with no leftovers.
    """
    change, reason = HOSTILE[attack]
    change(foreign)
    _replace(foreign, "_exclude: [.git, __pycache__]", "_exclude: []")
    commit_all(foreign, "Hostile")
    (work / "secret.yml").write_text("x: 1\n")

    with pytest.raises(QuicksetError, match=reason) as caught:
        make(work / "deep" / "a", foreign, "HEAD")

    assert caught.value.exit_code in (4, 5)
    assert "\n" not in str(caught.value)
    assert [path.name for path in work.rglob("*")] == ["secret.yml"]
    assert not leftovers(tmp_path)
    assert not Path("/tmp/quickset-pwned").exists()  # noqa: S108 -- the attack's target


def test_submodules_are_not_fetched(foreign: Path, checkout: Path, work: Path) -> None:
    """Submodules are not fetched, because their URL could name anything."""
    git.run("submodule", "add", "--quiet", str(checkout), "template/sub", cwd=foreign)
    commit_all(foreign, "Submodule")

    with pytest.raises(RefusedError, match="submodule"):
        make(work / "a", foreign, "HEAD")


def test_migrations_do_not_run(foreign: Path, work: Path) -> None:
    """Migrations run only in updates. A new service from a template with migrations runs none, with a note."""
    setting("_migrations: [{command: touch ../../pwned}]")(foreign)
    commit_all(foreign, "Migration")

    service = make(work / "a", foreign, "1.9.0").path
    result = update(Update(path=service, to="HEAD", lock=False))

    assert not list(work.rglob("pwned"))
    assert any("migrations (_migrations in copier.yml) were not run" in note for note in result.notes)


def test_links_inside_are_fine(foreign: Path, work: Path) -> None:
    """A link to a target inside the service is accepted."""
    both(KEEP_LINKS, link("template/again", "run.sh"))(foreign)
    commit_all(foreign, "Link")

    assert "again" in make(work / "a", foreign, "HEAD").files


@pytest.mark.parametrize(
    ("project", "reason"),
    [
        ('name = "a"\ndynamic = ["version"]', "dynamic metadata"),
        ('name = "a"', "dynamic metadata"),
        ('name = "a"\nversion = "1"\ndependencies = ["b @ {place}"]', "disabled"),
    ],
)
def test_locking_builds_nothing(foreign: Path, work: Path, tmp_path: Path, project: str, reason: str) -> None:
    """Locking runs no code of a project from another template."""
    place = tmp_path / "b"
    place.mkdir()
    (place / "pyproject.toml").write_text(
        '[project]\nname = "b"\ndynamic = ["version"]\n'
        '[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = ["."]\n'
    )
    (place / "evil.py").write_text(f"open({str(work / 'pwned')!r}, 'w')\n")
    (foreign / "template" / "pyproject.toml.jinja").write_text(
        f'[project]\n{project.format(place=place.as_uri())}\nrequires-python = ">=3.11"\n'
    )
    commit_all(foreign, "Project")

    created = new(Request(path=work / "a", template=str(foreign), ref="HEAD"))

    assert not created.locked
    assert any(reason in note for note in created.notes)
    assert not (work / "pwned").exists()


def test_no_template(foreign: Path, checkout: Path, work: Path, tmp_path: Path) -> None:
    """A repository that is not a template, or that records no answers, is reported as such."""
    (foreign / "template" / "{{ _copier_conf.answers_file }}.jinja").unlink()
    commit_all(foreign, "No answers")
    with pytest.raises(QuicksetError, match="records no answers"):
        make(work / "a", foreign, "HEAD")
    (foreign / "copier.yml").write_text("[]")
    commit_all(foreign, "No questions")
    with pytest.raises(QuicksetError, match="no questions"):
        make(work / "a", foreign, "HEAD")
    (foreign / "copier.yml").write_text("on: true")
    commit_all(foreign, "A name that YAML takes for true")
    with pytest.raises(QuicksetError, match="the name 'True', which needs quotes"):
        make(work / "a", foreign, "HEAD")
    (foreign / "copier.yml").unlink()
    commit_all(foreign, "No template")
    with pytest.raises(QuicksetError, match="not a Copier template"):
        make(work / "a", foreign, "HEAD")
    (tmp_path / "plain").mkdir()
    with pytest.raises(QuicksetError, match="cannot be fetched"):
        make(work / "a", tmp_path / "plain")
    git.run("init", "--quiet", str(tmp_path / "empty"))
    with pytest.raises(QuicksetError, match="no commit yet"):
        make(work / "a", tmp_path / "empty")
