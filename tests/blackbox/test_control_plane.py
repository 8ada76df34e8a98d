"""The control plane of the real program: from registering to a paid completion, and back out."""

import base64
import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest

from harness.control_plane import administrator, register, send_registration
from harness.database import Database
from harness.gateway import Gateway, running_gateway
from harness.money import usd
from harness.polling import eventually
from harness.requests import body
from harness.simulator import Simulator

WITHIN_SECONDS = 1.0
MODEL = "sim/one-dollar"
ROOT = Path(__file__).parents[2]


def test_from_registering_to_a_paid_completion(gateway: Gateway):
    person = register(gateway)
    key = person.new_key("my laptop")
    me = person.call("GET", "/v1/auth/me")
    assert key["payer_id"] == me["account_id"]
    assert person.call("GET", "/v1/client/balance")["balance"] == "0"
    client = person.sdk(key["key"])
    request = body(MODEL, max_tokens=100)
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**request)
    assert refused.value.status_code == 402

    gateway.command("credit", f"--email={person.email}", "--amount=10", "--reason=a test")
    answer = eventually(lambda: attempt(client, request), "a paid completion", WITHIN_SECONDS)
    assert answer.choices[0].message.content
    [event] = gateway.database.events(gateway.database.account_of(key["key"]))
    balance = person.call("GET", "/v1/client/balance")
    assert usd(balance["lifetime_earned"]) == 10
    assert usd(balance["lifetime_spent"]) * 10**9 == event.charged_nanos > 0
    assert usd(balance["balance"]) == 10 - usd(balance["lifetime_spent"])


def attempt(client: openai.OpenAI, request: dict):
    try:
        return client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        assert error.status_code == 402
        return None


def test_a_revoked_key_is_refused_within_a_second(gateway: Gateway):
    person = register(gateway)
    key = person.new_key()
    headers = {"authorization": f"Bearer {key['key']}"}

    def status() -> int:
        return httpx2.get(f"{gateway.url}/v1/models", headers=headers, trust_env=False).status_code

    assert status() == 200
    person.call("DELETE", f"/v1/auth/api-keys/{key['id']}")
    began = time.monotonic()
    eventually(lambda: status() == 401, "401 after the key was revoked", WITHIN_SECONDS)
    assert time.monotonic() - began <= WITHIN_SECONDS
    [listed] = person.call("GET", "/v1/auth/api-keys")["data"]
    assert listed["id"] == key["id"]
    assert listed["revoked_at"]
    assert "key" not in listed


def test_a_session_is_refreshed_and_ended(gateway: Gateway):
    person = register(gateway)
    first = person.tokens["refresh_token"]
    refreshed = person.http.post("/v1/auth/refresh", json={"refresh_token": first})
    assert refreshed.status_code == 200, refreshed.text
    person.access_token = refreshed.json()["access_token"]
    assert person.call("GET", "/v1/auth/me")["email"] == person.email
    person.call("POST", "/v1/auth/logout")
    assert person.send("GET", "/v1/auth/me").status_code == 401
    again = person.http.post("/v1/auth/refresh", json={"refresh_token": refreshed.json()["refresh_token"]})
    assert again.status_code == 401


def test_a_disabled_user_is_out_at_once(gateway: Gateway):
    person = register(gateway)
    assert person.send("GET", "/v1/auth/me").status_code == 200
    gateway.database.operator_sql("UPDATE users SET status = 'disabled' WHERE email = ?", person.email)
    assert person.send("GET", "/v1/auth/me").status_code == 401
    refresh = {"refresh_token": person.tokens["refresh_token"]}
    assert person.http.post("/v1/auth/refresh", json=refresh).status_code == 401


def test_problems_are_told_in_the_form_of_their_plane(gateway: Gateway):
    with httpx2.Client(base_url=gateway.url, trust_env=False) as http:
        unknown = http.get("/v1/auth/nothing")
        assert unknown.status_code == 404
        assert unknown.headers["content-type"] == "application/problem+json"
        assert unknown.headers["x-request-id"]
        assert http.get("/v1/embeddings").json()["error"]["code"] == "unknown_url"
        document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert "/v1/auth/login" in document["paths"]


def test_guessing_is_slowed_down(gateway: Gateway):
    person = register(gateway)
    wrong = {"email": person.email, "password": "not the password"}
    statuses = [person.http.post("/v1/auth/login", json=wrong).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


def test_the_walk_through_of_the_documents(gateway: Gateway, tmp_path: Path):
    document = (ROOT / "docs" / "control-plane.md").read_text()
    before, after = [block for block in re.findall(r"```sh\n(.*?)```", document, re.DOTALL) if "curl" in block]
    credit = re.search(r"`(airouter credit .*?)`", document, re.DOTALL)
    assert credit
    script = "\n".join(["set -eu", before, " ".join(credit[1].split()), "echo", after])
    script = script.replace("http://127.0.0.1:8000", gateway.url).replace("openai/gpt-4o-mini", MODEL)
    (tmp_path / "airouter").symlink_to(gateway.program)
    environment = gateway.environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        cwd=gateway.data,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    assert '"choices"' in done.stdout, done
    balance, usage = (last_json(done.stdout, beginning) for beginning in ('{"balance"', '{"from"'))
    assert usd(balance["lifetime_earned"]) == 10
    assert usd(balance["lifetime_spent"]) > 0
    assert usage["total"]["requests"] == 1
    assert usage["total"]["charged"] == balance["lifetime_spent"]
    today = done.stdout.splitlines()[-1].split(",")
    assert (today[1], today[-1]) == ("1", balance["lifetime_spent"])


def last_json(text: str, beginning: str) -> dict:
    """The last object in the text that begins so."""
    return json.JSONDecoder().raw_decode(text[text.rindex(beginning) :])[0]


def test_an_administrator_credits_a_client_once(gateway: Gateway):
    admin = administrator(gateway)
    client = register(gateway)
    [found] = admin.call("GET", "/v1/admin/clients", params={"search": client.email})["data"]
    path = f"/v1/admin/clients/{found['id']}/credit"
    booking = {"amount": "10", "reason": "invoice 1"}

    def credit() -> httpx2.Response:
        return admin.send("POST", path, json=booking, headers={"idempotency-key": "invoice 1"})

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(credit) for _ in range(8)]]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
    assert usd(client.call("GET", "/v1/client/balance")["balance"]) == 10
    other = admin.send("POST", path, json=booking | {"amount": "11"}, headers={"idempotency-key": "invoice 1"})
    assert other.status_code == 422
    assert client.send("POST", path, json=booking).status_code == 403
    assert "entries=" in gateway.command("audit", "verify")


def test_what_an_administrator_disables_is_out_within_a_second(gateway: Gateway):
    admin = administrator(gateway)
    client = register(gateway)
    key = client.new_key()
    headers = {"authorization": f"Bearer {key['key']}"}

    def status() -> int:
        return httpx2.get(f"{gateway.url}/v1/models", headers=headers, trust_env=False).status_code

    assert status() == 200
    path = f"/v1/admin/clients/{key['payer_id']}"
    assert admin.call("POST", f"{path}/disable", json={"reason": "a test"})["status"] == "disabled"
    eventually(lambda: status() == 403, "403 after the account was disabled", WITHIN_SECONDS)
    assert client.send("GET", "/v1/auth/me").status_code == 401
    assert admin.call("POST", f"{path}/enable", json={"reason": "a test"})["status"] == "active"
    eventually(lambda: status() == 200, "200 after the account was enabled", WITHIN_SECONDS)


def test_a_changed_audit_log_is_found(gateway: Gateway):
    admin = administrator(gateway)
    client = register(gateway)
    account = client.call("GET", "/v1/auth/me")["account_id"]
    for amount in ("1", "2"):
        booking = {"amount": amount, "reason": "a test"}
        admin.call("POST", f"/v1/admin/clients/{account}/credit", json=booking)
    last = admin.call("GET", "/v1/admin/audit-log", params={"limit": 200})["data"][-1]["number"]
    with gateway.database.unguarded("audit_log"):
        change = "UPDATE audit_log SET reason = ? WHERE number = ?"
        gateway.database.operator_sql(change, "something else", last - 1)
        done = gateway.run("audit", "verify")
        assert (done.returncode, done.stdout.strip()) == (1, f"audit broken_at={last - 1}")
        gateway.database.operator_sql(change, "a test", last - 1)
    gateway.command("audit", "verify")


def test_who_registers_needs_an_invitation_where_the_operator_says_so(
    tmp_path: Path, simulator: Simulator, own_database: Database | None
):
    settings = {"AIROUTER_REGISTRATION": "invitation"}
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        admin = administrator(gateway)
        assert send_registration(gateway, "ann@example.com").status_code == 403
        invitation = admin.call("POST", "/v1/admin/invitations", json={})
        gateway.expect_silence_about(invitation["code"])
        register(gateway, invitation=invitation["code"])
        again = send_registration(gateway, "bob@example.com", invitation=invitation["code"])
        assert (again.status_code, again.json()["code"]) == (403, "invitation_needed")
        gateway.environment["AIROUTER_REGISTRATION"] = "closed"
        gateway.stop()
        gateway.start()
        closed = send_registration(gateway, "bob@example.com", invitation=invitation["code"])
        assert (closed.status_code, closed.json()["code"]) == (403, "registration_closed")


def test_a_new_secret_key_logs_nobody_out(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    with running_gateway(tmp_path, simulator, own_database, SECRET_KEY=old) as gateway:
        person = register(gateway)
        for secret, status in ((f"{new},{old}", 200), (new, 401)):
            gateway.environment["SECRET_KEY"] = secret
            gateway.stop()
            gateway.start()
            assert person.send("GET", "/v1/auth/me").status_code == status
        # The session goes on, of which the old key signed nothing.
        refresh = {"refresh_token": person.tokens["refresh_token"]}
        person.access_token = person.http.post("/v1/auth/refresh", json=refresh).json()["access_token"]
        assert person.send("GET", "/v1/auth/me").status_code == 200


def test_an_operator_token_does_what_its_scope_says(gateway: Gateway):
    admin = administrator(gateway)
    client = register(gateway)
    account = client.call("GET", "/v1/auth/me")["account_id"]
    request = {"name": "the till", "scopes": ["money:write"]}
    made = admin.call("POST", "/v1/admin/operator-tokens", json=request)
    gateway.expect_silence_about(made["token"])
    headers = {"authorization": f"Bearer {made['token']}"}

    def credit() -> httpx2.Response:
        booking = {"amount": "3", "reason": "a test"}
        path = f"/v1/admin/clients/{account}/credit"
        return httpx2.post(f"{gateway.url}{path}", json=booking, headers=headers, timeout=60, trust_env=False)

    assert credit().json()["balance"] == "3"
    listed = httpx2.get(f"{gateway.url}/v1/admin/clients", headers=headers, trust_env=False)
    assert (listed.status_code, listed.json()["code"]) == (403, "missing_scope")
    # It is no key for completions either.
    assert httpx2.get(f"{gateway.url}/v1/models", headers=headers, trust_env=False).status_code == 401
    admin.call("DELETE", f"/v1/admin/operator-tokens/{made['id']}")
    assert credit().status_code == 401
    assert usd(client.call("GET", "/v1/client/balance")["balance"]) == 3
