"""The service keeps to its OpenAPI document, whatever is sent to it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.behaviour.variants import everywhere
from tests.services.running import Service

EXAMPLES = 15


@everywhere
def test_schemathesis(service: Service, tmp_path: Path) -> None:
    """No check of schemathesis finds a fault: no 5xx, no undocumented status, nothing good refused or bad taken."""
    finished = subprocess.run(
        [
            *(Path(sys.executable).with_name("st"), "--config-file", Path(__file__).with_name("schemathesis.toml")),
            *("run", f"{service.url}/openapi.json", "--checks", "all", "--no-color"),
            *("--max-examples", str(EXAMPLES), "--request-timeout", "10"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if finished.returncode != 0:
        pytest.fail(finished.stdout + finished.stderr, pytrace=False)
    assert not service.events(level="error")

    # Refusing everything would pass, too: each route has answered well.
    document = service.client.get("/openapi.json").json()
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    answered = {
        (event["method"], re.sub(r":\w+}", "}", event["route"]))
        for event in service.events(event="request")
        if event["route"] and event["status"] < 300
    }
    assert documented <= answered
