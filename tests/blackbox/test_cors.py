"""Pages of other origins: a browser lets those use this server that the operator names, on both planes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from harness.control_plane import PASSWORD, register
from harness.database import Database
from harness.gateway import Gateway, running_gateway
from harness.requests import body
from harness.simulator import Simulator

APP = "https://app.example.com"
EVIL = "https://evil.example"
CHAT = "/v1/chat/completions"
# What OpenAI's SDK sends from a browser.
WANTED = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"


@contextlib.contextmanager
def gateway_for(directory: Path, simulator: Simulator, database: Database | None, origins: str) -> Iterator[Gateway]:
    with running_gateway(directory, simulator, database, AIROUTER_CORS_ORIGINS=origins) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def open_gateway(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None
) -> Iterator[Gateway]:
    """One that pages of the app may use."""
    with gateway_for(tmp_path_factory.mktemp("cors"), simulator, database, f"http://localhost:5173,{APP}") as gateway:
        yield gateway


def ask(gateway: Gateway, path: str, origin: str, method: str = "POST") -> httpx2.Response:
    """A browser's preflight."""
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": WANTED,
    }
    return httpx2.options(f"{gateway.url}{path}", headers=headers, timeout=60, trust_env=False)


def of_cors(answer: httpx2.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", [CHAT, "/api/v1/chat/completions", "/v1/models", "/v1/auth/login", "/v1/admin/stats"])
def test_a_preflight_needs_no_key(open_gateway: Gateway, path: str):
    answer = ask(open_gateway, path, APP)
    assert answer.status_code == 204, answer.text
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-headers"] == WANTED
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"]
    refused = ask(open_gateway, path, EVIL)
    assert not refused.is_success
    assert of_cors(refused) == []
    assert "origin" in refused.headers["vary"]


def test_a_page_reads_a_stream(open_gateway: Gateway):
    client = open_gateway.new_account()
    request = body(stream=True)
    for origin, expected in ((APP, APP), (EVIL, None)):
        with (
            client.http(headers={"origin": origin}) as http,
            http.stream("POST", CHAT, json=request) as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers.get("access-control-allow-origin") == expected
            assert answer.read().rstrip().endswith(b"[DONE]")
            if expected:
                exposed = answer.headers["access-control-expose-headers"].split(", ")
                own = {name for name in answer.headers if name.startswith(("x-request", "x-airouter-", "x-generation"))}
                assert own <= set(exposed), own


def test_a_page_reads_what_is_wrong(open_gateway: Gateway):
    for path in (CHAT, "/v1/admin/stats", "/v1/nothing"):
        answer = httpx2.get(f"{open_gateway.url}{path}", headers={"origin": APP}, trust_env=False)
        assert not answer.is_success
        assert answer.headers["access-control-allow-origin"] == APP, path


def test_a_page_of_another_origin_goes_on_with_its_cookie(open_gateway: Gateway):
    person = register(open_gateway)
    page = {"origin": APP}
    login = {"email": person.email, "password": PASSWORD, "cookie": True}
    begun = person.http.post("/v1/auth/login", json=login, headers=page)
    assert begun.headers["access-control-allow-credentials"] == "true"
    assert "x-csrf-token" in begun.headers["access-control-expose-headers"]
    cookie = next(value.split(";")[0] for value in begun.headers.get_list("set-cookie") if "airouter-refresh" in value)
    proof = begun.headers["x-csrf-token"]
    headers = page | {"cookie": cookie, "x-csrf-token": proof}
    refreshed = httpx2.post(
        f"{open_gateway.url}/v1/auth/refresh", json={}, headers=headers, timeout=60, trust_env=False
    )
    assert refreshed.status_code == 200, refreshed.text
    assert refreshed.headers["x-csrf-token"] == proof


def test_any_page_may_ask_without_cookies(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    with gateway_for(tmp_path, simulator, own_database, "*") as gateway:
        for path in (CHAT, "/v1/auth/login"):
            answer = ask(gateway, path, EVIL)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
            assert "access-control-allow-credentials" not in answer.headers


def test_without_the_setting_nothing_is_said(gateway: Gateway):
    for path in (CHAT, "/v1/auth/login"):
        answer = ask(gateway, path, APP)
        assert answer.status_code in (404, 405)
        assert of_cors(answer) == []
        assert "vary" not in answer.headers
