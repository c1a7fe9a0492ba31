"""The job that opens template updates for review, and its script, tested with a local remote."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import DRIVER
from tests.questions import REPOSITORY, Answer
from tests.rendering import RenderService, read_tree

pytestmark = pytest.mark.ci

FORGES = ("github", "gitlab")
EACH = pytest.mark.parametrize("forge", FORGES)
FILES = {
    "github": {".github/workflows/template-updates.yml", "scripts/update_template.sh"},
    "gitlab": {".gitlab-ci.yml", ".gitlab/template-updates.yml", "scripts/update_template.sh"},
    "none": set[str](),
}
BRANCH = "quickset/update"
TOKEN = "a-token-that-nobody-may-see"
SUMMARY = "## Before you deploy\n\n- Mind the gap: `100 %`, \"$HOME\".\n\n## Files\n\n- a.txt: changed\n"

# A stand-in for quickset. UPDATE contains the text that the newest template gives to a file.
UVX = """\
#!/bin/sh
set -eu
printf '%s\\n' "$*" >>"$CALLS/uvx"
case "$*" in
"quickset@latest --version") echo "quickset 9.8.7"; exit ;;
"quickset@9.8.7 update --branch quickset/update --json" | "quickset@1.2.3 update --branch quickset/update --json") ;;
*) exit 2 ;;
esac
case "$UPDATE" in
nothing) echo '{"branch": null, "commit": null, "conflicts": [], "summary_markdown": ""}'; exit ;;
conflicts) echo '{"branch": null, "commit": null, "conflicts": ["app/a.py", "app/ä b.py"]}'; exit 3 ;;
broken) echo "quickset: the moon is full." >&2; exit 5 ;;
esac
blob=$(printf '%s' "$UPDATE" | git hash-object -w --stdin)
GIT_INDEX_FILE="$CALLS/index"; export GIT_INDEX_FILE
git read-tree HEAD
git update-index --add --cacheinfo "100644,$blob,${CHANGES:-a.txt}"
commit=$(git commit-tree "$(git write-tree)" -p HEAD -m "Update")
git update-ref "refs/heads/$4" "$commit" ""
printf '{"branch": "%s", "commit": "%s", "conflicts": [], "before": "0.1.0", "after": "0.2.0", ' "$4" "$commit"
printf '"summary_markdown": %s}' "$SUMMARY"
"""
# A stand-in for GitHub: one pull request at most, with its number and text in files.
GH = """\
#!/bin/sh
set -eu
printf '%s\\n' "$*" >>"$CALLS/gh"
case "$*" in
*"--method GET"*) cat "$CALLS/number" 2>/dev/null || : ;;
*"--method POST"*) if [ "${FORBIDDEN:-}" ]; then exit 1; fi; echo 7 >"$CALLS/number"; echo https://example.com/pull/7 ;;
esac
for argument; do
    case "$argument" in body=@*) cp "${argument#body=@}" "$CALLS/body" ;; esac
done
"""


@dataclass(frozen=True)
class Forge:
    """A service in a clone, its remote, and the recorded calls of the job."""

    clone: Path
    remote: Path
    calls: Path
    env: Mapping[str, str]

    def run(self, update: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the job's script with a newest template that gives this text."""
        done = subprocess.run(
            ["sh", "scripts/update_template.sh"],
            cwd=self.clone,
            env={**self.env, "UPDATE": update, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert TOKEN not in done.stdout + done.stderr
        return done

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """Run git in the clone or in another folder."""
        return subprocess.run(
            ["git", *args], cwd=cwd or self.clone, env=self.env, capture_output=True, text=True, check=True
        ).stdout.strip()

    def pushed(self) -> str:
        """Return the commit of the branch on the remote, or an empty string without one."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}", cwd=self.remote)

    def calls_of(self, program: str) -> str:
        """Return the calls of a program, one per line."""
        calls = self.calls / program
        return calls.read_text() if calls.exists() else ""


@pytest.fixture
def made(forge: str, render_service: RenderService, tmp_path: Path) -> Forge:
    """A service with its job, pushed to a remote and cloned as on a runner."""
    calls, programs, remote = tmp_path / "calls", tmp_path / "bin", tmp_path / "service.git"
    calls.mkdir()
    programs.mkdir()
    for name, text in {"uvx": UVX, "gh": GH}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    service = render_service({"template_updates": forge})
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "CI", "GITHUB_"))}
    env |= {
        "CALLS": str(calls),
        "CI_COMMIT_BRANCH": "main",
        "CI_PROJECT_URL": str(remote.with_suffix("")),
        "GH_TOKEN": TOKEN,
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GITHUB_REF_NAME": "main",
        "GITHUB_REPOSITORY": "jane/service",
        "OWN_TOKEN": "false",
        "PATH": f"{programs}{os.pathsep}{env['PATH']}",
        "SUMMARY": json.dumps(SUMMARY),
    }
    made = Forge(tmp_path / "clone", remote, calls, env)
    (tmp_path / "gitconfig").write_text("[user]\nname = Jane Doe\nemail = jane@example.com\n")
    made.git("init", "--quiet", "--bare", "--initial-branch=main", str(remote), cwd=tmp_path)
    made.git("config", "receive.advertisePushOptions", "true", cwd=remote)
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\nenv | grep "^GIT_PUSH_OPTION_[0-9]" >>"{calls}/options" || :\n')
    hook.chmod(0o755)
    made.git("init", "--quiet", "--initial-branch=main", cwd=service)
    made.git("add", "--all", cwd=service)
    made.git("commit", "--quiet", "--message", "Start", cwd=service)
    made.git("push", "--quiet", str(remote), "main", cwd=service)
    made.git("clone", "--quiet", "--depth=1", remote.as_uri(), str(made.clone), cwd=tmp_path)
    if forge == "gitlab":
        made.git("checkout", "--quiet", "--detach")
    return made


@pytest.mark.parametrize("choice", FILES)
@pytest.mark.parametrize("layout", ["feature", "layered"])
def test_files(choice: str, layout: str, render_service: RenderService) -> None:
    """Each choice adds only its own files, and the script is executable."""
    answers: dict[str, Answer] = {"template_updates": choice, "layout": layout, "docker": False, "database": "none"}
    service = render_service(answers)
    assert read_tree(service).keys() & set.union(*FILES.values()) == FILES[choice]
    if choice != "none":
        assert (service / "scripts/update_template.sh").stat().st_mode & stat.S_IXUSR


@EACH
def test_files_pass_their_checkers(forge: str, render_service: RenderService) -> None:
    """The script passes shellcheck, the workflow passes actionlint and zizmor, and both jobs match their schemas."""
    service = render_service({"template_updates": forge})
    checks = [["shellcheck", "scripts/update_template.sh"]]
    if forge == "github":
        workflow = ".github/workflows/template-updates.yml"
        checks += [["actionlint", workflow], ["zizmor", "--offline", "--quiet", workflow]]
        checks += [["check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow]]
    else:
        jobs = sorted(FILES[forge] - {"scripts/update_template.sh"})
        checks += [["check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", *jobs]]
    for check in checks:
        done = subprocess.run(["uv", "run", "--project", REPOSITORY, "--no-sync", *check], cwd=service, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{check}:\n{done.stdout}{done.stderr}"


def test_workflow_has_least_permissions(render_service: RenderService) -> None:
    """The job may only push a branch and open a pull request, and every action is pinned by its commit."""
    service = render_service({})
    workflow = yaml.safe_load((service / ".github/workflows/template-updates.yml").read_text(encoding="utf-8"))
    [job] = workflow["jobs"].values()
    assert workflow["permissions"] == {}
    assert job["permissions"] == {"contents": "write", "pull-requests": "write"}
    assert workflow["concurrency"]
    assert job["timeout-minutes"]
    actions = [step["uses"].partition("@") for step in job["steps"] if "uses" in step]
    assert [(name, len(commit)) for name, _, commit in actions] == [("actions/checkout", 40), ("astral-sh/setup-uv", 40)]


def test_gitlab_includes_the_job(render_service: RenderService) -> None:
    """The pipeline contains only the job, which runs only in its own schedule."""
    service = render_service({"template_updates": "gitlab"})
    pipeline = yaml.safe_load((service / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    [part] = pipeline.pop("include")
    assert pipeline == {}
    [job] = yaml.safe_load((service / part["local"]).read_text(encoding="utf-8")).values()
    assert [rule["if"] for rule in job["rules"]] == ['$CI_PIPELINE_SOURCE == "schedule" && $TEMPLATE_UPDATES == "true"']


def test_pins_are_the_same_everywhere() -> None:
    """The documentation, the service and this repository use the same commit of each action and the same uv image."""
    files = [REPOSITORY / "docs/updating.md", REPOSITORY / ".github/workflows/ci.yml"]
    files += [file for file in (REPOSITORY / "template").rglob("*.jinja") if "template-updates" in file.name]
    texts = "\n".join(file.read_text(encoding="utf-8") for file in files)
    pins = set(re.findall(r"(\S+)@([0-9a-f]{40}) # (\S+)", texts))
    assert sorted(name for name, _, _ in pins) == ["actions/checkout", "astral-sh/setup-uv"]
    assert len(set(re.findall(r"image: (ghcr\.io\S+)", texts))) == 1


@pytest.mark.parametrize("choice", FILES)
def test_nothing_invites_to_another_update(choice: str, render_service: RenderService) -> None:
    """No file of a service mentions Copier's own update, which can lose work."""
    tree = read_tree(render_service({"template_updates": choice}))
    assert [path for path, text in tree.items() if "copier update" in text.lower()] == []
    assert "`quickset update`" in tree[".copier-answers.yml"]
    assert "quickset@latest update" in tree["README.md"]


@EACH
def test_first_run_opens_and_the_next_refreshes(forge: str, made: Forge) -> None:
    """The first run opens a pull request, and a run with other changes updates its branch and text."""
    start = made.git("rev-parse", "HEAD")
    first = made.run("one")
    assert first.returncode == 0, first.stderr
    opened = made.pushed()
    second = made.run("two")
    assert second.returncode == 0, second.stderr

    assert made.git("show", f"{made.pushed()}:a.txt", cwd=made.remote) == "two"
    assert opened != made.pushed()
    assert made.git("rev-parse", f"{made.pushed()}^", cwd=made.remote) == start
    assert made.git("status", "--porcelain") == ""
    assert made.git("rev-parse", "HEAD") == start
    assert made.calls_of("uvx").splitlines()[:2] == [
        "quickset@latest --version",
        "quickset@9.8.7 update --branch quickset/update --json",
    ]
    if forge == "github":
        methods = [line.split()[2] for line in made.calls_of("gh").splitlines()]
        assert methods == ["GET", "POST", "GET", "PATCH"]
        assert "title=Update the template from 0.1.0 to 0.2.0" in made.calls_of("gh")
        assert "head=jane:quickset/update" in made.calls_of("gh")
        assert (made.calls / "body").read_text().rstrip() == SUMMARY.rstrip()
        assert "https://example.com/pull/7" in first.stdout
        assert "Pull request 7" in second.stdout
    else:
        options = made.calls_of("options")
        assert options.count("merge_request.create\n") == 2
        assert options.count("merge_request.target=main\n") == 2
        assert "merge_request.title=Update the template from 0.1.0 to 0.2.0\n" in options
        [text, _] = [line.partition("description=")[2] for line in options.splitlines() if "description=" in line]
        assert text.replace("\\n", "\n").rstrip() == SUMMARY.rstrip()


@EACH
def test_same_update_again(forge: str, made: Forge) -> None:
    """A run without new changes pushes nothing, so that reviews and checks stay valid."""
    made.run("one")
    before = made.pushed()
    done = made.run("one", GIT_COMMITTER_DATE="2040-01-01T00:00:00Z")

    assert done.returncode == 0, done.stderr
    assert "is up to date" in done.stdout
    assert made.pushed() == before


@EACH
def test_with_quickset_itself(forge: str, made: Forge, template: Path, tmp_path: Path) -> None:
    """The real command works like its stand-in: it opens a pull request for an update, and later has nothing to do."""
    origin = shutil.copytree(template, tmp_path / "origin")
    made.git("init", "--quiet", "--initial-branch=main", cwd=origin)
    readme = origin / "template" / "README.md.jinja"
    for version in ("1000.0.0", "1000.0.1"):
        (origin / "pyproject.toml").write_text(f'[project]\nname = "quickset"\nversion = "{version}"\n')
        readme.write_text(f"{readme.read_text()}\nOf {version}.\n")
        made.git("add", "--all", cwd=origin)
        made.git("commit", "--quiet", "--message", f"Release {version}", cwd=origin)
    quickset = [sys.executable, "-c", DRIVER, str(origin)]
    uvx = made.calls.parent / "bin" / "uvx"
    uvx.write_text(
        f'#!/bin/sh\nif [ "$2" = --version ]; then echo "quickset 1000.0.1"; exit; fi\nshift\n'
        f'exec {shlex.join(quickset)} "$@"\n'
    )
    shutil.rmtree(made.clone)
    make = ["new", str(made.clone), "--ref", "1000.0.0", "--no-lock", "--data", f"template_updates={forge}"]
    subprocess.run([*quickset, *make], env=made.env, capture_output=True, check=True)
    made.git("remote", "add", "origin", made.remote.as_uri())
    made.git("push", "--quiet", "--force", "origin", "HEAD:main")

    first, second = made.run(""), made.run("")

    assert (first.returncode, second.returncode) == (0, 0), first.stdout + first.stderr + second.stderr
    assert "Of 1000.0.1." in made.git("show", f"{made.pushed()}:README.md")
    assert made.git("rev-parse", f"{made.pushed()}^") == made.git("rev-parse", "HEAD")
    assert made.git("status", "--porcelain") == ""
    if forge == "github":
        assert "README.md" in (made.calls / "body").read_text()


@EACH
@pytest.mark.parametrize("token", ["", TOKEN])
def test_full_history(forge: str, token: str, made: Forge) -> None:
    """The job has the full history of its branch when quickset runs, although a runner clones only a part."""
    for name in ("one", "two"):
        made.git("commit", "--quiet", "--allow-empty", "--message", name)
    made.git("fetch", "--quiet", str(made.clone), "HEAD:refs/heads/topic", cwd=made.remote)
    shutil.rmtree(made.clone)
    made.git("clone", "--quiet", "--depth=1", "--branch=topic", made.remote.as_uri(), str(made.clone), cwd=made.calls)

    done = made.run("nothing", TEMPLATE_UPDATES_TOKEN=token, GITHUB_REF_NAME="topic", CI_COMMIT_BRANCH="topic")

    assert done.returncode == 0, done.stderr
    assert made.git("rev-list", "--count", "HEAD") == "3"


@EACH
def test_nothing_to_do(forge: str, made: Forge) -> None:
    """Without a newer template nothing is pushed or opened."""
    done = made.run("nothing")

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "There is no newer template.")
    assert made.pushed() == made.calls_of("gh") == made.calls_of("options") == ""


@EACH
def test_conflicts(forge: str, made: Forge) -> None:
    """Conflicts fail the job, which prints the files and the command to run. Nothing is pushed."""
    done = made.run("conflicts")

    assert done.returncode == 1
    assert "  app/a.py\n  app/ä b.py\n" in done.stdout
    assert "Resolve the conflicts in a clone: run `uvx quickset@9.8.7 update`." in done.stderr
    assert made.pushed() == made.calls_of("gh") == ""


@EACH
def test_failure(forge: str, made: Forge) -> None:
    """If quickset fails, the job fails with its exit code and error."""
    done = made.run("broken")

    assert (done.returncode, done.stderr) == (5, "quickset: the moon is full.\n")
    assert made.pushed() == ""


@EACH
def test_held_version(forge: str, made: Forge) -> None:
    """A version that is set is used."""
    assert made.run("nothing", QUICKSET_VERSION="1.2.3").returncode == 0
    assert made.calls_of("uvx") == "quickset@1.2.3 update --branch quickset/update --json\n"


@EACH
def test_commits_of_people_stay(forge: str, made: Forge) -> None:
    """A branch with commits of other people stays unchanged, on the remote and in the clone."""
    made.run("one")
    made.git("checkout", "--quiet", BRANCH)
    made.git("commit", "--quiet", "--allow-empty", "--message", "Mine")
    mine = made.git("rev-parse", "HEAD")
    made.git("checkout", "--quiet", "--detach", "HEAD~2")
    local = made.run("two")
    made.git("push", "--quiet", "origin", BRANCH)
    remote = made.run("two")

    assert (local.returncode, "did not make" in local.stderr) == (1, True)
    assert (remote.returncode, "has commits of another author" in remote.stdout) == (0, True)
    assert made.pushed() == made.git("rev-parse", BRANCH) == mine


@pytest.mark.parametrize("forge", ["github"])
def test_workflows_need_another_token(forge: str, made: Forge) -> None:
    """An update of a workflow is not pushed with the workflow's own token, and the error names a suitable token."""
    changes = ".github/workflows/ci.yml"
    refused = made.run("one", CHANGES=changes)
    assert (refused.returncode, made.pushed()) == (1, "")
    assert changes in refused.stdout
    assert "secret TEMPLATE_UPDATES_TOKEN" in refused.stderr

    allowed = made.run("one", CHANGES=changes, OWN_TOKEN="true")
    assert allowed.returncode == 0, allowed.stderr
    assert made.pushed()


@pytest.mark.parametrize("forge", ["github"])
def test_pull_request_is_not_allowed(forge: str, made: Forge) -> None:
    """If Actions may not open pull requests, the error names the setting, and the next run opens the request."""
    refused = made.run("one", FORBIDDEN="true")
    assert refused.returncode == 1
    assert "Allow GitHub Actions to create pull requests" in refused.stderr

    assert made.run("one").returncode == 0
    assert made.calls_of("gh").splitlines()[-1].split()[2] == "POST"


@pytest.mark.parametrize("forge", ["gitlab"])
def test_token_of_its_own(forge: str, made: Forge) -> None:
    """With a custom token the job pushes to the project's plain URL, not to the one with the job's token."""
    made.git("remote", "set-url", "origin", str(made.remote / "nowhere"))
    done = made.run("one", TEMPLATE_UPDATES_TOKEN=TOKEN)

    assert done.returncode == 0, done.stderr
    assert made.pushed()


@EACH
def test_service_in_a_folder(forge: str, made: Forge) -> None:
    """The script updates its own service from any working directory."""
    below = made.clone / "services" / "one"
    below.mkdir(parents=True)
    shutil.move(made.clone / "scripts", below / "scripts")
    done = subprocess.run(
        ["sh", "services/one/scripts/update_template.sh"],
        cwd=made.clone,
        env={**made.env, "UPDATE": "one"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert made.pushed()
