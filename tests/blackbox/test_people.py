"""What people do to their own logins: addresses are proved, passwords chosen, second factors used; and guessed."""

import base64
import hashlib
import hmac
import re
import struct
import time
from pathlib import Path

import httpx2

from harness.control_plane import PASSWORD, Person, administrator, register
from harness.database import Database
from harness.gateway import Gateway, held, running_gateway
from harness.marks import ON_POSTGRES
from harness.polling import eventually
from harness.postgres_database import PostgresDatabase
from harness.replicas import running_replicas
from harness.simulator import Simulator

NEW_PASSWORD = "wrong horse battery"
TOKEN_SECONDS = 5


def post(gateway: Gateway, path: str, **request: str) -> httpx2.Response:
    return httpx2.post(f"{gateway.url}{path}", json=request, timeout=60, trust_env=False)


def logged_link(gateway: Gateway, page: str) -> str:
    """The token of the last link to a page in the log, which is written in the background."""
    link = re.compile(re.escape(f"{gateway.url}{page}#token=") + r"(air-[\w-]+)")
    return eventually(lambda: link.findall(gateway.log_text()), f"a link to {page} is in the log", TOKEN_SECONDS)[-1]


def test_a_link_in_the_log_resets_a_password(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    with running_gateway(tmp_path, simulator, own_database, AIROUTER_LOG_LINKS="on") as gateway:
        person = register(gateway)
        verification = logged_link(gateway, "/verify-email")
        assert person.call("GET", "/v1/auth/me")["email_verified"] is False
        assert post(gateway, "/v1/auth/verify-email", token=verification).status_code == 204
        assert person.call("GET", "/v1/auth/me")["email_verified"] is True

        assert post(gateway, "/v1/auth/password-reset", email=person.email).status_code == 202
        token = logged_link(gateway, "/reset-password")
        assert not held("database", gateway.database.contents(), [token])
        gateway.expect_silence_about(NEW_PASSWORD)
        confirm = {"token": token, "password": NEW_PASSWORD}
        assert post(gateway, "/v1/auth/password-reset/confirm", **confirm).status_code == 204
        # Its sessions have ended, the old password and the token are void.
        assert person.send("GET", "/v1/auth/me").status_code == 401
        assert post(gateway, "/v1/auth/login", email=person.email, password=PASSWORD).status_code == 401
        assert post(gateway, "/v1/auth/password-reset/confirm", **confirm).status_code == 404
        assert Person(gateway, person.email, NEW_PASSWORD).call("GET", "/v1/auth/me")["email"] == person.email
        log = administrator(gateway).call("GET", "/v1/admin/audit-log", params={"action": "login"})["data"]
        assert [entry["action"] for entry in log] == ["login.verify_email", "login.reset_password"]
        assert {entry["actor"] for entry in log} == {person.email}


def test_no_link_is_in_a_log_that_nobody_asked_for(gateway: Gateway):
    person = register(gateway)
    answers = [post(gateway, "/v1/auth/password-reset", email=email) for email in (person.email, "nobody@example.com")]
    assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
    assert "nothing is mailed" in gateway.log_text()
    assert not re.search(r"air-(ev|pr)-", gateway.log_text())


def totp(secret: str, seconds: float) -> str:
    """What an authenticator shows (RFC 6238)."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">q", int(seconds) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def test_a_second_factor_is_needed_until_it_is_taken_away(
    tmp_path: Path, simulator: Simulator, own_database: Database | None
):
    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    with running_gateway(tmp_path, simulator, own_database, ENCRYPTION_KEY=old) as gateway:
        admin = administrator(gateway)
        password = re.search(r"^ADMIN_PASSWORD=(\S+)$", gateway.log_text(), re.MULTILINE)[1]
        begun = admin.call("POST", "/v1/auth/second-factor", json={"password": password})
        gateway.expect_silence_about(begun["secret"])
        began = time.time()
        confirm = {"code": totp(begun["secret"], began)}
        codes = admin.call("POST", "/v1/auth/second-factor/confirm", json=confirm)["recovery_codes"]
        for code in codes:
            gateway.expect_silence_about(code)
        assert len(set(codes)) == 10

        def log_in(**more: str) -> tuple[int, str | None]:
            answer = post(gateway, "/v1/auth/login", email=admin.email, password=password, **more)
            return answer.status_code, answer.json().get("code")

        assert log_in() == (403, "second_factor_needed")
        assert log_in(code=confirm["code"]) == (403, "wrong_code")
        assert log_in(code=codes[0]) == (200, None)
        assert log_in(code=codes[0]) == (403, "wrong_code")
        # A new encryption key in front: what the old one sealed still opens.
        gateway.environment["ENCRYPTION_KEY"] = f"{new},{old}"
        gateway.stop()
        gateway.start()
        # Of the next half minute, at least.
        assert log_in(code=totp(begun["secret"], max(began + 30, time.time()))) == (200, None)
        removed = gateway.command("accounts", "remove-second-factor", f"--email={admin.email}", "--reason=lost phone")
        assert removed.strip() == f"EMAIL={admin.email}"
        assert log_in() == (200, None)
        assert gateway.run("accounts", "remove-second-factor", f"--email={admin.email}").returncode == 1
        log = Person(gateway, admin.email, password).call("GET", "/v1/admin/audit-log")["data"]
        told = [(entry["actor"], entry["action"]) for entry in log if "factor" in entry["action"]]
        assert told == [(admin.email, "login.second_factor_on"), ("command line", "client.remove_second_factor")]
        assert "entries=" in gateway.command("audit", "verify")


@ON_POSTGRES
def test_guesses_on_two_replicas_count_together(tmp_path: Path, simulator: Simulator, own_database: Database):
    with running_replicas(tmp_path, simulator, own_database, 2) as replicas:
        one, other = replicas
        person = register(one)

        def guess(number: int) -> int:
            replica = (one, other)[number % 2]
            return post(replica, "/v1/auth/login", email=person.email, password="not the password").status_code

        assert [guess(number) for number in range(5)] == [401] * 5
        assert {guess(number) for number in range(2)} == {429}
        # So do mails to one address.
        asked = [post(replica, "/v1/auth/password-reset", email=person.email) for replica in (one, other) * 2]
        assert [answer.status_code for answer in asked] == [202, 202, 202, 429]


def test_old_counts_are_removed(gateway: Gateway):
    person = register(gateway)
    clean = post(gateway, "/v1/auth/login", email="nobody@example.com", password=PASSWORD)
    assert clean.status_code == 401
    hour = 3_600_000_000
    column = "last_micros" if isinstance(gateway.database, PostgresDatabase) else "last_at"
    gateway.database.execute(f"UPDATE attempts SET {column} = {column} - ?", hour)
    post(gateway, "/v1/auth/login", email=person.email, password="not the password")
    [(left,)] = gateway.database.rows("SELECT count(*) FROM attempts")
    # Those of the account and of the address.
    assert left == 2
