"""A person who uses the control plane: registers, logs in, and calls it with its tokens."""

import itertools
import re

import httpx2
import openai

from .gateway import Gateway

PASSWORD = "correct horse battery"
NUMBERS = itertools.count(1)


class Person:
    """Somebody who has registered and logged in."""

    def __init__(self, gateway: Gateway, email: str, password: str = PASSWORD):
        self.gateway = gateway
        self.email = email
        self.http = httpx2.Client(base_url=gateway.url, timeout=60, trust_env=False)
        self.tokens = self.log_in(password)
        self.access_token = self.tokens["access_token"]

    def log_in(self, password: str) -> dict:
        answer = self.http.post("/v1/auth/login", json={"email": self.email, "password": password})
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        for name in ("access_token", "refresh_token"):
            self.gateway.expect_silence_about(tokens[name])
        return tokens

    def send(self, method: str, path: str, **options) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.access_token}"} | options.pop("headers", {})
        return self.http.request(method, path, headers=headers, **options)

    def call(self, method: str, path: str, **options) -> dict:
        """As `send`, must succeed; the JSON of the answer."""
        answer = self.send(method, path, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else {}

    def new_key(self, name: str = "a key", **limits: object) -> dict:
        key = self.call("POST", "/v1/auth/api-keys", json={"name": name} | limits)
        self.gateway.expect_silence_about(key["key"])
        return key

    def key(self, key: dict) -> dict:
        """One of its keys as it is now."""
        return self.call("GET", f"/v1/auth/api-keys/{key['id']}")

    def change_key(self, key: dict, **changes: object) -> dict:
        path = f"/v1/auth/api-keys/{key['id']}"
        etag = self.send("GET", path).headers["etag"]
        return self.call("PATCH", path, json=changes, headers={"if-match": etag})

    def sdk(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=key, max_retries=0, timeout=60)


def send_registration(gateway: Gateway, email: str, **more: str) -> httpx2.Response:
    gateway.expect_silence_about(PASSWORD)
    registration = {"email": email, "password": PASSWORD, "name": "A Person"} | more
    return httpx2.post(f"{gateway.url}/v1/auth/register", json=registration, timeout=60, trust_env=False)


def register(gateway: Gateway, **more: str) -> Person:
    """A new person."""
    email = f"person-{next(NUMBERS)}@example.com"
    answer = send_registration(gateway, email, **more)
    assert answer.status_code == 201, answer.text
    assert answer.json()["email"] == email
    return Person(gateway, email)


def administrator(gateway: Gateway) -> Person:
    """The first administrator, whose password was printed when the gateway started."""
    password = re.search(r"^ADMIN_PASSWORD=(\S+)$", gateway.log_text(), re.MULTILINE)
    assert password, "the gateway prints the password that it has made"
    return Person(gateway, "admin@localhost", password[1])
