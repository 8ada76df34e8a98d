"""The control plane does what its document says: schemathesis tries every operation, with every check."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from harness.control_plane import PASSWORD, Person, register
from harness.gateway import Gateway, running_gateway
from harness.marks import ON_SQLITE
from harness.processes import PROJECT
from harness.simulator import Simulator

TESTS = PROJECT / "tests"
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
RUN_SECONDS = 240
# One login may make 600 calls a minute.
LOGINS = 12
# For what ends sessions: two logins with so many each.
SESSIONS = 10
# An administrator may call everything. A client is refused the rest, which the API's own tests look at.
EXTENT = {
    "admin": ["--phases", "examples,coverage,fuzzing,stateful"],
    "client": ["--phases", "examples,coverage", "--include-path-regex", "^/v1/(auth|client|organizations)"],
}


def people(gateway: Gateway, count: int, role: str) -> list[Person]:
    made = [register(gateway) for _ in range(count)]
    for person in made:
        gateway.database.operator_sql("UPDATE users SET role = ? WHERE email = ?", role, person.email)
    return made


@pytest.mark.parametrize("role", ["admin", "client"])
def test_every_operation_is_as_the_document_says(tmp_path: Path, simulator: Simulator, role: str):
    # Master accounts that are made up ask nobody: there is no such proxy.
    settings = {"AIROUTER_TRUSTED_PROXIES": "127.0.0.1", "HTTPS_PROXY": "http://127.0.0.1:9"}
    with running_gateway(tmp_path, simulator, None, **settings) as gateway:
        lasting = [person.access_token for person in people(gateway, LOGINS, role)]
        ending = [
            person.log_in(PASSWORD)["access_token"] for person in people(gateway, 2, role) for _ in range(SESSIONS)
        ]
        environment = os.environ | {
            "LASTING_TOKENS": ",".join(lasting),
            "ENDING_TOKENS": ",".join(ending),
            "SCHEMATHESIS_HOOKS": "harness.openapi_hooks",
            "PYTHONPATH": str(TESTS / "blackbox"),
            "NO_PROXY": "127.0.0.1",
        }
        document = f"{gateway.url}/openapi.json"
        command = [SCHEMATHESIS, "--config-file", TESTS / "schemathesis.toml", "run", document, "--no-color"]
        done = subprocess.run(
            [*command, *EXTENT[role], "--warnings", "off"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        # It has tried all there is, but for the document itself, and was let in.
        if role == "admin":
            assert f"Tested: {operations_of(document) - 1}\n" in done.stdout, done.stdout[-4_000:]
        headers = {"authorization": f"Bearer {lasting[0]}"}
        assert httpx2.get(f"{gateway.url}/v1/auth/me", headers=headers, trust_env=False).status_code == 200


def operations_of(url: str) -> int:
    return sum(len(item) for item in httpx2.get(url, trust_env=False).json()["paths"].values())


@ON_SQLITE
def test_every_body_has_an_example(gateway: Gateway):
    document = httpx2.get(f"{gateway.url}/openapi.json", trust_env=False).json()
    assert document["openapi"].startswith("3.1")
    bodies = {
        f"{method} {path}": content
        for path, item in document["paths"].items()
        for method, operation in item.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    }
    assert bodies
    without = [
        name
        for name, body in bodies.items()
        if "example" not in body and example_of(document, body.get("schema", {})) is None
    ]
    assert without == []


def example_of(document: dict, schema: dict) -> Any:
    """What a schema, or what it is made of, gives as an example."""
    if "$ref" in schema:
        return example_of(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for name in ("example", "default", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if name in schema:
            return schema[name][0]
    branches = [branch for name in ("oneOf", "anyOf", "allOf") for branch in schema.get(name, [])]
    found = [example for branch in branches if (example := example_of(document, branch)) is not None]
    if found:
        return found[0]
    members = {name: example_of(document, member) for name, member in schema.get("properties", {}).items()}
    shown = {name: example for name, example in members.items() if example is not None}
    return shown if shown and set(schema.get("required", [])) <= set(shown) else None
