"""Logging in at a provider: a certified one through its login form, one that lies, and one that is away."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from harness.control_plane import PASSWORD, Person, administrator, register
from harness.database import Database
from harness.gateway import Gateway, running_gateway
from harness.polling import eventually
from harness.processes import PROJECT, Child, clean_environment, free_port
from harness.simulator import Simulator

NODE = PROJECT / "tests" / "node"
SECRET = "a secret of the client"
CALLBACK = "/v1/auth/oidc/callback"
AWAY_SECONDS = 20.0


class Provider:
    """The provider, and the gateway that takes its logins."""

    def __init__(self, gateway: Gateway, url: str):
        self.gateway = gateway
        self.url = url
        gateway.expect_silence_about(SECRET)

    def browser(self) -> "Browser":
        return Browser(self.gateway)


class Browser:
    """Follows redirects and keeps cookies, those that it would send over TLS only too."""

    def __init__(self, gateway: Gateway):
        self.gateway = gateway
        self.http = httpx2.Client(timeout=60, trust_env=False)
        self.cookies: dict[str, dict[str, str]] = {}

    def send(self, method: str, url: str, **options) -> httpx2.Response:
        jar = self.cookies.setdefault(urlsplit(url).netloc, {})
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
        headers |= options.pop("headers", {})
        self.http.cookies.clear()
        answer = self.http.request(method, url, headers=headers, **options)
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.split(";")[0].partition("=")
            if "max-age=0" in cookie.lower() or "expires=thu, 01 jan 1970" in cookie.lower():
                jar.pop(name, None)
            else:
                jar[name] = value
        return answer

    def begin(self, **params: str) -> str:
        """Where a link to the login leads."""
        answer = self.send("GET", f"{self.gateway.url}/v1/auth/oidc/login", params=params)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def go_through(self, url: str, name: str) -> str:
        """Logs in at the provider and agrees; the address to which that sends the browser back."""
        for _ in range(12):
            if url.startswith(self.gateway.url):
                return url
            answer = self.send("GET", url)
            if answer.is_redirect:
                url = str(httpx2.URL(url).join(answer.headers["location"]))
                continue
            action = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert action, answer.text
            assert prompt, answer.text
            form = {"prompt": prompt[1], "login": name, "password": "any"}
            done = self.send("POST", str(httpx2.URL(url).join(action[1])), data=form)
            assert done.is_redirect, done.text
            url = str(httpx2.URL(url).join(done.headers["location"]))
        raise AssertionError(f"the provider goes round in circles: {url}")

    def log_in(self, name: str, **params: str) -> httpx2.Response:
        return self.send("GET", self.go_through(self.begin(**params), name))


def tokens_of(answer: httpx2.Response, gateway: Gateway) -> dict:
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    gateway.expect_silence_about(tokens["access_token"])
    assert "refresh_token" not in tokens
    return tokens


def me(gateway: Gateway, access_token: str) -> dict:
    headers = {"authorization": f"Bearer {access_token}"}
    return httpx2.get(f"{gateway.url}/v1/auth/me", headers=headers, trust_env=False).json()


@contextlib.contextmanager
def running_provider(
    directory: Path, simulator: Simulator, database: Database | None, below: str = ""
) -> Iterator[Provider]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "AIROUTER_OIDC_ISSUER": f"{url}{below}",
        "AIROUTER_OIDC_CLIENT_ID": "airouter",
        "AIROUTER_OIDC_CLIENT_SECRET": SECRET,
        "AIROUTER_OIDC_NAME": "Example ID",
    }
    with running_gateway(directory, simulator, database, **settings) as gateway:
        command = ["node", str(NODE / "provider.js"), str(port), f"{gateway.url}{CALLBACK}"]
        provider = Child(command, directory / "provider.log", clean_environment())
        try:
            eventually(lambda: "ready" in provider.log_text(), "the provider is ready", 60)
            yield Provider(gateway, url)
        finally:
            provider.kill()


@pytest.fixture(scope="module")
def provider(
    tmp_path_factory: pytest.TempPathFactory, simulator: Simulator, database: Database | None
) -> Iterator[Provider]:
    with running_provider(tmp_path_factory.mktemp("oidc"), simulator, database) as provider:
        yield provider


def test_somebody_new_logs_in_and_comes_again(provider: Provider):
    gateway, name = provider.gateway, "new@example.com"
    shown = httpx2.get(f"{gateway.url}/v1/auth/oidc", trust_env=False).json()
    assert shown == {"name": "Example ID", "issuer": provider.url}
    first = me(gateway, tokens_of(provider.browser().log_in(name), gateway)["access_token"])
    assert (first["email"], first["email_verified"], first["name"]) == (name, True, "A Person")
    browser = provider.browser()
    again = browser.log_in(name, return_to="/account?tab=keys")
    assert (again.status_code, again.headers["location"]) == (303, "/account?tab=keys")
    assert again.content == b""
    # The page that the browser comes to goes on with the cookie.
    cookies = browser.cookies[urlsplit(gateway.url).netloc]
    assert "__Host-airouter-oidc" not in cookies
    proof = {"x-csrf-token": cookies["__Secure-airouter-csrf"]}
    refreshed = browser.send("POST", f"{gateway.url}/v1/auth/refresh", json={}, headers=proof)
    assert me(gateway, tokens_of(refreshed, gateway)["access_token"])["id"] == first["id"]
    # Who has no password can't log in with one.
    for password in ("", PASSWORD):
        attempt = {"email": name, "password": password}
        assert httpx2.post(f"{gateway.url}/v1/auth/login", json=attempt, trust_env=False).status_code == 401


def test_a_browser_returns_to_this_origin_only(provider: Provider):
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example"):
        answer = provider.browser().send(
            "GET", f"{provider.gateway.url}/v1/auth/oidc/login", params={"return_to": elsewhere}
        )
        assert (answer.status_code, answer.json()["field"]) == (422, "return_to")


def test_an_address_that_is_not_proved_opens_no_login(provider: Provider):
    gateway = provider.gateway
    person = register(gateway)
    answer = provider.browser().log_in(person.email)
    assert (answer.status_code, answer.json()["code"]) == (409, "link_first")
    answer = provider.browser().log_in(f"unproved-{person.email}")
    assert (answer.status_code, answer.json()["code"]) == (403, "email_not_vouched_for")
    # Once it is proved here too, it is the same person.
    gateway.database.operator_sql("UPDATE users SET email_verified = true WHERE email = ?", person.email)
    tokens = tokens_of(provider.browser().log_in(person.email), gateway)
    assert tokens["user"]["id"] == person.call("GET", "/v1/auth/me")["id"]
    [entry] = linked_entries(gateway, person)
    assert provider.url in entry


def linked_entries(gateway: Gateway, person: Person) -> list[str]:
    account = person.call("GET", "/v1/auth/me")["account_id"]
    entries = administrator(gateway).call(
        "GET", "/v1/admin/audit-log", params={"action": "identity.link", "subject": account}
    )["data"]
    return [str(entry["after"]) for entry in entries]


def begin_linking(browser: Browser, person: Person) -> str:
    headers = {"authorization": f"Bearer {person.access_token}"}
    url = f"{browser.gateway.url}/v1/auth/identities"
    answer = browser.send("POST", url, json={}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["authorization_url"]


def test_an_identity_is_linked_and_unlinked(provider: Provider):
    gateway, name = provider.gateway, "unproved-elsewhere@example.com"
    person, other = register(gateway), register(gateway)
    browser = provider.browser()
    done = browser.send("GET", browser.go_through(begin_linking(browser, person), name))
    assert done.status_code == 204, done.text
    [identity] = person.call("GET", "/v1/auth/identities")["data"]
    assert (identity["issuer"], identity["email"]) == (provider.url, "elsewhere@example.com")
    tokens = tokens_of(provider.browser().log_in(name), gateway)
    assert tokens["user"]["id"] == person.call("GET", "/v1/auth/me")["id"]
    browser = provider.browser()
    taken = browser.send("GET", browser.go_through(begin_linking(browser, other), name))
    assert (taken.status_code, taken.json()["code"]) == (409, "identity_taken")
    assert other.send("DELETE", f"/v1/auth/identities/{identity['id']}").status_code == 404
    person.call("DELETE", f"/v1/auth/identities/{identity['id']}")
    assert provider.browser().log_in(name).json()["code"] == "email_not_vouched_for"


def test_a_link_needs_the_session_that_began_it(provider: Provider):
    person = register(provider.gateway)
    browser = provider.browser()
    back = browser.go_through(begin_linking(browser, person), "late@example.com")
    person.call("POST", "/v1/auth/logout")
    assert browser.send("GET", back).status_code == 401


def test_the_last_way_to_log_in_stays(provider: Provider):
    gateway = provider.gateway
    tokens = tokens_of(provider.browser().log_in("only@example.com"), gateway)
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    with httpx2.Client(base_url=gateway.url, headers=headers, trust_env=False) as http:
        [identity] = http.get("/v1/auth/identities").json()["data"]
        refused = http.delete(f"/v1/auth/identities/{identity['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "last_way_in")


def test_a_disabled_login_is_out(provider: Provider):
    gateway, name = provider.gateway, "gone@example.com"
    tokens_of(provider.browser().log_in(name), gateway)
    gateway.database.operator_sql("UPDATE users SET status = 'disabled' WHERE email = ?", name)
    refused = provider.browser().log_in(name)
    assert (refused.status_code, refused.json()["code"]) == (403, "login_disabled")
    assert not any("refresh" in cookie for cookie in refused.headers.get_list("set-cookie"))


def test_an_answer_is_good_for_one_browser_and_once(provider: Provider):
    browser = provider.browser()
    back = browser.go_through(browser.begin(), "once@example.com")
    kept = dict(browser.cookies[urlsplit(back).netloc])
    for wrong, who in (
        (back, provider.browser()),
        (back.replace("state=", "state=x"), with_cookies(provider.browser(), kept)),
        (re.sub(r"state=[^&]*&?", "", back), with_cookies(provider.browser(), kept)),
    ):
        refused = who.send("GET", wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, "login_not_begun"), wrong
    assert browser.send("GET", back).status_code == 200
    again = with_cookies(provider.browser(), kept).send("GET", back)
    assert (again.status_code, again.json()["code"]) == (400, "login_not_begun")


def with_cookies(browser: Browser, cookies: dict[str, str]) -> Browser:
    browser.cookies[urlsplit(browser.gateway.url).netloc] = dict(cookies)
    return browser


def test_a_refusal_at_the_provider_is_told(provider: Provider):
    browser = provider.browser()
    [state] = parse_qs(urlsplit(browser.begin()).query)["state"]
    params = {"error": "access_denied", "state": state}
    refused = browser.send("GET", f"{provider.gateway.url}{CALLBACK}", params=params)
    assert (refused.status_code, refused.json()["code"]) == (401, "provider_refused")


def test_a_provider_that_lies_is_not_believed(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    with running_provider(tmp_path, simulator, own_database, below="/lying") as provider:

        def come_back(lie: str) -> httpx2.Response:
            browser = provider.browser()
            asked = parse_qs(urlsplit(browser.begin()).query)
            params = {"state": asked["state"][0], "code": f"{lie}:{asked['nonce'][0]}"}
            return browser.send("GET", f"{provider.gateway.url}{CALLBACK}", params=params)

        for lie in ("nonce", "issuer", "audience", "expired", "unsigned", "signature"):
            refused = come_back(lie)
            assert (refused.status_code, refused.json()["code"]) == (502, "provider_not_reliable"), lie
        tokens_of(come_back("none"), provider.gateway)


def test_a_provider_that_is_away_is_not_waited_for(tmp_path: Path, simulator: Simulator, own_database: Database | None):
    settings = {
        "AIROUTER_OIDC_ISSUER": f"http://127.0.0.1:{free_port()}",
        "AIROUTER_OIDC_CLIENT_ID": "airouter",
        "AIROUTER_OIDC_CLIENT_SECRET": SECRET,
    }
    with running_gateway(tmp_path, simulator, own_database, **settings) as gateway:
        url = f"{gateway.url}/v1/auth/oidc/login"
        answer = httpx2.get(url, timeout=AWAY_SECONDS, trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (503, "provider_unavailable")
        assert answer.headers["retry-after"]
        # Everything else goes on.
        register(gateway)


def test_without_a_provider_there_is_none(gateway: Gateway):
    for path in ("", "/login", "/callback"):
        answer = httpx2.get(f"{gateway.url}/v1/auth/oidc{path}", trust_env=False)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
